// The sampler: the part of the watchdog that runs on the steward's goroutine. It visits every loop,
// chooses the time of the next visit, and runs periodic maintenance.

package watchdog

import (
	"time"

	"tafe/loop"
)

const (
	tickMin = time.Millisecond
	// maintainPeriod is the period of delayed reports, escalation and summaries.
	maintainPeriod = time.Second
)

// sampler returns the callbacks for the steward.
func (w *Watchdog) sampler() loop.Visitor {
	return loop.Visitor{Look: w.look, Woke: w.late.woke}
}

// look looks at every loop and returns the time to the next look in ns.
func (w *Watchdog) look(now int64) int64 {
	next := int64(lookIdle)
	for _, ln := range w.watchedLoops() {
		next = min(next, ln.visit(w))
	}
	switch tick := w.tick.Load(); next {
	case lookIdle:
		next = tick
	default:
		next = min(next, tick/4)
	}
	if now >= w.maintainAt {
		w.maintainAt = now + int64(maintainPeriod)
		w.maintain()
	}
	return next
}

// finish closes everything that is open. The sampler must have stopped.
func (w *Watchdog) finish() {
	for _, ln := range w.watchedLoops() {
		ln.finish(w)
	}
	w.maintain()
	w.reporter.flush()
	w.instruments.clocks.close()
}

// monotonic returns the steward clock, ns.
func monotonic() int64 { return loop.StewardClock() }

// lowerTick lowers the sampler's period to budget if that is smaller. With a period of the smallest
// budget in use, a slice that begins right after a look is seen before it is an overrun.
func (w *Watchdog) lowerTick(budget time.Duration) {
	want := int64(max(budget, tickMin))
	for {
		tick := w.tick.Load()
		if want >= tick || w.tick.CompareAndSwap(tick, want) {
			return
		}
	}
}
