// Totals of all overruns since the start, by verdict, route and stack. Logs, metrics and the admin
// page all read them.

package watchdog

import (
	"cmp"
	"slices"
	"time"
)

const (
	stacksMax      = 512 // stacks that have totals
	stackWorstMax  = 8   // victims listed for a stack
	totalRoutesMax = 256 // routes that have totals; later ones are counted as OtherRoutes
)

// Route names in Totals: NoRoute for overruns outside requests, OtherRoutes for routes beyond the
// limit.
const (
	NoRoute     = "none"
	OtherRoutes = "other"
)

// OverrunTotals adds up overruns.
type OverrunTotals struct {
	Overruns uint64 `json:"overruns"`
	Held     Millis `json:"held_ms"`
	Ran      Millis `json:"ran_ms"`
	Released uint64 `json:"released"` // part of Overruns
	Victims  uint64 `json:"victims"`
	Cost     Millis `json:"victim_ms"` // total delay of the victims
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

// StackTotals adds up the overruns of one place in the code (see Overrun.Key). Verdict, Route,
// Method and Frames are those of the latest.
type StackTotals struct {
	Key     string  `json:"key"`
	Verdict Verdict `json:"verdict"`
	Route   string  `json:"route"`
	Method  string  `json:"method"`
	Culprit Frame   `json:"culprit"`
	OverrunTotals
	Longest Millis    `json:"longest_ms"` // longest run time
	Last    time.Time `json:"last"`
	Advice  string    `json:"advice,omitempty"`
	Frames  []Frame   `json:"stack"`
	Worst   []Victim  `json:"worst,omitempty"` // longest delays first

	interval   time.Duration
	next       time.Time // not logged again before
	suppressed Suppressed
}

// Add adds an overrun.
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

// Totals are the overruns counted by a Watchdog.
type Totals struct {
	Active   int // overruns that are not over
	Verdicts map[Verdict]OverrunTotals
	// Routes has the overruns blamed on the code, by route name.
	Routes map[string]OverrunTotals
}

// Totals returns the overruns counted since the start. Any goroutine may call it.
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
	unknown.Overruns += dropped // the sampler did not get them
	t.Verdicts[Unknown] = unknown
	for route, c := range d.routes {
		t.Routes[route] = *c
	}
	return t
}

// Stacks returns the totals of each stack, the highest victims' delay first. Any goroutine may call
// it.
func (w *Watchdog) Stacks() []StackTotals {
	d := w.reporter
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]StackTotals, 0, len(d.stacks))
	for _, s := range d.stacks {
		if s.Overruns > 0 { // 0 while its first overrun lasts
			all = append(all, *s)
		}
	}
	slices.SortFunc(all, func(a, b StackTotals) int {
		return cmp.Or(cmp.Compare(b.Cost, a.Cost), cmp.Compare(b.Ran, a.Ran), cmp.Compare(a.Key, b.Key))
	})
	return all
}

// count adds a closed overrun.
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

// stack returns the totals of an overrun's stack, and creates them if needed. If there are too
// many, it removes the one with the lowest cost.
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
