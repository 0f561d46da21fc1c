package watchdog

// Heartbeats: once a second each loop is asked to say that it turns. Unlike the
// slice record this sees everything that keeps a loop from its events.

import (
	"sync/atomic"
	"time"
)

// heart is the sampler's; its numbers are read by others.
type heart struct{ started atomic.Int64 }

// beat posts to every loop that has answered the last time.
func (h *heart) beat(lanes []*lane, now int64) {
	h.started.CompareAndSwap(0, now)
	for _, ln := range lanes {
		if ln.passive || !ln.asked.CompareAndSwap(false, true) {
			continue
		}
		if !ln.loop.Post(func() { ln.turned.Store(monotonic()); ln.asked.Store(false) }) {
			ln.gone.Store(true)
		}
	}
}

// Stuck lists the loops, by id, that have not turned for at least d: give it
// some seconds. Loops that were stopped are not in it. Any goroutine.
func (w *Watchdog) Stuck(d time.Duration) (ids []int) {
	now := monotonic()
	for _, ln := range w.lanes() {
		last := max(ln.turned.Load(), w.heart.started.Load())
		if !ln.passive && last != 0 && now-last >= int64(d) && !ln.gone.Load() && w.heart.started.Load() != 0 {
			ids = append(ids, ln.loop.ID())
		}
	}
	return ids
}
