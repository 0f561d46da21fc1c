package watchdog

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// neighbours keep the CPUs busy beside a loop, until stop is called.
var neighbours = []struct {
	name  string
	start func(t *testing.T) (stop func())
}{
	{"nothing", func(*testing.T) func() { return func() {} }},
	{"4 goroutines that compute", func(*testing.T) func() {
		return beside(4, func() { computed.Add(tight(10_000)) })
	}},
	{"garbage collection", func(*testing.T) func() {
		heap := make([]*[7]*int, 1<<20)
		for i := range heap {
			heap[i] = new([7]*int)
		}
		stop := beside(2, func() { sinkhole.Store(new([1 << 10]*int)) })
		return func() { stop(); runtime.KeepAlive(heap) }
	}},
	{"3 processes that compute", func(t *testing.T) func() {
		var stops []func()
		for range 3 {
			hog := playRole(t, "hog")
			require.NoError(t, hog.Start())
			stops = append(stops, func() { _ = hog.Process.Kill(); _ = hog.Wait() })
		}
		return func() {
			for _, stop := range stops {
				stop()
			}
		}
	}},
}

// beside calls f again and again on n goroutines, until stop is called.
func beside(n int, f func()) (stop func()) {
	var wg sync.WaitGroup
	over := make(chan struct{})
	for range n {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					f()
				}
			}
		})
	}
	return func() { close(over); wg.Wait() }
}

// Whatever keeps the CPUs busy beside a loop, a hold of a second is blamed on its code, and other code is never blamed. How many shorter
// holds are named depends on the machine: with WATCHDOG_TRIES -v prints it, and docs/watchdog.md has figures.
func TestGuiltyAmongBusyNeighbours(t *testing.T) {
	all := neighbours
	if testing.Short() {
		all = all[:2]
	}
	for _, handoff := range []time.Duration{-1, loop.HandoffTime} {
		for _, n := range all {
			t.Run(fmt.Sprintf("handoff %t, %s", handoff > 0, n.name), func(t *testing.T) {
				needThreads(t)
				guiltyBeside(t, handoff, n.start)
			})
		}
	}
}

func guiltyBeside(t *testing.T, handoff time.Duration, start func(*testing.T) func()) {
	perRound()
	if tries, err := strconv.Atoi(os.Getenv("WATCHDOG_TRIES")); err == nil {
		var named []string
		for _, length := range []time.Duration{testBudget * 12 / 10, testBudget * 2, testBudget * 5} {
			n, all := namedBeside(t, handoff, start, length, tries, "spin", "spin-tight", "sleep", "mutex", "channel", "raw-read")
			named = append(named, fmt.Sprintf("%s: %d of %d", length, n, all))
		}
		t.Logf("named: %s", strings.Join(named, ", "))
	}
	n, all := namedBeside(t, handoff, start, time.Second, 1, "spin", "mutex")
	require.Equal(t, all, n, "holds of a second")
}

// namedBeside holds a loop for length, tries times by each kind of code, and returns how many of these overruns were blamed on it.
func namedBeside(t *testing.T, handoff time.Duration, start func(*testing.T) func(), length time.Duration, tries int, kinds ...string) (named, all int) {
	routes := map[string]func(*loop.Task){"fast": func(*loop.Task) {}}
	for _, sc := range guilty {
		if slices.Contains(kinds, sc.name) {
			routes[sc.name] = func(*loop.Task) { sc.run(t, length) }
		}
	}
	s := openStage(t, 1, handoff, Config{}, routes, true)
	stop := start(t)
	var others sync.WaitGroup
	over := make(chan struct{})
	others.Go(func() { s.callOften("fast", over) })
	for range tries {
		for _, kind := range kinds {
			s.call(kind, kind)
			time.Sleep(2 * testBudget) // holds are rare
		}
	}
	close(over)
	others.Wait()
	stop()
	for _, o := range s.settled() {
		require.False(t, o.Blamed && o.Route == "fast", "%s", o.Line())
		if o.Blamed && o.Route != "" {
			named++
		} else if o.Route != "fast" {
			t.Logf("%s: %s of %s: %s", o.Route, o.Own, o.Ran, o.Verdict)
		}
	}
	s.stop()
	return named, tries * len(kinds)
}
