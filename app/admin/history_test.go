// Tests of the history with given counters and times.

package admin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/loop/reactor"
)

func TestLaneColumns(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		slices []time.Duration // ended in the step
		silent bool
		state  string
		want   byte
		why    string
	}{
		{nil, false, stateWaiting, '0', "nothing ran"},
		{[]time.Duration{5 * time.Millisecond, 5 * time.Millisecond}, false, stateWaiting, '0', "a fiftieth"},
		{repeat(5*time.Millisecond, 50), false, stateBusy, '5', "half of it"},
		{repeat(10*time.Millisecond, 50), false, stateBusy, '9', "all of it, and no slice beyond the budget"},
		{[]time.Duration{11 * time.Millisecond}, false, stateWaiting, 'x', "a slice beyond the budget, however idle the loop"},
		{nil, true, stateOverrun, 'x', "one that is still going on"},
		{nil, true, stateBusy, '9', "no answer, but nothing is wrong yet"},
		{nil, true, stateWaiting, '.', "no answer and no reason: nothing is known"},
	} {
		h := newHistory(1, 10*time.Millisecond)
		before := loopSnapshot{at: begin}
		now := loopSnapshot{at: begin.Add(500 * time.Millisecond)}
		if c.silent {
			now.at = begin
		}
		for _, d := range c.slices {
			now.slices.Observe(d)
		}
		h.add(begin, []loopSnapshot{before}, app.Stats{}, []LoopState{{}})
		h.add(begin.Add(500*time.Millisecond), []loopSnapshot{now}, app.Stats{}, []LoopState{{State: c.state}})
		require.Len(t, h.columns[0], columnsMax)
		require.Equal(t, string(c.want), string(h.columns[0][columnsMax-1:]), c.why)
	}
}

func repeat(d time.Duration, n int) (all []time.Duration) {
	for range n {
		all = append(all, d)
	}
	return all
}

func TestWindowForgets(t *testing.T) {
	h := newHistory(1, time.Millisecond)
	at := time.Unix(1_800_000_000, 0)
	route := &app.Route{Name: "/a"}
	stats := app.RouteStats{Route: route, Answers: []app.Answers{{Method: "GET", Status: 200}, {Method: "GET", Status: 503}}}
	var loops loopSnapshot
	for step := range 3 * windowMax {
		d := time.Second // slow at first
		if step > windowMax {
			d = time.Millisecond
		}
		stats.Duration.Observe(d)
		loops.lags.Observe(d)
		stats.Answers[step%2].Count++
		loops.stats = reactor.Stats{BytesOut: loops.stats.BytesOut + 500}
		at = at.Add(500 * time.Millisecond)
		loops.at = at
		told1 := loops
		copied := stats
		copied.Answers = append([]app.Answers(nil), stats.Answers...)
		h.add(at, []loopSnapshot{told1}, app.Stats{Loops: []app.Counters{{Routes: []app.RouteStats{copied}}}}, []LoopState{{}})
	}
	var f Frame
	from, to, passed := h.window()
	f.measure(from, to, passed, nil)
	require.InDelta(t, 2, f.Rate, 0.001, "one each half second")
	require.InDelta(t, 1, f.Failures, 0.001, "of which one in two fails")
	require.Equal(t, ms(1), f.P999, "slow requests have left the window")
	require.Equal(t, ms(1), f.Lag99)
	require.InDelta(t, 1000, f.Out, 0.001)
	require.Len(t, f.Routes, 1)
	require.Equal(t, "/a", f.Routes[0].Route)
	require.EqualValues(t, 3*windowMax, f.Routes[0].Total)
	require.InDelta(t, 2, h.rates[columnsMax-1], 0.001)
}
