package loop

import (
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// needPart skips a test of a part of RuntimeSupport that is off.
func needPart(t *testing.T, part string) {
	t.Helper()
	if slices.Contains(Runtime().Missing(), part) {
		t.Skipf("the part %q of the Go runtime's introspection is off: see RuntimeReport", part)
	}
}

// TestThreadAndStateOfATask: thread and state are right where the part works, and the
// unknown value where it does not.
func TestThreadAndStateOfATask(t *testing.T) {
	fresh := New(0, &manual{now: 1, alarm: never}, Limits{}, nil)
	require.Zero(t, fresh.Observe().Thread(), "no turn yet")
	require.Equal(t, StateUnknown, fresh.Observe().State(), "no turn yet")
	require.Zero(t, fresh.Observe().GoroutineID(), "no turn yet")
	l, _ := newManual(t, Limits{})
	ended := start(t, l, func(task *Task) {
		require.Equal(t, Runtime().Threads(), task.Observe().Thread() != 0)
		require.Equal(t, task.Observe().Thread(), l.Observe().Thread())
		require.Equal(t, Runtime().States(), task.Observe().State() == StateRunning)
		require.Equal(t, task.Observe().State(), l.Observe().State())
		require.Equal(t, goroutineID(), task.Observe().GoroutineID())
		require.NotEqual(t, l.Observe().GoroutineID(), task.Observe().GoroutineID())
	})
	require.NoError(t, *ended)
	require.Equal(t, slices.Contains(Runtime().Missing(), "thread"), !Runtime().Threads())
	require.Equal(t, slices.Contains(Runtime().Missing(), "state"), !Runtime().States())
	require.Equal(t, StateUnknown == l.Observe().State(), !Runtime().States())
	for _, part := range Runtime().Missing() {
		require.Contains(t, Runtime().Parts(), part)
	}
}

// TestThreadLock: TestParkRefusals has the consequences.
func TestThreadLock(t *testing.T) {
	require.False(t, threadLocked())
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.Equal(t, !slices.Contains(Runtime().Missing(), "thread_lock"), threadLocked(), "false where it is not known")
}
