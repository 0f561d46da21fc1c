// Package watchdog reports code that holds an event loop while it does so: the request, the line of
// code, the reason, and the requests that had to wait.
//
// A loop publishes what it runs (see [loop.Slice]). The watchdog reads that on the goroutine of a
// [loop.Steward]. A slice whose code runs for longer than its budget is an overrun. Its verdict
// follows from evidence: the clocks of the thread that carries it, the pauses of the Go runtime, the
// time spent waiting for a CPU, and stacks. Only time that the code itself used, computing or
// waiting, is blamed on a route. Other overruns get the verdict gc, cpu-starved, watchdog-late or
// unknown: they are counted, and logged at debug level only unless they last a second.
//
// # Files, in reading order
//
//	watchdog.go      Watchdog: configuration, start and stop
//	sampler.go       the periodic look at every loop, on the steward
//	lateness.go      periods in which the sampler did not run
//	evidence.go      how a slice spent its time, reading by reading
//	instruments.go   readings of clocks (clocks.go) and of runtime pauses
//	verdict.go       the verdict and the advice, from states, stacks and system calls (syscalls.go)
//	watchedloop.go   the observer of one loop: slice ends, late starts, counters
//	ledger.go        victims, and the wait charged to each overrun
//	livetally.go     an estimate of the victims while an overrun lasts
//	overrun.go       the record of one overrun
//	probe.go         following one slice, to its end (closing.go)
//	release.go       code that runs on beside its loop after its slice was taken
//	reporter.go      what is logged, rate limits, recent overruns
//	totals.go        overruns by verdict, route and stack
//	routes.go        slice lengths by route
//	outbox.go        writes to the log and the sink, which may block
//	capture.go       capturing the stack of a goroutine
//	stack.go         frames, the module they belong to, and merged stacks
//	recorder.go      the latest slices of each loop, and their Chrome trace (trace.go)
//	snapshot.go      traces on disk, for the first overrun of each stack
//	summary.go       distributions of slice lengths and waits (sparse.go)
//	unblocker.go     what ended the wait of an overrun
//	escalate.go      readiness and abort when a loop is held for long
//	baseline.go      overruns that tests accept
//
// # Goroutines
//
// The counters of a watched loop are written by the loop's goroutine and read word by word by
// others: a reader may see counters of different moments, but no torn word. The flight recorder
// gives exact copies (see recorder). Everything that is not on the path of every slice is guarded by
// locks.
package watchdog
