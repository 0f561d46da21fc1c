package watchdog

// The sampler: what the watchdog does on its steward's goroutine. It looks at every
// lane that is due, and does the chores.

import (
	"time"

	"tafe/loop"
)

const (
	tickMin = time.Millisecond
	// Chores are reports that wait, escalation and summaries.
	maintainPeriod = time.Second
)

// sampler is the loop.Visitor that looks at the lanes.
func (w *Watchdog) sampler() loop.Visitor {
	return loop.Visitor{Look: w.look, Woke: w.late.woke}
}

// look looks at every lane and returns in how many ns to look again.
func (w *Watchdog) look(now int64) int64 {
	next := int64(lookIdle)
	for _, ln := range w.watchedLoops() {
		next = min(next, ln.visit(w))
	}
	switch tick := w.tick.Load(); next {
	case lookIdle:
		next = tick
	default:
		next = min(next, tick*3/4)
	}
	if now >= w.maintainAt {
		w.maintainAt = now + int64(maintainPeriod)
		w.maintain()
	}
	return next
}

// finish closes what is open when nobody looks any more.
func (w *Watchdog) finish() {
	for _, ln := range w.watchedLoops() {
		ln.finish(w)
	}
	w.maintain()
	w.reporter.flush()
	w.instruments.clocks.close()
}

// monotonic is the sampler's clock, ns.
func monotonic() int64 { return loop.StewardClock() }

// lowerTick lowers the sampler's period to the smallest budget in use: a slice that
// begins right after a look is seen again before it is an overrun, and looked at
// closely from then on.
func (w *Watchdog) lowerTick(budget time.Duration) {
	want := int64(max(budget, tickMin))
	for {
		tick := w.tick.Load()
		if want >= tick || w.tick.CompareAndSwap(tick, want) {
			return
		}
	}
}
