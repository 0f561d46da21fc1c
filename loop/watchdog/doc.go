// Package watchdog tells who holds an event loop, while it is held, where in
// the code, why, and who had to wait for it.
//
// A loop publishes what it runs (see [loop.Slice]); the watchdog reads that
// on the thread of a [loop.Steward]. A slice longer than its budget is an overrun. It is
// judged by evidence: the clocks of the thread that carries it, what the Go
// runtime paused, what the kernel kept waiting, and stacks. Only time that the
// code itself used up, computing or waiting, is ever blamed on a route; for the
// rest there are the verdicts gc, cpu-starved and watchdog-late, which are
// counted and not reported.
//
// # The parts, in reading order
//
//	watchdog.go     Watchdog: configuration, start and stop
//	sampler.go      the steward's visitor that looks at every loop
//	lateness.go     when it did not run although it should have
//	evidence.go     what a slice's time went into, look by look
//	verdict.go      why: one word from evidence and stacks
//	lane.go         a loop's side: slice ends, late starts, counters
//	ledger.go       whom: the wait of each victim, charged to overruns
//	overrun.go      the record of one overrun
//	pursuit.go      following one slice from first sight to its end
//	report.go       what is logged, and what is kept quiet
//	totals.go       all overruns, by verdict, route and place
//	routes.go       what the slices of each route took
//	outbox.go       who writes it: a goroutine that may block
//	capture.go      the stack of the goroutine that holds a loop
//	stack.go        frames: whose code they are, and merged trees of them
//	recorder.go     the last slices of each loop, and their Chrome trace (trace.go)
//	summary.go      distributions of slices and waits, for the sink and by route
//	escalate.go     what happens to a process whose loop is held for long
//
// # Threads
//
// A lane's counters belong to its loop's goroutine and are read from elsewhere
// word by word: a reader may see counters of different moments, but no torn
// word. What a reader gets of the flight recorder is exact (see recorder).
// Everything that is not on the path of every slice is under locks.
package watchdog
