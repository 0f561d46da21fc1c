package watchdog

// The sampler: one OS thread that wakes, looks at every lane, and sleeps until
// the next look is due. It knows how late it woke: that, too, is evidence.

import (
	"math"
	"runtime"
	"time"
)

const (
	tickMin = time.Millisecond
	// What a sleep may be late by before it counts as the watchdog's own standstill.
	stallMin = int64(500 * time.Microsecond)
	// Housekeeping: reports that wait, metrics windows, heartbeats.
	chorePeriod = time.Second
)

// sample is the sampler's loop.
func (w *Watchdog) sample() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(w.stopped)
	defer w.instruments.clocks.close()
	chore := monotonic() + int64(chorePeriod)
	for !w.stopping.Load() {
		next := int64(w.tick.Load())
		for _, ln := range w.lanes() {
			next = min(next, ln.visit(w))
		}
		if now := monotonic(); now >= chore {
			w.chores()
			chore = now + int64(chorePeriod)
		}
		w.sleep(max(next, int64(50*time.Microsecond)))
	}
	for _, ln := range w.lanes() {
		ln.finish(w)
	}
	w.chores()
	w.desk.flush()
}

// sleep sleeps d ns and enters in the books by how much it was more.
func (w *Watchdog) sleep(d int64) {
	due := monotonic() + d
	w.due.Store(due)
	pause(time.Duration(d))
	w.due.Store(math.MaxInt64)
	late := monotonic() - due
	w.lateness.Store(late)
	w.latest.add(late)
	if late > stallMin {
		w.stall.Add(late)
	}
}

// stalled is for how long the sampler has not run although it should have, all
// in all: when nobody lets it run, the process as a whole does not.
func (w *Watchdog) stalled() int64 {
	late := monotonic() - w.due.Load()
	if late < stallMin {
		late = 0
	}
	return w.stall.Load() + late
}

// monotonic is the sampler's clock, ns.
func monotonic() int64 { return int64(time.Since(processStart)) }

// heed lowers the sampler's period to half of the smallest budget in use.
func (w *Watchdog) heed(budget time.Duration) {
	want := int64(max(budget/2, tickMin))
	for {
		tick := w.tick.Load()
		if want >= tick || w.tick.CompareAndSwap(tick, want) {
			return
		}
	}
}
