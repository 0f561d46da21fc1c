//go:build !race

package reactor_test

import (
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
	"tafe/loop/testrig"
)

// A request and its response on a connection of the task's own loop allocate
// nothing.
func TestNetConnAllocs(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("a handoff allocates")
	}
	const rounds = 1000
	e := startEngine(t, 1, nothing)
	c := dialFrom(t, bound(e), e.Loops()[0], "tcp", testrig.Serve(t, echo))
	var before, after runtime.MemStats
	require.NoError(t, onTask(e.Loops()[0], func(*loop.Task) {
		buf := make([]byte, 1000)
		for i := range 2 * rounds {
			if i == rounds { // the pools are filled
				runtime.ReadMemStats(&before)
			}
			_, err := c.Write(buf)
			require.NoError(t, err)
			_, err = io.ReadFull(c, buf)
			require.NoError(t, err)
		}
		runtime.ReadMemStats(&after)
	}))
	require.NoError(t, c.Close())
	require.Less(t, after.Mallocs-before.Mallocs, uint64(rounds/10), "allocations of 1000 rounds")
}
