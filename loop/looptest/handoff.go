// Handoffs at chosen points: the loop is taken from a task where its user code begins, as a
// Steward takes it from slow code.

package looptest

import (
	"fmt"
	"testing"

	"tafe/loop"
	"tafe/loop/internal/testmode"
)

const handoffPointsMax = 1000 // scenarios have tens of points, not thousands

// Handoffs runs scenario once without handoffs and counts the points at which user code of
// a task begins: its start, and each return from a method that uses the loop. It then runs
// scenario once for each point, with a handoff there, and once with a handoff at every
// point. Each run has a new loop. Options.Seed also orders the steps of released tasks.
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

// HandsOffAlways reports whether this test run hands off all user code (see
// loop/internal/testmode). A test whose task must hold its loop is skipped then.
func HandsOffAlways() bool { return testmode.Always() }

// handOffAt takes the loop at the points for which takes returns true.
func (l *Loop) handOffAt(takes func(point int) bool) {
	l.Drive().ForceHandoff(func(*loop.Task) bool {
		l.points++
		return takes(l.points)
	})
}
