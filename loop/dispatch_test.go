package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCallbacksOnlyEnqueue starts and wakes tasks in every kind of callback. None of them
// runs before the end of the turn.
func TestCallbacksOnlyEnqueue(t *testing.T) {
	for _, tc := range []struct {
		why string
		// call has the loop call f, inside a turn that it begins.
		call func(l *Loop, m *manual, f func())
	}{
		{"a callback of the driver", func(l *Loop, _ *manual, f func()) { on(l, f) }},
		{"a posted function", func(l *Loop, m *manual, f func()) { l.Post(f); m.settle(l) }},
		{"a timer", func(l *Loop, m *manual, f func()) {
			on(l, func() { l.AfterFunc(&Timer{}, time.Millisecond, func(*Timer) { f() }) })
			m.advance(l, 2*time.Millisecond)
		}},
		{"the end of a task", func(l *Loop, m *manual, f func()) {
			on(l, func() { _, _ = l.Start(&code{run: func(*Task) {}, done: func(*Task, error) { f() }}) })
			m.settle(l)
		}},
		{"a flush", func(l *Loop, m *manual, f func()) {
			on(l, func() { m.flushed = func() { m.flushed = nil; f() } })
			m.settle(l)
		}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l, m := newManual(t, Limits{})
			started, woken, returned := false, false, false
			var w Waker
			start(t, l, func(t *Task) {
				w = t.Prepare()
				_ = t.Park()
				woken = true
			})
			tc.call(l, m, func() {
				_, err := l.Start(&code{run: func(*Task) { started = true }})
				require.NoError(t, err)
				w.Wake()
				require.False(t, started || woken)
				returned = true
			})
			require.True(t, returned)
			require.True(t, started)
			require.True(t, woken)
		})
	}
}

// TestChains has each task log its name and start, when it ends, the tasks that
// follow it.
func TestChains(t *testing.T) {
	for _, tc := range []struct {
		why     string
		ready   []string
		follows map[string][]string
		want    string // flushes are dots, turns are bars
	}{
		{"a task that a Done starts runs before those that are ready, and before the flush", []string{"a", "b"},
			map[string][]string{"a": {"a2"}, "a2": {"a3"}}, "a a2 a3 . b . . | "},
		{"only the first one that a Done starts: the others wait behind the next I/O", []string{"a", "b"},
			map[string][]string{"a": {"a2", "a3"}}, "a a2 . b . . | a3 . . | "},
		{"each task has a chain of its own", []string{"a", "b"},
			map[string][]string{"a": {"a2"}, "b": {"b2"}}, "a a2 . b b2 . . | "},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l, m := newManual(t, Limits{})
			log := ""
			m.flushed = func() { log += ". " }
			var named func(name string) *code
			named = func(name string) *code {
				return &code{run: func(*Task) { log += name + " " }, done: func(*Task, error) {
					for _, next := range tc.follows[name] {
						_, _ = l.Start(named(next))
					}
				}}
			}
			on(l, func() {
				for _, name := range tc.ready {
					_, _ = l.Start(named(name))
				}
			})
			log += "| "
			for m.woken {
				m.woken = false
				l.Drive().Turn()
				log += "| "
			}
			require.Equal(t, tc.want, log)
		})
	}
}

func TestChainsAreBounded(t *testing.T) {
	l, m := newManual(t, Limits{})
	var order []string
	n := 0
	var endless *code
	endless = &code{run: func(*Task) { order = append(order, "chain") }, done: func(*Task, error) {
		if n++; n < 2*chainMax+1 {
			_, _ = l.Start(endless)
		}
	}}
	on(l, func() {
		_, _ = l.Start(endless)
		_, _ = l.Start(&code{run: func(*Task) { order = append(order, "other") }})
	})
	require.Len(t, order, chainMax+1)
	require.Equal(t, "other", order[chainMax])
	require.True(t, m.woken, "the rest has a turn of its own")
	m.settle(l)
	require.Len(t, order, 2*chainMax+2)
}

func TestTurnsDoNotNest(t *testing.T) {
	l, _ := newManual(t, Limits{})
	on(l, func() { require.Panics(t, l.Drive().BeginTurn) })
}

// TestPostedBeforeShutdown: a function that Post has accepted runs.
func TestPostedBeforeShutdown(t *testing.T) {
	l := New(0, &manual{now: 1, alarm: never}, Limits{}, nil)
	var ran []int
	on(l, func() {
		require.True(t, l.Post(func() { ran = append(ran, 1) }))
		l.Drive().Shutdown()
		l.Drive().Close()
		require.False(t, l.Post(func() { ran = append(ran, 2) }))
	})
	require.Equal(t, []int{1}, ran)
}

// TestUnwindingCodeMayTouchTheLoop: the deferred functions of a task that ignores its
// cancellation may call the loop, to release resources.
func TestUnwindingCodeMayTouchTheLoop(t *testing.T) {
	for _, tc := range []struct {
		why  string
		call func(l *Loop, t *Task, tm *Timer) error
		want error
	}{
		{"StopTimer", func(l *Loop, _ *Task, tm *Timer) error { l.StopTimer(tm); return nil }, nil},
		{"AfterFunc", func(l *Loop, _ *Task, tm *Timer) error {
			l.AfterFunc(tm, time.Hour, func(*Timer) {})
			return nil
		}, nil},
		{"Cancel", func(_ *Loop, t *Task, _ *Timer) error { t.Cancel(ErrClosed); return nil }, nil},
		{"SetDeadline", func(_ *Loop, t *Task, _ *Timer) error { t.SetDeadline(time.Hour); return nil }, nil},
		{"Wake", func(_ *Loop, t *Task, _ *Timer) error { t.Prepare().Wake(); return nil }, nil},
		{"and the loop is not taken from them", func(l *Loop, _ *Task, _ *Timer) error {
			since, t, ok := l.Observe().Slice().Load()
			taken := make(chan bool)
			go func() { taken <- ok && l.Drive().TakeFrom(since, t, true) }()
			if <-taken {
				return ErrForeignGoroutine
			}
			return nil
		}, nil},
		{"Start", func(l *Loop, _ *Task, _ *Timer) error { _, err := l.Start(&code{}); return err }, ErrClosed},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l := New(0, &manual{now: 1, alarm: never}, Limits{}, nil)
			var got, ended error
			var tm Timer
			on(l, func() {
				l.AfterFunc(&tm, time.Hour, func(*Timer) {})
				_, _ = l.Start(&code{run: func(t *Task) {
					defer func() { got = tc.call(l, t, &tm) }()
					for {
						_ = t.Sleep(time.Hour)
						t.cause.Store(nil)
						_ = t.Yield()
						t.cause.Store(nil)
					}
				}, done: func(_ *Task, err error) { ended = err }})
			})
			on(l, func() { l.Drive().Shutdown(); l.Drive().Close() })
			require.Equal(t, tc.want, got)
			require.Equal(t, ErrShutdown, ended)
			require.Empty(t, l.all)
		})
	}
}
