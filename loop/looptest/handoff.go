package looptest

// Handoffs at chosen points: the loop is taken from a task where its user code
// begins, as it is from code that holds a loop for too long.

import (
	"fmt"
	"testing"

	"tafe/loop"
	"tafe/loop/internal/testmode"
)

const handoffPointsMax = 1000 // scenarios have tens of points, not thousands

// Handoffs runs scenario once undisturbed and counts the points at which user code
// of a task begins: its start, and each return from a method that touches the loop.
// Then it runs scenario once for each point, with the loop taken from the task
// there, and once with the loop taken at every point. Each run has a new loop.
// What a task does while it is released is one more thing that Options.Seed puts
// into an order.
func Handoffs(t *testing.T, o Options, scenario func(t *testing.T, l *Loop)) {
	t.Helper()
	total := 0
	run := func(takes func(point int) bool) func(*testing.T) {
		return func(t *testing.T) {
			l := newLoop(t, o, takes)
			scenario(t, l)
			l.Settle()
			total = max(total, l.points)
		}
	}
	if !t.Run("undisturbed", run(func(int) bool { return false })) {
		return
	}
	if total == 0 || total > handoffPointsMax {
		t.Fatalf("looptest: %d points for a handoff, want 1 to %d", total, handoffPointsMax)
	}
	for i := 1; i <= total; i++ {
		t.Run(fmt.Sprintf("at point %d of %d", i, total), run(func(point int) bool { return point == i }))
	}
	t.Run("at every point", run(func(int) bool { return true }))
}

// HandsOffAlways tells whether this test run takes loops from all user code (see
// loop/internal/testmode): a test whose task has to hold its loop skips then.
func HandsOffAlways() bool { return testmode.Always() }

// take has the loop taken at the points that takes names.
func (l *Loop) take(takes func(point int) bool) {
	l.Drive().ForceHandoff(func(*loop.Task) bool {
		l.points++
		return takes(l.points)
	})
}
