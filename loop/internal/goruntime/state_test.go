package goruntime

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// needPart skips a test that cannot run with a part forced off.
func needPart(t *testing.T, part string) {
	t.Helper()
	if forcedOff(part) {
		t.Skipf("the part %q is forced off (%q): see off in goruntime.go", part, off)
	}
}

func TestStatesAreLearned(t *testing.T) {
	needPart(t, "state")
	require.True(t, StatesKnown(), "the layout of goroutines changed: see learn")
	require.Equal(t, StateRunning, StateOf(G()))
	for _, kind := range waitKinds {
		var ended sync.WaitGroup
		stop := make(chan struct{})
		self := make(chan unsafe.Pointer)
		ended.Go(func() { self <- G(); kind.wait(stop) })
		g := <-self
		state := ""
		for range 1_000_000 {
			if state = StateOf(g); state == kind.name {
				break
			}
			runtime.Gosched()
		}
		require.Equal(t, kind.name, state)
		close(stop)
		ended.Wait()
	}
}

// TestStatesAreLearnedBesideTheCollector learns while goroutines are often in a
// wait for the collector instead of their own.
func TestStatesAreLearnedBesideTheCollector(t *testing.T) {
	needPart(t, "state")
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	defer busy.Wait()
	defer close(stop)
	for range 20 {
		d := learn()
		require.True(t, d.known)
		var names, want []string
		for _, name := range d.names {
			if name != "" {
				names = append(names, name)
			}
		}
		for _, kind := range waitKinds {
			want = append(want, kind.name)
		}
		require.ElementsMatch(t, want, names)
		require.Equal(t, learned().names, d.names)
	}
}
