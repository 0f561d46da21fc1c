package looptest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
)

// reporter is a testing.TB that records failures.
type reporter struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (r *reporter) Helper()          {}
func (r *reporter) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *reporter) Errorf(_ string, args ...any) {
	r.errors = append(r.errors, args[0].(string))
}

func (r *reporter) end() {
	for _, f := range r.cleanups {
		f()
	}
}

// blocks is a handler that blocks for so long that the watchdog gets its stack on a busy machine too.
func blocks(t *loop.Task) { time.Sleep(time.Second) }

func TestNoOverruns(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("no task holds its loop in this run")
	}
	t.Chdir(t.TempDir())
	judge := func(code func(*loop.Task)) []string {
		r := &reporter{TB: t}
		l := looptest.New(t, looptest.Options{})
		looptest.NoOverruns(r, 10*time.Millisecond, l.Loop)
		l.Run(code)
		r.end()
		return r.errors
	}
	require.Empty(t, judge(func(t *loop.Task) {
		for range 100 {
			_ = t.Sleep(time.Second) // of the test's time
		}
	}), "a handler that waits through its task")
	found := judge(blocks)
	require.Len(t, found, 1)
	require.Contains(t, found[0], "sleep at looptest_test.blocks (overruns_test.go:")

	t.Setenv("LOOPTEST_BASELINE", "update")
	require.Empty(t, judge(blocks))
	t.Setenv("LOOPTEST_BASELINE", "")
	known, err := os.ReadFile(filepath.Join("testdata", "overruns.baseline"))
	require.NoError(t, err)
	require.Contains(t, string(known), "sleep looptest_test.blocks")
	require.Empty(t, judge(blocks), "it is known")
	shorter := regexp.MustCompile(`(?m)^\d+ms`).ReplaceAll(known, []byte("20ms"))
	require.NoError(t, os.WriteFile(looptest.BaselineFile, shorter, 0o600))
	found = judge(blocks)
	require.Len(t, found, 1)
	require.Contains(t, found[0], "worse than the known 20ms")
}
