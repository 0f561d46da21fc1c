package watchdog

// Totals: all overruns since the start, by verdict, by route and by place in the
// code. They are the one account of them: logs, metrics and the page read it.

import (
	"cmp"
	"slices"
	"time"
)

const (
	stacksMax      = 512 // places in the code that are remembered
	stackWorstMax  = 8   // victims that a place names
	totalRoutesMax = 256 // routes that have totals; later ones count as OtherRoutes
)

// The names under which Totals counts overruns of no route, and of the routes
// beyond the bound.
const (
	NoRoute     = "none"
	OtherRoutes = "other"
)

// Count adds up overruns.
type OverrunTotals struct {
	Overruns uint64 `json:"overruns"`
	Held     Millis `json:"held_ms"`
	Ran      Millis `json:"ran_ms"`
	Released uint64 `json:"released"` // of Overruns
	Victims  uint64 `json:"victims"`
	Cost     Millis `json:"victim_ms"` // what others waited
}

func (c *OverrunTotals) add(o *Overrun) {
	c.Overruns++
	c.Held += o.Held
	c.Ran += o.Ran
	if o.Released {
		c.Released++
	}
	c.Victims += uint64(o.Victims.Count)
	c.Cost += o.Victims.Total
}

// Stack is what is known of one place in the code.
type StackTotals struct {
	Key     string  `json:"key"`
	Verdict Verdict `json:"verdict"`
	Route   string  `json:"route"`
	Method  string  `json:"method"`
	Culprit Frame   `json:"culprit"`
	OverrunTotals
	Longest Millis    `json:"longest_ms"` // that its code ran
	Last    time.Time `json:"last"`
	Advice  string    `json:"advice,omitempty"`
	Frames  []Frame   `json:"stack"`
	Worst   []Victim  `json:"worst,omitempty"` // the longest delays first

	interval   time.Duration
	next       time.Time // not reported again before
	suppressed Suppressed
}

// Add enters an overrun of the place.
func (s *StackTotals) Add(o *Overrun) {
	s.OverrunTotals.add(o)
	s.Verdict, s.Route, s.Method, s.Last = o.Verdict, o.Route, o.Method, o.Started
	s.Longest = max(s.Longest, o.Ran)
	if o.Advice != "" {
		s.Advice = o.Advice
	}
	if len(o.Stack) > 0 {
		s.Frames, s.Culprit = o.Stack, o.Culprit
	}
	if len(o.Victims.Worst) > 0 {
		s.Worst = append(slices.Clone(s.Worst), o.Victims.Worst...)
		slices.SortStableFunc(s.Worst, func(x, y Victim) int { return cmp.Compare(y.Delay, x.Delay) })
		s.Worst = s.Worst[:min(len(s.Worst), stackWorstMax)]
	}
}

// Totals are what a Watchdog has counted.
type Totals struct {
	Active   int // that are going on
	Verdicts map[Verdict]OverrunTotals
	// Routes are by name, and only of what their code is to blame for.
	Routes map[string]OverrunTotals
}

// Totals returns them. Any goroutine.
func (w *Watchdog) Totals() Totals {
	dropped := uint64(0)
	for _, ln := range w.watchedLoops() {
		ln.mu.Lock()
		dropped += ln.dropped
		ln.mu.Unlock()
	}
	d := w.reporter
	d.mu.Lock()
	defer d.mu.Unlock()
	t := Totals{Active: len(d.live), Verdicts: map[Verdict]OverrunTotals{}, Routes: map[string]OverrunTotals{}}
	for v, c := range d.counts {
		t.Verdicts[v] = *c
	}
	unknown := t.Verdicts[Unknown]
	unknown.Overruns += dropped // they were too many to be looked into
	t.Verdicts[Unknown] = unknown
	for route, c := range d.routes {
		t.Routes[route] = *c
	}
	return t
}

// Stacks returns the places in the code, those that cost others the most first. Any
// goroutine.
func (w *Watchdog) Stacks() []StackTotals {
	d := w.reporter
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]StackTotals, 0, len(d.stacks))
	for _, s := range d.stacks {
		if s.Overruns > 0 { // else its first one is going on
			all = append(all, *s)
		}
	}
	slices.SortFunc(all, func(a, b StackTotals) int {
		return cmp.Or(cmp.Compare(b.Cost, a.Cost), cmp.Compare(b.Ran, a.Ran), cmp.Compare(a.Key, b.Key))
	})
	return all
}

// count enters a closed overrun.
func (d *reporter) count(o *Overrun) {
	d.counts[o.Verdict].add(o)
	if !o.Blamed {
		return
	}
	route := cmp.Or(o.Route, NoRoute)
	if d.routes[route] == nil && len(d.routes) >= totalRoutesMax {
		route = OtherRoutes
	}
	if d.routes[route] == nil {
		d.routes[route] = &OverrunTotals{}
	}
	d.routes[route].add(o)
}

// stack finds or makes the entry of an overrun's stack; when there are too many
// the one that cost others the least goes.
func (d *reporter) stack(o *Overrun) *StackTotals {
	if s := d.stacks[o.Key]; s != nil {
		return s
	}
	if len(d.stacks) >= stacksMax {
		var least *StackTotals
		for _, s := range d.stacks {
			if least == nil || s.Cost < least.Cost {
				least = s
			}
		}
		delete(d.stacks, least.Key)
	}
	s := &StackTotals{Key: o.Key, Verdict: o.Verdict, Route: o.Route, Culprit: o.Culprit, Frames: o.Stack}
	d.stacks[o.Key] = s
	return s
}
