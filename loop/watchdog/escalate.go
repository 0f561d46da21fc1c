package watchdog

// Escalation: what is done about code that does not improve. Reports come
// first and always. Beyond them, each only if it is configured: the process says
// it is not ready while a loop is held, a route is moved off the loops, and a
// process whose loop is stuck for good is ended, with a dump of all stacks. The
// decisions are made here; who can act on them acts.

import (
	"log/slog"
	"runtime"
	"slices"
	"time"
)

// Escalation configures it. The zero value only reports.
type Escalation struct {
	// UnreadyAfter: Ready is false while a loop is held for longer. 0: never.
	UnreadyAfter time.Duration
	// Offload, if not nil, has routes that do not improve move to a blocking pool
	// (on) and back (off), and is told of it. It is called by the watchdog's
	// goroutine and must not block it. Handlers ask Moved.
	Offload func(route string, on bool)
	// A route moves when its overruns held a loop for more than OffloadShare
	// percent of OffloadWindow (defaults 5 and 30 s), and is tried on the loop
	// again after OffloadBack (default 10 min), which doubles each time it fails.
	OffloadShare  int
	OffloadWindow time.Duration
	OffloadBack   time.Duration
	// Abort, if not nil, is called once when a loop has been held for AbortAfter by
	// blameable code, with the stacks of all goroutines; it should end the process.
	Abort      func(o Overrun, stacks []byte)
	AbortAfter time.Duration
}

const offloadBackMax = 24 * time.Hour

func (e Escalation) withDefaults() Escalation {
	if e.OffloadShare <= 0 {
		e.OffloadShare = 5
	}
	if e.OffloadWindow <= 0 {
		e.OffloadWindow = 30 * time.Second
	}
	if e.OffloadBack <= 0 {
		e.OffloadBack = 10 * time.Minute
	}
	return e
}

// conduct is what is known of one route's behaviour.
type conduct struct {
	held  Millis // by overruns, in this window
	since time.Time
	moved bool
	until time.Time // moved: when to try again
	back  time.Duration
}

// escalation is the sampler's own.
type escalation struct {
	routes  map[string]*conduct
	aborted bool
}

// Ready tells whether no loop is held for longer than Escalation.UnreadyAfter.
// Any goroutine.
func (w *Watchdog) Ready() bool {
	limit := int64(w.config.Escalation.UnreadyAfter)
	if limit <= 0 {
		return true
	}
	for _, ln := range w.lanes() {
		since, _, ok := ln.loop.Slice().Load()
		if !ok {
			since, ok = ln.loop.Slice().Outside()
		}
		if ok && ln.loop.Clock()-since > limit {
			return false
		}
	}
	return true
}

// behaved enters a blamed overrun into its route's conduct, and moves the route
// when it has held the loops for too long.
func (w *Watchdog) behaved(o *Overrun, now time.Time) {
	e := w.config.Escalation
	if e.Offload == nil || !o.Blamed || o.Route == "" {
		return
	}
	c := w.escalation.routes[o.Route]
	if c == nil {
		if len(w.escalation.routes) >= routesMax {
			return
		}
		c = &conduct{since: now, back: e.OffloadBack}
		w.escalation.routes[o.Route] = c
	}
	if now.Sub(c.since) > e.OffloadWindow {
		c.held, c.since = 0, now
	}
	c.held += o.Held
	if !c.moved && c.held > Millis(e.OffloadWindow)*Millis(e.OffloadShare)/100 {
		if !c.until.IsZero() && now.Sub(c.until) < c.back { // it failed the trial
			c.back = min(2*c.back, offloadBackMax)
		}
		c.moved, c.until = true, now.Add(c.back)
		w.move(o.Route, true, slog.String("held", c.held.String()), slog.String("window", e.OffloadWindow.String()),
			slog.String("until", c.until.UTC().Format(time.RFC3339)))
	}
}

// Moved tells whether a route shall do what blocks in a pool (loop.Offload) and
// not on its loop: for its handler, at the start of that part. One load while no
// route is moved. Any goroutine.
func (w *Watchdog) Moved(route string) bool {
	moved := w.moved.Load()
	return moved != nil && slices.Contains(*moved, route)
}

// move acts, and leaves a record of it.
func (w *Watchdog) move(route string, on bool, details ...slog.Attr) {
	var moved []string
	for name, c := range w.escalation.routes {
		if c.moved {
			moved = append(moved, name)
		}
	}
	if len(moved) == 0 {
		w.moved.Store(nil)
	} else {
		w.moved.Store(&moved)
	}
	what := "a route is back on the loops, on trial"
	if on {
		what = "a route is moved off the loops"
	}
	w.desk.log.say(slog.LevelWarn, what, append([]slog.Attr{slog.String("route", route)}, details...)...)
	w.config.Escalation.Offload(route, on)
}

// escalate does what is due by time alone.
func (w *Watchdog) escalate(now time.Time) {
	e := w.config.Escalation
	for route, c := range w.escalation.routes {
		if c.moved && !now.Before(c.until) {
			c.moved, c.held, c.since = false, 0, now
			w.move(route, false)
		}
	}
	if e.Abort == nil || e.AbortAfter <= 0 || w.escalation.aborted {
		return
	}
	for _, ln := range w.lanes() {
		p := &ln.hunt
		if p.reported == nil || ln.clock()-p.began < int64(e.AbortAfter) {
			continue
		}
		w.escalation.aborted = true
		stacks := make([]byte, 4<<20)
		e.Abort(ln.record(p, ln.clock()-p.began, false), stacks[:runtime.Stack(stacks, true)])
		return
	}
}
