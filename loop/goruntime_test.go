package loop

import (
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// needPart skips a test of what a part of RuntimeReport does, where the part is off.
func needPart(t *testing.T, part string) {
	t.Helper()
	if slices.Contains(RuntimeReport(), part) {
		t.Skipf("the part %q of the Go runtime's introspection is off: see RuntimeReport", part)
	}
}

// What a loop publishes of its thread and state is right where the part works, and the unknown value where it does not.
func TestThreadAndStateOfATask(t *testing.T) {
	fresh := New(0, &manual{now: 1, alarm: never}, Limits{}, nil)
	require.Zero(t, fresh.Thread(), "no turn yet")
	require.Equal(t, StateUnknown, fresh.State(), "no turn yet")
	require.Zero(t, fresh.GoroutineID(), "no turn yet")
	l, _ := newManual(t, Limits{})
	ended := start(t, l, func(task *Task) {
		require.Equal(t, ThreadsKnown(), task.Thread() != 0)
		require.Equal(t, task.Thread(), l.Thread())
		require.Equal(t, StatesKnown(), task.State() == StateRunning)
		require.Equal(t, task.State(), l.State())
		require.Equal(t, goroutineID(), task.GoroutineID())
		require.NotEqual(t, l.GoroutineID(), task.GoroutineID())
	})
	require.NoError(t, *ended)
	require.Equal(t, slices.Contains(RuntimeReport(), "thread"), !ThreadsKnown())
	require.Equal(t, slices.Contains(RuntimeReport(), "state"), !StatesKnown())
	require.Equal(t, StateUnknown == l.State(), !StatesKnown())
	for _, part := range RuntimeReport() {
		require.Contains(t, RuntimeParts(), part)
	}
}

// TestThreadLock: see TestParkRefusals for what follows from it.
func TestThreadLock(t *testing.T) {
	require.False(t, threadLocked())
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.Equal(t, !slices.Contains(RuntimeReport(), "thread_lock"), threadLocked(), "false where it is not known")
}
