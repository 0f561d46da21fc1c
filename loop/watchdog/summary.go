package watchdog

// Summaries: how long all slices waited for their loops, in the sink beside the
// overruns, so that a saved log can tell what the waits would have been without
// one of them. And the same numbers for who asks while the process runs.

import (
	"time"

	"tafe/loop"
)

// Summary is a line of the sink that is no overrun.
type Summary struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Waits  Sparse    `json:"waits"`  // for the loop, before each slice: bucket to count
	Slices Sparse    `json:"slices"` // lengths
}

const summaryPeriod = time.Minute

// RouteTimes is what the slices of one route on all loops took.
type RouteTimes struct {
	Route  string // "" for slices outside of requests
	Slices loop.Histogram
}

// Routes returns the times of each route since the start. Any goroutine.
func (w *Watchdog) Routes() []RouteTimes {
	byName := map[string]*RouteTimes{}
	for _, ln := range w.lanes() {
		ln.routes.each(func(s *routeStats) {
			r := byName[s.name]
			if r == nil {
				r = &RouteTimes{Route: s.name}
				byName[s.name] = r
			}
			slices := copyWords(&s.slices)
			r.Slices.Add(&slices)
		})
	}
	all := make([]RouteTimes, 0, len(byName))
	for _, r := range byName {
		all = append(all, *r)
	}
	return all
}

// copyWords copies a histogram that its owner may be writing.
//
//go:norace
func copyWords(from *loop.Histogram) loop.Histogram { return *from }

// summarizer writes summaries; the sampler's own.
type summarizer struct {
	since         time.Time
	slices, waits loop.Histogram // at since
}

// sum is what all loops have counted.
func (w *Watchdog) sum() (slices, waits loop.Histogram) {
	for _, ln := range w.lanes() {
		s, lags := ln.loop.Observe().Times()
		slices.Add(&s)
		waits.Add(&lags)
	}
	return slices, waits
}

// summarize writes what was counted since the last summary, if it is time or if
// it is the last chance.
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
	w.desk.sinkLine(fresh)
}
