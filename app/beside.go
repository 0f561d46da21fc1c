// Routes whose handlers start beside their loop because they hold it too often. Package loop implements handoff.

package app

import (
	"sync"
	"sync/atomic"
	"time"

	"tafe/loop"
)

const (
	// Requests of a route start beside their loops when slices that ended in a handoff have held loops for 1/besideShare of
	// besideWindow. After besideBack they start on the loop again; the time doubles with each repetition, up to besideBackMax.
	besideWindow  = 10 * time.Second
	besideShare   = 50 // 2%
	besideBack    = time.Minute
	besideBackMax = time.Hour
)

// placement decides where the requests of a route start. Its mutex is used only after a handoff, and while requests start beside their
// loops.
type placement struct {
	beside   atomic.Bool
	handoffs atomic.Uint64

	mu    sync.Mutex
	since time.Time     // start of the window
	held  time.Duration // in the window, by slices that ended in a handoff
	until time.Time     // when requests start on the loop again
	back  time.Duration
}

// starts reports whether the next request starts beside its loop.
func (p *placement) starts(r *Route, now time.Time) bool {
	if r.Blocking {
		return true
	}
	if !p.beside.Load() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.until) {
		return true
	}
	p.beside.Store(false)
	p.since, p.held = now, 0
	return false
}

// released records a request with n handoffs that held its loop for the given time before them. moved is set if requests start beside their
// loops from now on, for the time back.
func (p *placement) released(n uint64, held time.Duration, now time.Time) (moved bool, back time.Duration) {
	p.handoffs.Add(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.beside.Load() {
		return false, 0
	}
	if now.Sub(p.since) > besideWindow {
		p.since, p.held = now, 0
	}
	if p.held += held; p.held < besideWindow/besideShare {
		return false, 0
	}
	if p.back == 0 || now.Sub(p.until) > 10*p.back { // no repetition
		p.back = besideBack
	} else {
		p.back = min(2*p.back, besideBackMax)
	}
	p.until = now.Add(p.back)
	p.beside.Store(true)
	return true, p.back
}

// inherit copies the state of old.
func (p *placement) inherit(old *placement) {
	old.mu.Lock()
	defer old.mu.Unlock()
	p.handoffs.Store(old.handoffs.Load())
	p.beside.Store(old.beside.Load())
	p.since, p.held, p.until, p.back = old.since, old.held, old.until, old.back
}

// inherit copies the placements of the same routes of an earlier App: their counters continue, and slow routes still start beside their
// loops.
func (a *App) inherit(old *App) {
	known := map[identity]*Route{}
	for _, r := range old.Routes() {
		known[r.identity()] = r
	}
	for _, r := range a.Routes() {
		if before := known[r.identity()]; before != nil && before != r {
			r.placement.inherit(&before.placement)
		}
	}
}

// placeTask records the handoffs of a task of the route, at its end. r may be nil.
func (a *App) placeTask(r *Route, t *loop.Task) {
	u := t.Observe().Usage()
	if u.Handoffs == 0 || r == nil || r.Blocking {
		return
	}
	if moved, back := r.placement.released(u.Handoffs, u.Taken, time.Now()); moved {
		a.options.Log.Warn("requests of a route start beside their loops from now on, because they have held them too often",
			"route", r.Name, "for", back)
	}
}

// Handoffs returns the number of handoffs during requests of the route. Any goroutine.
func (r *Route) Handoffs() uint64 { return r.placement.handoffs.Load() }

// Beside reports whether requests of the route currently start beside their loops. Any goroutine.
func (r *Route) Beside() bool { return r.Blocking || r.placement.beside.Load() }
