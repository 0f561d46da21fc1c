// The driver of this package's own tests: a clock that moves only when told.

package loop

import (
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type manual struct {
	now     int64
	woken   bool
	alarm   int64
	flushed func() // called by Flush
}

func (m *manual) Now() int64      { m.now++; return m.now }
func (m *manual) Wake()           { m.woken = true }
func (m *manual) WakeAt(at int64) { m.alarm = at }
func (m *manual) Flush() {
	if m.flushed != nil {
		m.flushed()
	}
}

func newManual(t *testing.T, limits Limits) (*Loop, *manual) {
	t.Helper()
	m := &manual{now: 1, alarm: never}
	l := New(0, m, limits, slog.New(slog.NewTextHandler(io.Discard, nil)))
	l.Drive().Turn()
	t.Cleanup(func() {
		on(l, func() { l.Drive().Shutdown(); l.Drive().Close() })
		require.Empty(t, l.all, "tasks left behind")
		require.Zero(t, l.tasks)
	})
	return l, m
}

// settle turns the loop until nothing asks for another turn.
func (m *manual) settle(l *Loop) {
	for range 1000 {
		if !m.woken {
			return
		}
		m.woken = false
		l.Drive().Turn()
	}
	panic("the loop never settles")
}

// advance moves the clock, stopping at every alarm on the way.
func (m *manual) advance(l *Loop, d time.Duration) {
	m.settle(l)
	end := m.now + int64(d)
	for m.alarm <= end {
		m.now, m.alarm = max(m.now, m.alarm), never
		l.Drive().Turn()
		m.settle(l)
	}
	m.now = max(m.now, end)
	m.settle(l)
}

// code is a Runner of two functions; run is user code.
type code struct {
	run  func(*Task)
	done func(*Task, error)
}

func (c *code) Run(t *Task) { t.Outside(func() { c.run(t) }) }
func (c *code) Done(t *Task, err error) {
	if c.done != nil {
		c.done(t, err)
	}
}

// on runs f on the loop, as a callback of its driver.
func on(l *Loop, f func()) {
	l.Drive().BeginTurn()
	defer l.Drive().EndTurn()
	f()
}

// start runs a task until its first wait; ended is how it ended.
func start(t *testing.T, l *Loop, run func(*Task)) (ended *error) {
	t.Helper()
	unset := errors.New("still running")
	ended = &unset
	on(l, func() {
		_, err := l.Start(&code{run: run, done: func(_ *Task, err error) { *ended = err }})
		require.NoError(t, err)
	})
	return ended
}
