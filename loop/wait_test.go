package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Code that calls YieldIfDue often enough yields before its loop is handed off.
func TestYieldIfDue(t *testing.T) {
	for _, tc := range []struct {
		why                    string
		budget, loop, task     time.Duration // the budget, and the handoff times
		before, between, until time.Duration // of the first call, of two calls, and when it is due
	}{
		{"half of the budget", 10 * time.Millisecond, 0, 0, 0, 100 * time.Microsecond, 5 * time.Millisecond},
		{"half of the handoff time", 10 * time.Millisecond, 2 * time.Millisecond, 0, 0, 100 * time.Microsecond, time.Millisecond},
		{"the task's own handoff time", 10 * time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 0, 100 * time.Microsecond, 2 * time.Millisecond},
		{"never handed over", 10 * time.Millisecond, 2 * time.Millisecond, -1, 0, 100 * time.Microsecond, 5 * time.Millisecond},
		{"a budget below the handoff time", time.Millisecond, 2 * time.Millisecond, 0, 0, 10 * time.Microsecond, 500 * time.Microsecond},
		{"the first call late", 10 * time.Millisecond, 2 * time.Millisecond, 0, time.Second, 0, time.Second},
		{"calls a microsecond apart", 10 * time.Millisecond, 2 * time.Millisecond, 0, 0, time.Microsecond, time.Millisecond},
		{"calls nearly as far apart as it has", 10 * time.Millisecond, 2 * time.Millisecond, 0, 0, 900 * time.Microsecond, 1800 * time.Microsecond},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l, m := newManual(t, Limits{SliceBudget: tc.budget})
			l.handoff.Store(int64(tc.loop))
			ended := start(t, l, func(task *Task) {
				task.SetHandoff(tc.task)
				for range 2 { // the slices after the first one too
					began := m.now
					m.now += int64(tc.before)
					slices := l.slices.Count()
					for l.slices.Count() == slices && m.now-began < int64(time.Minute) {
						m.now += int64(tc.between)
						require.NoError(t, task.YieldIfDue())
					}
					slack := time.Duration(yieldChecksMax)*min(tc.between, time.Microsecond) + time.Microsecond
					require.InDelta(t, tc.until, time.Duration(m.now-began), float64(max(slack, tc.until/8)))
				}
			})
			m.settle(l)
			require.NoError(t, *ended)
		})
	}
}

// Calls that become slower are not assumed to be as fast as before.
func TestYieldIfDueAfterFasterCalls(t *testing.T) {
	l, m := newManual(t, Limits{SliceBudget: 10 * time.Millisecond})
	ended := start(t, l, func(task *Task) {
		for range 1000 {
			require.NoError(t, task.YieldIfDue())
		}
		calls := 0
		for yields := l.slices.Count(); l.slices.Count() == yields; calls++ {
			m.now += int64(20 * time.Millisecond)
			require.NoError(t, task.YieldIfDue())
		}
		require.LessOrEqual(t, calls, yieldChecksMax)
	})
	m.settle(l)
	require.NoError(t, *ended)
}
