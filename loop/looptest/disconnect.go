// Disconnects: a scenario again and again, with every connection reset after its first
// slice, its second, and so on, as by a client that leaves.

package looptest

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const disconnectMax = 1000 // scenarios have tens of waits, not thousands

// Disconnects runs scenario once undisturbed and counts the slices of its tasks. It then
// runs scenario once for each slice, and resets every connection right after it. Each run
// has a new loop. After each run the clock moves by an hour, and the test fails if a task
// or a connection is left. A scenario checks [Loop.Cut] before it expects an answer.
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

// Cut reports whether Disconnects resets connections in this run. Answers may be missing
// then.
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
