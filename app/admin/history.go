// History: the last minute in steps of half a second, for the loops' columns on the live page, and the
// last ten seconds in full, for rates and percentiles.

package admin

import (
	"sync"
	"time"

	"tafe/app"
)

const (
	columnsMax = 120 // steps shown for a loop
	windowMax  = 20  // steps over which rates and percentiles are taken
)

// Column values of a loop, one per step. A digit is the share of time that the loop was busy, in tenths.
const (
	columnNone    = '.' // nothing is known
	columnOverrun = 'x' // a slice exceeded the budget
)

// moment is the state of all counters at the end of a step.
type moment struct {
	at     time.Time
	loops  []loopSnapshot
	routes []*routeTraffic
	total  routeTraffic
}

type history struct {
	mu      sync.Mutex
	budget  time.Duration
	moments []moment // moments of the window, oldest first
	columns [][]byte // by loop, oldest step first
	rates   []float64
}

func newHistory(loops int, budget time.Duration) *history {
	h := &history{budget: budget, columns: make([][]byte, loops)}
	for i := range h.columns {
		for range columnsMax {
			h.columns[i] = append(h.columns[i], columnNone)
		}
	}
	h.rates = make([]float64, columnsMax)
	return h
}

// add ends a step. states are the current states of the loops.
func (h *history) add(at time.Time, loops []loopSnapshot, stats app.Stats, states []LoopState) {
	m := moment{at: at, loops: loops, routes: routesOf(stats)}
	m.total.answers = map[answerKey]uint64{}
	for _, r := range m.routes {
		m.total.add(r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.moments); n > 0 {
		before := &h.moments[n-1]
		for i := range h.columns {
			h.columns[i] = append(h.columns[i][1:], h.column(&before.loops[i], &loops[i], states[i].State))
		}
		rate := 0.0
		if passed := at.Sub(before.at).Seconds(); passed > 0 {
			rate = float64(m.total.duration.Count()-before.total.duration.Count()) / passed
		}
		h.rates = append(h.rates[1:], rate)
	}
	if len(h.moments) > windowMax {
		h.moments = h.moments[1:]
	}
	h.moments = append(h.moments, m)
}

// column returns the column for the time between two snapshots of a loop. If no time passed, the
// state decides.
func (h *history) column(before, now *loopSnapshot, state string) byte {
	passed := now.at.Sub(before.at)
	switch {
	case state == stateOverrun:
		return columnOverrun
	case passed <= 0 && state == stateBusy:
		return '9'
	case passed <= 0:
		return columnNone
	}
	slices := now.slices
	slices.Sub(&before.slices)
	if slices.Count() > slices.AtMost(h.budget) {
		return columnOverrun
	}
	return '0' + byte(min(10*slices.Sum/passed, 9))
}

// window returns the oldest and the newest moment kept, and the time between them.
func (h *history) window() (from, to moment, passed time.Duration) {
	if len(h.moments) == 0 {
		return moment{}, moment{}, 0
	}
	from, to = h.moments[0], h.moments[len(h.moments)-1]
	return from, to, to.at.Sub(from.at)
}
