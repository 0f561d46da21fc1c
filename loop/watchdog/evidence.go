package watchdog

// What the time of a slice went into, from look to look: computing, waiting,
// or neither of the two because the slice was kept from running. Only the first
// two are the code's own, and only where they are proven: by the clock of the
// thread, or by a state seen while the watchdog was awake. It knows no stacks.

import "tafe/loop"

// reading is what the instruments show at one moment.
type reading struct {
	now     int64  // loop clock, ns
	mono    int64  // sampler's clock, ns
	goState string // of the goroutine; "" when not known
	tid     int    // of the OS thread that runs the slice; 0: none, or not known
	known   bool   // tid 0 means none
	cpu     int64  // of that thread, ns
	delay   int64  // what the kernel has kept that thread waiting for a CPU, ns
	timed   bool   // cpu and delay could be read
	process int64  // CPU time of the process, ns
	paused  int64  // stop-the-world pauses of the Go runtime, ns
	marking bool   // the collector is in a cycle
	// assisting: it is, or was a short time ago: who allocates works for it, on the
	// same thread and between its own steps.
	assisting bool
	state     func(tid int) byte
}

// evidence adds up where the time went since a slice began. All in ns.
type evidence struct {
	last    reading
	running int64 // on a CPU
	blocked int64 // its thread waited inside the kernel
	parked  int64 // no thread: it waited inside the Go runtime
	starved int64 // ready, and no CPU or no P to run it
	paused  int64 // the world was stopped, or it worked for the collector
	stopped int64 // the watchdog did not run either
	unclear int64 // nothing tells
	marked  int64 // of all that: while the collector was in a cycle
	ofMark  int64 // of running: while who allocates may have worked for the collector
	vouch   int64 // what one look may prove of that
	// No thread, and nothing but a stack can say whether it waits or is kept; and
	// what the process computed meanwhile.
	offered, offeredMax int64
	// On a thread that can run and that the kernel has not accounted for: what may
	// turn out to have been computing, or a wait in the kernel.
	pendingRun, pendingBlock int64
	// collected is the part of paused in which the goroutine waited for the collector.
	// forced: it had asked for the collection, so that such time is its own.
	collected int64
	forced    bool
	// spent is the own time by the state that it ended in.
	spent map[string]int64
}

// restMin is below what the clocks of kernel and runtime may disagree.
const restMin = int64(200_000)

// stacksDisturbed is how many stacks it takes to blame code that ran beside the
// collector, where no clock tells its own steps from those for the collector,
// code that was kept from running for longer than it ran, and all code if the
// Go release hides threads (loop.RuntimeSupport), so that no clock can be read.
const stacksDisturbed = 2

// begin starts the account of a slice. base is an earlier reading, usually of
// before the slice. What the thread was kept from running since then is held in
// the slice's favour, and what it computed may have been for others before.
// budget is the slice's.
func (e *evidence) begin(since int64, base, r reading, budget int64, late *lateness) {
	*e = evidence{last: base, spent: map[string]int64{}, vouch: budget / 2}
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
	if base.now > since { // not seen from its beginning
		e.unclear += base.now - since
	}
	e.add(r, d, maybe, late)
	e.vouch = budget / 4
}

// look adds the time since the last look.
func (e *evidence) look(r reading, late *lateness) { e.add(r, r.now-e.last.now, 0, late) }

// add splits d ns that end at r. What a clock measured goes first, the rest to
// what the goroutine is doing now. maybe is computed time that may be in d.
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
	take := func(sum *int64, most int64) {
		n := min(max(most, 0), d)
		*sum += n
		d -= n
	}
	before := e.proven()
	same := r.timed && was.timed && r.tid == was.tid
	e.resolve(was, r, same)
	switch {
	case same && r.collecting() && e.forced:
		take(&e.parked, r.cpu-was.cpu)
		take(&e.starved, r.delay-was.delay)
	case same && r.collecting():
		take(&e.paused, r.cpu-was.cpu)
		take(&e.starved, r.delay-was.delay)
	case same:
		// While nobody looked the thread may have run other goroutines.
		computed := r.cpu - was.cpu
		own := min(computed, d-asleep)
		if r.assisting || was.assisting {
			own = min(own, e.vouch)
			e.ofMark += own
		}
		take(&e.running, own)
		take(&e.unclear, computed-own)
		take(&e.starved, r.delay-was.delay)
	}
	take(&e.paused, r.paused-was.paused)
	take(&e.stopped, asleep)
	if d > 0 {
		e.rest(was, r, d, maybe, same)
	}
	e.spent[r.goState] += e.proven() - before
}

// mayForce tells whether the code has waited for the collector for so long that a stack must say who asked for the collection.
func (e *evidence) mayForce(budget int64) bool {
	return !e.forced && e.collected+e.proven() >= budget && 2*e.collected >= budget
}

// force enters that the code has asked for the collection that it waits for.
func (e *evidence) force() {
	if e.forced {
		return
	}
	e.forced = true
	e.paused -= e.collected
	e.parked += e.collected
	e.spent[e.last.goState] += e.collected
	e.collected = 0
}

// proven is the time that the code itself used up.
func (e *evidence) proven() int64 { return e.running + e.blocked + e.parked }

// stacksNeeded is how many stacks must be seen before the code is blamed for a
// slice of the given age.
func (e *evidence) stacksNeeded(age int64) int {
	if own := e.proven() + e.offered; e.ofMark > 0 || 2*own < age || !e.last.known {
		return stacksDisturbed
	}
	return 1
}

// resolve places the time that was pending. The kernel adds up a wait for a CPU
// when it ends: what it has added since was that, and the rest was not.
func (e *evidence) resolve(was, r reading, same bool) {
	run, block := e.pendingRun, e.pendingBlock
	if run+block == 0 || same && r.cpu == was.cpu && r.delay == was.delay {
		return // nothing, or it still waits
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

// rest places the time that no clock explains.
func (e *evidence) rest(was, r reading, d, maybe int64, same bool) {
	off := r.tid == 0 && r.known
	switch {
	case r.collecting() && e.forced:
		e.parked += d
	case r.collecting():
		e.paused += d
		e.collected += d
	case off && r.goState == loop.StateRunnable:
		e.starved += d
	case off && r.waits():
		e.parked += d
	case off, !r.known, r.goState == stateCoroutine:
		e.offered += d
		if !same || r.cpu-was.cpu < d { // it is not on the thread that was taken for its own
			e.offeredMax += min(d, max(r.process-was.process, 0))
		}
	case !same:
		e.unclear += d
	case d < restMin && r.goState != loop.StateRunnable:
		e.running += d
	default:
		e.onThread(r, d, maybe)
	}
}

// onThread is the time that a thread neither computed for certain nor was
// accounted as waiting for a CPU: what it is doing now tells.
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
			e.starved += d - run // it waits for its turn, the kernel adds that up at its end
		}
	case state == 'T' || state == 't':
		e.stopped += d
	case inKernel || state == 'D':
		e.blocked += d
	case r.goState == loop.StateUnknown && r.state != nil:
		e.offered += d // it waits in the kernel: for a system call or for the Go runtime, a stack tells
	default: // the Go runtime waits, for one of its own locks
		e.starved += d
	}
}

// waits: the goroutine waits for something that has nothing to do with being
// scheduled or with the collector.
func (r *reading) waits() bool {
	switch r.goState {
	case loop.StateUnknown, loop.StateRunning, loop.StateRunnable, loop.StateSyscall, stateCoroutine:
		return false
	case loop.StateWaiting:
		return !r.marking
	}
	return true
}

// collecting: the goroutine works for the collector, which shows as a wait on
// a thread, or waits for it.
func (r *reading) collecting() bool {
	return r.goState == loop.StateWaiting && (r.tid != 0 || r.marking)
}

const stateCoroutine = "coroutine" // it drives a coroutine of its own

// seen settles what the clocks left open by what a stack showed at the last
// look.
func (e *evidence) seen(v Verdict) {
	d := e.offered
	e.offered = 0
	switch v {
	case Starved:
		e.starved += d
	case GC:
		e.paused += d
	case Unknown:
		e.unclear += d
	case Spin:
		run := min(d, e.offeredMax)
		e.running += run
		e.unclear += d - run
		e.spent[e.last.goState] += run
	default:
		e.parked += d
		e.spent[e.last.goState] += d
	}
	e.offeredMax = 0
}

// innocent is the cause of most of the time that is not proven to be the
// code's own.
func (e *evidence) innocent() Verdict {
	starved := e.starved + e.pendingRun + e.pendingBlock
	switch {
	case e.stopped+e.unclear >= starved && e.stopped+e.unclear >= e.paused:
		return WatchdogLate
	case e.paused >= starved, e.marked > starved/2: // its workers take CPUs and Ps
		return GC
	default:
		return Starved
	}
}
