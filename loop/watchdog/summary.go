// Summaries: the distributions of slice lengths and of waits for the loop. The sink gets them
// beside the overruns, so that a saved log shows how much one stack contributed to the waits.

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

// summarizer is the state at the last summary. Only the sampler uses it.
type summarizer struct {
	since         time.Time
	slices, waits loop.Histogram // at since
}

// sum returns the totals of all loops.
func (w *Watchdog) sum() (slices, waits loop.Histogram) {
	for _, ln := range w.watchedLoops() {
		s, lags := ln.loop.Observe().Times()
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
