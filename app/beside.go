// This file decides which routes start beside their loop because they hold it too often. Handoff itself is loop's.

package app

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A route starts beside its loop once handoffs of its requests have held loops for besideShare of besideWindow; it is tried on the
	// loop again after besideBack, which doubles each time that fails.
	besideWindow  = 10 * time.Second
	besideShare   = 50 // 1/50: 2%
	besideBack    = time.Minute
	besideBackMax = time.Hour
)

// placement is where the requests of a route start. It is touched when a loop was taken from one of them, and while they start
// beside their loops.
type placement struct {
	beside   atomic.Bool
	handoffs atomic.Uint64

	mu    sync.Mutex
	since time.Time     // of this window
	held  time.Duration // in this window, by slices whose loop was taken
	until time.Time     // beside: when the loop is tried again
	back  time.Duration
}

// starts tells whether the next request starts beside its loop.
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

// released enters a request whose loop was taken n times, after it had held it for so long together. It reports when the next ones
// start beside their loops, and for how long.
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
	if p.back == 0 || now.Sub(p.until) > 10*p.back { // it has behaved for long
		p.back = besideBack
	} else {
		p.back = min(2*p.back, besideBackMax)
	}
	p.until = now.Add(p.back)
	p.beside.Store(true)
	return true, p.back
}

// inherit goes on with what is known of an earlier placement.
func (p *placement) inherit(old *placement) {
	old.mu.Lock()
	defer old.mu.Unlock()
	p.handoffs.Store(old.handoffs.Load())
	p.beside.Store(old.beside.Load())
	p.since, p.held, p.until, p.back = old.since, old.held, old.until, old.back
}

// inherit has the routes go on with what is known of the same routes of an earlier App: counters do not begin anew, and a route
// that is slow is not tried again.
func (a *App) inherit(old *App) {
	type identity struct{ method, pattern, name string }
	known := make(map[identity]*Route, len(old.router.routes))
	for _, r := range old.router.routes {
		known[identity{r.Method, r.Pattern, r.Name}] = r
	}
	for _, r := range a.router.routes {
		if before := known[identity{r.Method, r.Pattern, r.Name}]; before != nil && before != r {
			r.placement.inherit(&before.placement)
		}
	}
}

// place enters what became of a request, at its end.
func (c *Context) place() {
	u := c.task.Observe().Usage()
	if u.Handoffs == 0 || c.route == nil || c.route.Blocking {
		return
	}
	if moved, back := c.route.placement.released(u.Handoffs, u.Taken, c.hub.wall()); moved {
		c.app.options.Log.Warn("a route holds its loop too often: its requests start beside the loop from now on",
			"route", *c.routeName, "for", back)
	}
}

// Handoffs counts how often a loop was taken from requests of the route. Any goroutine.
func (r *Route) Handoffs() uint64 { return r.placement.handoffs.Load() }

// Beside tells whether requests of the route start beside their loops now. Any goroutine.
func (r *Route) Beside() bool { return r.Blocking || r.placement.beside.Load() }
