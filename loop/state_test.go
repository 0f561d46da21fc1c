package loop

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestStatesAreLearned(t *testing.T) {
	require.True(t, StatesKnown(), "the layout of goroutines changed: see learn")
	require.True(t, ThreadsKnown(), "the layout of goroutines changed: see checkThreadWords")
	d := learned()
	require.Equal(t, StateRunning, d.of(getg()))
	for _, kind := range waitKinds {
		var ended sync.WaitGroup
		stop := make(chan struct{})
		self := make(chan unsafe.Pointer)
		ended.Go(func() { self <- getg(); kind.wait(stop) })
		g := <-self
		state := ""
		for range 1_000_000 {
			if state = d.of(g); state == kind.name {
				break
			}
			runtime.Gosched()
		}
		require.Equal(t, kind.name, state)
		close(stop)
		ended.Wait()
	}
}
