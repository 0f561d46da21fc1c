package watchdog

// What the time of a slice went into, from look to look: computing, waiting,
// or neither of the two because the slice was kept from running. Only the first
// two are the code's own. It knows clocks and no stacks.

// reading is what the instruments show at one moment.
type reading struct {
	now     int64  // loop clock, ns
	tid     int    // of the OS thread that runs the slice; 0: none, or not known
	known   bool   // tid 0 means none
	cpu     int64  // of that thread, ns
	delay   int64  // what the kernel has kept that thread waiting for a CPU, ns
	timed   bool   // cpu and delay could be read
	process int64  // CPU time of the process, ns
	paused  int64  // stop-the-world pauses of the Go runtime, ns
	gcs     uint64 // changes when the collector starts or ends a cycle
	marking bool   // it is in one
	stalled int64  // the watchdog's own lateness so far, ns
	state   func(tid int) byte
}

// evidence adds up where the time went since a slice began. All in ns.
type evidence struct {
	last    reading
	running int64 // on a CPU
	blocked int64 // its thread waited inside the kernel
	parked  int64 // no thread: it waited inside the Go runtime
	offered int64 // no thread, and no stack yet that says whether it waits or is kept
	unclear int64 // the clocks do not say
	// What the process computed meanwhile: a bound for offered and unclear.
	offeredBound, bound int64
	starved             int64 // ready, and no CPU or no P to run it
	paused              int64 // the world was stopped
	stopped             int64 // the watchdog was stopped too
	gcs                 bool  // the collector was at work
}

// restMin is below what the clocks of kernel and runtime may disagree.
const restMin = int64(200_000)

// begin starts the account of a slice. base is an earlier reading, perhaps of
// before the slice: all that the thread was kept from running since then is
// held in the slice's favour.
func (e *evidence) begin(since int64, base, r reading) {
	*e = evidence{last: base}
	d := r.now - max(since, base.now)
	if r.timed && base.timed && r.tid == base.tid {
		n := min(max(r.delay-base.delay, 0), max(d, 0))
		e.starved += n
		d -= n
		e.last.delay = r.delay
	}
	e.add(r, d)
	if base.now > since { // not seen from its beginning
		e.unclear += base.now - since
	}
}

// look adds the time since the last look.
func (e *evidence) look(r reading) { e.add(r, r.now-e.last.now) }

func (e *evidence) add(r reading, d int64) {
	was := e.last
	e.last = r
	if d <= 0 {
		return
	}
	e.gcs = e.gcs || r.gcs != was.gcs || r.marking
	take := func(sum *int64, most int64) {
		n := min(max(most, 0), d)
		*sum += n
		d -= n
	}
	same := r.timed && was.timed && r.tid == was.tid
	if same {
		take(&e.running, r.cpu-was.cpu)
		take(&e.starved, r.delay-was.delay)
	}
	take(&e.paused, r.paused-was.paused)
	take(&e.stopped, r.stalled-was.stalled)
	switch {
	case d == 0:
	case r.tid == 0 && r.known:
		e.offered += d
		e.offeredBound += min(d, max(r.process-was.process, 0))
	case !same:
		e.unclear += d
		e.bound += min(d, max(r.process-was.process, 0))
	case d < restMin:
		e.running += d
	default:
		e.rest(r, d)
	}
}

// rest is the time that a thread neither computed nor was seen to wait for a
// CPU: what it is doing now tells.
func (e *evidence) rest(r reading, d int64) {
	state := byte('S')
	if r.state != nil {
		state = r.state(r.tid)
	}
	switch state {
	case 'R': // still waiting for its turn: the kernel adds that up at its end
		e.starved += d
	case 'T', 't':
		e.stopped += d
	default:
		e.blocked += d
	}
}

// seen settles what the clocks left open by what a stack showed at the last
// look.
func (e *evidence) seen(v Verdict) {
	d := e.offered
	bound := e.offeredBound
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
// unclear the same share, but no more than the process computed meanwhile.
func (e *evidence) own() int64 {
	own := e.running + e.blocked + e.parked
	known := own + e.starved + e.paused + e.stopped
	if known > 0 && e.unclear > 0 {
		share := int64(float64(e.unclear) * float64(own) / float64(known))
		if e.running >= e.blocked+e.parked {
			share = min(share, e.bound)
		}
		return own + share
	}
	if known == 0 {
		return min(e.unclear, e.bound)
	}
	return own
}

// innocent is the cause of most of the time that is not the code's own.
func (e *evidence) innocent() Verdict {
	switch {
	case e.stopped >= e.starved && e.stopped >= e.paused && e.stopped > 0:
		return WatchdogLate
	case e.paused >= e.starved && e.paused > 0, e.gcs && e.starved == 0:
		return GC
	default:
		return Starved
	}
}
