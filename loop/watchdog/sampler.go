package watchdog

// The sampler: one OS thread that wakes, looks at every lane, and sleeps until
// the next look is due. It knows how late it woke: that, too, is evidence.

import (
	"runtime"
	"time"
)

const (
	tickMin = time.Millisecond
	// Housekeeping: reports that wait, metrics windows, heartbeats.
	chorePeriod = time.Second
)

// sample is the sampler's loop.
func (w *Watchdog) sample() {
	runtime.LockOSThread() // and the thread ends with this goroutine
	defer close(w.stopped)
	raisePriority()
	defer w.instruments.clocks.close()
	chore := monotonic() + int64(chorePeriod)
	for !w.stopping.Load() {
		next := int64(lookIdle)
		for _, ln := range w.lanes() {
			next = min(next, ln.visit(w))
		}
		switch tick := w.tick.Load(); next {
		case lookIdle:
			next = tick
		default:
			next = min(next, tick*3/4)
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
	time.Sleep(time.Duration(d)) // not a system call: see docs/decisions/007
	w.late.woke(due, monotonic())
}

// monotonic is the sampler's clock, ns.
func monotonic() int64 { return int64(time.Since(processStart)) }

// heed lowers the sampler's period to the smallest budget in use: a slice that
// begins right after a look is seen again before it is an overrun, and looked at
// closely from then on.
func (w *Watchdog) heed(budget time.Duration) {
	want := int64(max(budget, tickMin))
	for {
		tick := w.tick.Load()
		if want >= tick || w.tick.CompareAndSwap(tick, want) {
			return
		}
	}
}
