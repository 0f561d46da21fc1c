package looptest

// The same scenario again and again, with every connection reset after its
// first wait, its second, and so on: what a client does that leaves.

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const disconnectMax = 1000 // scenarios have tens of waits, not thousands

// Disconnects runs scenario once undisturbed and counts the slices of its
// tasks, and then once for each of them with every connection reset right after
// it. Each run has a new loop. Afterwards an hour passes on the clock, and no
// task and no connection may be left. Scenarios ask [Loop.Cut] before they
// expect an answer.
func Disconnects(t *testing.T, o Options, scenario func(t *testing.T, l *Loop)) {
	t.Helper()
	total := 0
	run := func(after int) func(*testing.T) {
		return func(t *testing.T) {
			l := New(t, o)
			l.cutAfter = after
			scenario(t, l)
			l.Settle()
			if after == 0 {
				total = l.slices
			}
			l.resetAll()
			l.Advance(time.Hour)
			l.mustBeEmpty(t)
		}
	}
	if !t.Run("undisturbed", run(0)) {
		return
	}
	if total == 0 || total > disconnectMax {
		t.Fatalf("looptest: %d slices to disconnect after, want 1 to %d", total, disconnectMax)
	}
	for i := 1; i <= total; i++ {
		t.Run(fmt.Sprintf("after slice %d of %d", i, total), run(i))
	}
}

// Cut tells whether Disconnects resets connections in this run: answers may be
// missing then.
func (l *Loop) Cut() bool { return l.cutAfter > 0 }

func (l *Loop) resetAll() {
	for _, p := range slices.Clone(l.peers) {
		p.Reset()
	}
}

func (l *Loop) mustBeEmpty(t *testing.T) {
	t.Helper()
	s := l.Stats()
	if s.TasksAlive != 0 || s.Conns != 0 {
		t.Fatalf("looptest: %d tasks and %d connections are left", s.TasksAlive, s.Conns)
	}
}
