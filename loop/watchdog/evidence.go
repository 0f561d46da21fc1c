package watchdog

// What the time of a slice went into, from look to look: computing, waiting,
// or neither of the two because the slice was kept from running. Only the first
// two are the code's own. It knows clocks and states of goroutines and threads,
// and no stacks.

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
	gcs     uint64 // changes when the collector starts or ends a cycle
	marking bool   // it is in one
	state   func(tid int) byte
}

// evidence adds up where the time went since a slice began. All in ns.
type evidence struct {
	last    reading
	running int64 // on a CPU
	blocked int64 // its thread waited inside the kernel
	parked  int64 // no thread: it waited inside the Go runtime
	offered int64 // no thread, and nothing yet says whether it waits or is kept
	unclear int64 // the clocks do not say
	// What the process computed meanwhile: a bound for offered and unclear.
	offeredBound, bound int64
	starved             int64 // ready, and no CPU or no P to run it
	paused              int64 // the world was stopped, or it worked for the collector
	stopped             int64 // the process was stopped
	gcs                 bool  // the collector was at work
	// spent is the time that may be the code's own, by the state it ended in.
	spent map[string]int64
}

// restMin is below what the clocks of kernel and runtime may disagree.
const restMin = int64(200_000)

// begin starts the account of a slice. base is an earlier reading, perhaps of
// before the slice: all that the thread was kept from running since then is
// held in the slice's favour.
func (e *evidence) begin(since int64, base, r reading, still *standstills) {
	*e = evidence{last: base, spent: map[string]int64{}}
	d := r.now - max(since, base.now)
	if r.timed && base.timed && r.tid == base.tid {
		n := min(max(r.delay-base.delay, 0), max(d, 0))
		e.starved += n
		d -= n
		e.last.delay = r.delay
	}
	e.add(r, d, still)
	if base.now > since { // not seen from its beginning
		e.unclear += base.now - since
	}
}

// look adds the time since the last look.
func (e *evidence) look(r reading, still *standstills) { e.add(r, r.now-e.last.now, still) }

// add splits d ns that end at r. What a clock measured goes first, the rest to
// what the goroutine is doing now.
func (e *evidence) add(r reading, d int64, still *standstills) {
	was := e.last
	e.last = r
	if d <= 0 {
		return
	}
	e.gcs = e.gcs || r.gcs != was.gcs || r.marking
	own := d
	take := func(sum *int64, most int64) {
		n := min(max(most, 0), d)
		*sum += n
		d -= n
	}
	same := r.timed && was.timed && r.tid == was.tid
	if same {
		if r.collecting() {
			take(&e.paused, r.cpu-was.cpu)
		} else {
			take(&e.running, r.cpu-was.cpu)
		}
		kept := d
		take(&e.starved, r.delay-was.delay)
		own -= kept - d
	}
	kept := d
	take(&e.paused, r.paused-was.paused)
	take(&e.stopped, still.between(was.mono, r.mono))
	own -= kept - d
	if d > 0 && !e.rest(was, r, d, same) {
		own -= d
	}
	if !r.collecting() {
		e.spent[r.goState] += own
	}
}

// rest places the time that no clock explains; it reports whether that may be
// the code's own.
func (e *evidence) rest(was, r reading, d int64, same bool) bool {
	computed := max(r.process-was.process, 0)
	switch {
	case r.collecting():
		e.paused += d
		return false
	case r.tid == 0 && r.known && r.goState == loop.StateRunnable:
		e.starved += d
		return false
	case r.tid == 0 && r.known && r.waits():
		e.parked += d
	case r.tid == 0 && r.known:
		e.offered += d
		e.offeredBound += min(d, computed)
	case !same:
		e.unclear += d
		e.bound += min(d, computed)
	case d < restMin:
		e.running += d
	default:
		return e.inKernel(r, d, r.cpu == was.cpu)
	}
	return true
}

// inKernel is the time that a thread neither computed nor was accounted as
// waiting for a CPU: what it is doing now tells.
func (e *evidence) inKernel(r reading, d int64, idle bool) bool {
	state := byte('S')
	if r.state != nil {
		state = r.state(r.tid)
	}
	switch {
	case state == 'R' && (idle || r.goState == loop.StateRunning):
		e.starved += d // it still waits for its turn: the kernel adds that up at its end
	case state == 'T' || state == 't':
		e.stopped += d
	default:
		e.blocked += d
		return true
	}
	return false
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
	d, bound := e.offered, e.offeredBound
	e.offered, e.offeredBound = 0, 0
	switch v {
	case Starved:
		e.starved += d
	case GC:
		e.paused += d
	case Spin, Unknown:
		e.unclear += d
		e.bound += bound
	default:
		e.parked += d
	}
}

// own is the time that the code itself used up: what is known, and of what is
// unclear the same share if enough is known to tell, but no more than the
// process computed meanwhile.
func (e *evidence) own() int64 {
	own := e.running + e.blocked + e.parked
	share := e.unclear
	if known := own + e.starved + e.paused + e.stopped; known >= e.unclear/2 && known > 0 {
		share = int64(float64(e.unclear) * float64(own) / float64(known))
	}
	return own + min(share, e.bound)
}

// innocent is the cause of most of the time that is not the code's own.
func (e *evidence) innocent() Verdict {
	switch {
	case e.stopped >= e.starved && e.stopped >= e.paused && e.stopped > 0:
		return WatchdogLate
	case e.paused >= e.starved && e.paused > 0:
		return GC
	default:
		return Starved
	}
}
