// Evidence: how a slice spent its time, reading by reading. The code may have computed, waited, or
// been kept from running. Only computing and waiting count as the code's own time, and only if
// proven by the clock of the thread or by a state seen while the sampler was on time. Stacks are
// captured in capture.go and judged in verdict.go.
//
// Time whose kind is not known has these names:
//
//	pending    decided by the next reading (resolve)
//	undecided  decided by a stack (settle)
//	unclear    never decided; counts as lateness of the watchdog (externalCause)
//
// The verdict Unknown is something else; see verdict.go.

package watchdog

import "tafe/loop"

// reading holds the values of all clocks and states at one moment.
type reading struct {
	now     int64  // loop clock, ns
	mono    int64  // steward clock, ns
	goState string // state of the goroutine; "" if not known
	tid     int    // OS thread that runs the slice; 0 if none or not known
	known   bool   // tid 0 means none
	cpu     int64  // CPU time of that thread, ns
	delay   int64  // time that thread waited for a CPU, ns
	timed   bool   // cpu and delay are valid
	process int64  // CPU time of the process, ns
	paused  int64  // stop-the-world pauses of the Go runtime, ns
	marking bool   // a garbage collection is running
	// assisting: a collection is running or ended a short time ago, so that code that
	// allocates may do part of its work.
	assisting bool
	state     func(tid int) byte
}

// evidence adds up how a slice spent its time since it began. All values are in ns.
type evidence struct {
	last          reading
	running       int64 // on a CPU
	blocked       int64 // its thread waited inside the kernel
	parked        int64 // it had no thread: it waited inside the Go runtime
	starved       int64 // ready, but without a CPU or a P
	paused        int64 // the world was stopped, or the code worked for the collector
	stopped       int64 // the watchdog did not run either
	unclear       int64 // not known
	unseen        int64 // part of unclear: the beginning, before the first reading
	marked        int64 // part of the total: a collection was running
	ofMark        int64 // part of running: the code may have worked for the collector
	ofMarkLookMax int64 // most that one reading may add to ofMark
	// undecided is time without a thread, for which only a stack shows whether the code
	// waited or was kept from running. undecidedRunMax is the CPU time that the process
	// used meanwhile.
	undecided, undecidedRunMax int64
	// Time on a runnable thread for which the kernel's accounts are not up to date yet. It
	// becomes computing, a wait in the kernel, or a wait for a CPU (see resolve).
	pendingRun, pendingBlock int64
	// collected is the part of paused in which the goroutine waited for the collector.
	// collectionForced: the code called for the collection, so that this time is its own.
	collected        int64
	collectionForced bool
	// spent is the proven time by the goroutine state at the end of each interval. If a running goroutine has entered a
	// system call in it, its CPU time counts as running.
	spent map[string]int64
}

// clockSlack is the largest difference between the clocks of the kernel and of the Go runtime that
// is ignored, ns.
const clockSlack = int64(200_000)

// stacksDisturbed is the number of stacks needed to blame code in disturbed conditions: it ran
// beside the collector, where no clock separates its own work from assists; it was kept from
// running for longer than it ran; or the Go release hides threads (loop.RuntimeSupport), so that no
// clock can be read.
const stacksDisturbed = 2

// begin starts the account of a slice. base is an earlier reading, usually from before the slice.
// Time that the thread waited for a CPU since base is counted in the slice's favour. CPU time since
// base may partly belong to what ran before the slice.
func (e *evidence) begin(since int64, base, r reading, budget int64, late *lateness) {
	*e = evidence{last: base, spent: map[string]int64{}, ofMarkLookMax: budget / 2}
	d := r.now - max(since, base.now)
	maybe := int64(0)
	if r.timed && base.timed && r.tid == base.tid {
		n := min(max(r.delay-base.delay, 0), max(d, 0))
		e.starved += n
		d -= n
		e.last.delay = r.delay
		computed := max(r.cpu-base.cpu, 0)
		maybe = min(computed, max(since-base.now, 0))
		e.last.cpu = r.cpu - computed + maybe
	}
	if base.now > since { // the beginning was not seen
		e.unclear += base.now - since
	}
	e.add(r, d, maybe, late)
	e.unseen = e.unclear
	e.ofMarkLookMax = budget / 4
}

// look adds the time since the previous reading.
func (e *evidence) look(r reading, late *lateness) { e.add(r, r.now-e.last.now, 0, late) }

// add attributes the d ns that end at r. Measured time goes first; the remainder is attributed by
// what the goroutine does now. maybe is CPU time that may lie within d.
func (e *evidence) add(r reading, d, maybe int64, late *lateness) {
	was := e.last
	e.last = r
	if d <= 0 {
		return
	}
	if r.marking || was.marking {
		e.marked += d
	}
	asleep := late.between(r.mono-d, r.mono)
	move := func(sum *int64, most int64) {
		n := min(max(most, 0), d)
		*sum += n
		d -= n
	}
	before, ran := e.proven(), e.running
	same := r.timed && was.timed && r.tid == was.tid
	e.resolve(was, r, same)
	switch {
	case same && r.collecting() && e.collectionForced:
		move(&e.parked, r.cpu-was.cpu)
		move(&e.starved, r.delay-was.delay)
	case same && r.collecting():
		move(&e.paused, r.cpu-was.cpu)
		move(&e.starved, r.delay-was.delay)
	case same:
		// While the sampler was late, the thread may have run other goroutines.
		computed := r.cpu - was.cpu
		own := min(computed, d-asleep)
		if r.assisting || was.assisting {
			own = min(own, e.ofMarkLookMax)
			e.ofMark += own
		}
		move(&e.running, own)
		move(&e.unclear, computed-own)
		move(&e.starved, r.delay-was.delay)
	}
	move(&e.paused, r.paused-was.paused)
	move(&e.stopped, asleep)
	if d > 0 {
		e.addUnmeasured(was, r, d, maybe, same)
	}
	ran = e.running - ran
	if r.goState == loop.StateSyscall && was.goState == loop.StateRunning { // it computed, and has entered the call since
		e.spent[loop.StateRunning] += ran
		before += ran
	}
	e.spent[r.goState] += e.proven() - before
}

// needsCollectionStack reports whether the code has waited for the collector for so long that a
// stack must show whether it called for the collection itself.
func (e *evidence) needsCollectionStack(budget int64) bool {
	return !e.collectionForced && e.collected+e.proven() >= budget && 2*e.collected >= budget
}

// ownCollection records that the code called for the collection that it waits for.
func (e *evidence) ownCollection() {
	if e.collectionForced {
		return
	}
	e.collectionForced = true
	e.paused -= e.collected
	e.parked += e.collected
	e.spent[e.last.goState] += e.collected
	e.collected = 0
}

// proven returns the time that the code itself used, computing or waiting.
func (e *evidence) proven() int64 { return e.running + e.blocked + e.parked }

// credit returns how much of the beginning, which was not seen, is taken to be the code's own: up to a quarter of the
// budget, if the code was undisturbed. A slice that is somewhat longer than its budget would otherwise end before
// enough is proven.
func (e *evidence) credit(budget int64) int64 {
	if !e.undisturbed() {
		return 0
	}
	return min(e.unseen, budget/4)
}

// undisturbed reports whether, since the first reading, hardly anything but the code took time.
func (e *evidence) undisturbed() bool {
	others := e.starved + e.paused + e.stopped + e.unclear - e.unseen + e.pendingRun + e.pendingBlock
	return others <= e.proven()/8
}

// plainWait reports whether the code can be blamed without a stack: it was undisturbed, no collection ran, and it waited
// without a thread, in states that say for what.
func (e *evidence) plainWait() bool {
	named := e.parked
	for _, state := range []string{stateIO, stateCoroutine, loop.StateUnknown} {
		named -= e.spent[state]
	}
	return e.undisturbed() && e.marked == 0 && e.last.known && e.proven()-named <= e.proven()/8
}

// stacksNeeded returns the number of stacks needed before the code is blamed for a slice of the
// given age.
func (e *evidence) stacksNeeded(age int64) int {
	if own := e.proven() + e.undecided; e.ofMark > 0 || 2*own < age || !e.last.known {
		return stacksDisturbed
	}
	return 1
}

// resolve attributes pending time. The kernel adds a wait for a CPU to its account when the wait
// ends: what it has added since was such a wait, the remainder was not.
func (e *evidence) resolve(was, r reading, same bool) {
	run, block := e.pendingRun, e.pendingBlock
	if run+block == 0 || same && r.cpu == was.cpu && r.delay == was.delay {
		return // nothing pending, or the thread still waits
	}
	e.pendingRun, e.pendingBlock = 0, 0
	if !same {
		e.unclear += run + block
		return
	}
	waited := min(max(r.delay-was.delay, 0), run+block)
	e.starved += waited
	ofRun := min(waited, run)
	e.running += run - ofRun
	e.blocked += block - (waited - ofRun)
}

// addUnmeasured attributes time that no clock explains.
func (e *evidence) addUnmeasured(was, r reading, d, maybe int64, same bool) {
	off := r.tid == 0 && r.known
	switch {
	case r.collecting() && e.collectionForced:
		e.parked += d
	case r.collecting():
		e.paused += d
		e.collected += d
	case off && r.goState == loop.StateRunnable:
		e.starved += d
	case off && r.waits():
		e.parked += d
	case off, !r.known, r.goState == stateCoroutine:
		e.undecided += d
		if !same || r.cpu-was.cpu < d { // it may run on another thread than the assumed one
			e.undecidedRunMax += min(d, max(r.process-was.process, 0))
		}
	case !same:
		e.unclear += d
	case d < clockSlack && r.goState != loop.StateRunnable:
		e.running += d
	default:
		e.onThread(r, d, maybe)
	}
}

// onThread attributes time in which the thread neither certainly computed nor was accounted as
// waiting for a CPU. The current state of the thread decides.
func (e *evidence) onThread(r reading, d, maybe int64) {
	state := byte('S')
	if r.state != nil {
		state = r.state(r.tid)
	}
	inKernel := r.goState == loop.StateSyscall
	switch {
	case state == 'R':
		run := min(d, maybe)
		e.pendingRun += run
		if inKernel {
			e.pendingBlock += d - run
		} else {
			e.starved += d - run // it waits for a CPU; the kernel accounts for that when the wait ends
		}
	case state == 'T' || state == 't':
		e.stopped += d
	case inKernel || state == 'D':
		e.blocked += d
	case r.goState == loop.StateUnknown && r.state != nil:
		e.undecided += d // it waits in the kernel, in a system call or in the Go runtime: a stack decides
	default: // the Go runtime waits for one of its own locks
		e.starved += d
	}
}

// waits reports whether the goroutine waits for something other than the scheduler or the
// collector.
func (r *reading) waits() bool {
	switch r.goState {
	case loop.StateUnknown, loop.StateRunning, loop.StateRunnable, loop.StateSyscall, stateCoroutine:
		return false
	case loop.StateWaiting:
		return !r.marking
	}
	return true
}

// collecting reports whether the goroutine works for the collector, which shows as waiting while it
// has a thread, or waits for it.
func (r *reading) collecting() bool {
	return r.goState == loop.StateWaiting && (r.tid != 0 || r.marking)
}

const (
	stateCoroutine = "coroutine" // it resumed a coroutine of its own
	stateIO        = "IO wait"   // for a socket or a pipe
)

// settle attributes undecided time by the verdict of a stack taken at the last reading.
func (e *evidence) settle(v Verdict) {
	d := e.undecided
	e.undecided = 0
	switch v {
	case Starved:
		e.starved += d
	case GC:
		e.paused += d
	case Unknown:
		e.unclear += d
	case Spin:
		run := min(d, e.undecidedRunMax)
		e.running += run
		e.unclear += d - run
		e.spent[e.last.goState] += run
	default:
		e.parked += d
		e.spent[e.last.goState] += d
	}
	e.undecidedRunMax = 0
}

// externalCause returns the cause of most of the time that is not proven to be the code's own.
func (e *evidence) externalCause() Verdict {
	starved := e.starved + e.pendingRun + e.pendingBlock
	switch {
	case e.stopped+e.unclear >= starved && e.stopped+e.unclear >= e.paused:
		return WatchdogLate
	case e.paused >= starved, e.marked > starved/2: // the collector's workers take CPUs and Ps
		return GC
	default:
		return Starved
	}
}
