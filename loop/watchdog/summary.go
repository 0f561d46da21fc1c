// Summaries: the distributions of slice lengths and of waits for the loop. The sink gets them
// beside the overruns, so that a saved log shows how much one stack contributed to the waits.
// Routes returns slice lengths by route.

package watchdog

import (
	"time"

	"tafe/loop"
)

// Summary is a line of the sink that is not an overrun.
type Summary struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Waits  Sparse    `json:"waits"`  // of tasks for the loop, before each slice
	Slices Sparse    `json:"slices"` // lengths of slices
}

const summaryPeriod = time.Minute

// RouteTimes has the slice lengths of one route on all loops.
type RouteTimes struct {
	Route  string // "" for slices outside requests
	Slices loop.Histogram
}

// Routes returns the slice lengths of each route since the start. Any goroutine may call it.
func (w *Watchdog) Routes() []RouteTimes {
	byName := map[string]*RouteTimes{}
	for _, ln := range w.watchedLoops() {
		ln.routes.each(func(s *routeStats) {
			r := byName[s.name]
			if r == nil {
				r = &RouteTimes{Route: s.name}
				byName[s.name] = r
			}
			slices := copyHistogram(&s.slices)
			r.Slices.Add(&slices)
		})
	}
	all := make([]RouteTimes, 0, len(byName))
	for _, r := range byName {
		all = append(all, *r)
	}
	return all
}

// copyHistogram copies a histogram that its loop may be writing.
//
//go:norace
func copyHistogram(from *loop.Histogram) loop.Histogram { return *from }

// summarizer is the state at the last summary. Only the sampler uses it.
type summarizer struct {
	since         time.Time
	slices, waits loop.Histogram // at since
}

// sum returns the totals of all loops.
func (w *Watchdog) sum() (slices, waits loop.Histogram) {
	for _, ln := range w.watchedLoops() {
		s, lags := ln.loop.Times()
		slices.Add(&s)
		waits.Add(&lags)
	}
	return slices, waits
}

// summarize writes a summary to the sink if one is due or last is set.
func (w *Watchdog) summarize(now time.Time, last bool) {
	s := &w.summarizer
	if s.since.IsZero() {
		s.since = now
	}
	if w.config.Sink == nil || now.Sub(s.since) < summaryPeriod && !last {
		return
	}
	slices, waits := w.sum()
	fresh := Summary{From: s.since, To: now, Waits: sparseSince(&waits, &s.waits), Slices: sparseSince(&slices, &s.slices)}
	s.since, s.slices, s.waits = now, slices, waits
	if len(fresh.Slices) == 0 {
		return
	}
	w.reporter.sinkLine(fresh)
}
