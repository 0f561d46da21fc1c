package watchdog

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// An overrun is reported while it lasts, the report is updated, and a final record closes it.
func TestReportedWhileItLasts(t *testing.T) {
	held := 2500 * time.Millisecond
	if fullSize() {
		held = time.Minute
	}
	released := make(chan struct{})
	s := newStage(t, 2, Config{Escalation: Escalation{UnreadyAfter: time.Second}}, map[string]func(*loop.Task){
		"hog": func(*loop.Task) { <-released },
	})
	require.True(t, s.dog.Ready())
	var caller sync.WaitGroup
	caller.Go(func() { s.call("hog", "h") })
	live := func() *Overrun {
		if all := s.dog.Recent(); len(all) > 0 && !all[0].Final && all[0].Route == "hog" {
			return &all[0]
		}
		return nil
	}
	require.Eventually(t, func() bool { return live() != nil }, 10*time.Second, time.Millisecond)
	first := live()
	require.Equal(t, Channel, first.Verdict)
	require.Equal(t, "h", first.RequestID)
	require.NotEmpty(t, first.Remote)
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "a loop is held") }, 10*time.Second, time.Millisecond)
	t.Logf("first report after %v", first.Held)
	require.Eventually(t, func() bool { return !s.dog.Ready() }, 10*time.Second, time.Millisecond, "not ready")
	require.Eventually(t, func() bool {
		o := live()
		return o != nil && time.Duration(o.Held) > held && o.Samples > 1 && strings.Contains(s.log.String(), "a loop is still held")
	}, held+time.Minute, time.Millisecond)
	close(released)
	caller.Wait()
	require.Eventually(t, s.dog.Ready, 10*time.Second, time.Millisecond, "ready again")
	all := s.settled()
	require.True(t, all[0].Final)
	require.Equal(t, first.ID, all[0].ID, "one overrun, one number")
	require.GreaterOrEqual(t, time.Duration(all[0].Held), held)
	require.Contains(t, s.log.String(), "a loop was held")
}

// A callback that holds its loop is reported too.
func TestHeldByCallback(t *testing.T) {
	s := newStage(t, 1, Config{}, map[string]func(*loop.Task){"fast": func(*loop.Task) {}})
	s.until("the callback", func() {
		require.True(t, s.engine.Loops()[0].Post(func() { time.Sleep(80 * time.Millisecond) }))
		s.call("fast", "f")
	}, func(o Overrun) bool {
		return o.Callback && o.Verdict == Sleep && strings.Contains(o.Culprit.Func, "TestHeldByCallback")
	})
}

// The stack is found among other goroutines, parked tasks and idle coroutines, and if the handler set
// labels of its own on its goroutine.
func TestFindsTheStackAmongManyGoroutines(t *testing.T) {
	release := make(chan struct{})
	var parked sync.WaitGroup
	for range dumpGoroutinesMax + 500 {
		parked.Go(func() { <-release })
	}
	routes := map[string]func(*loop.Task){
		"sleep": func(*loop.Task) { time.Sleep(50 * time.Millisecond) },
		"spin":  func(*loop.Task) { spin(80 * time.Millisecond) },
		"pull": func(*loop.Task) {
			next, stop := iter.Pull(func(yield func(int) bool) { time.Sleep(50 * time.Millisecond); yield(1) })
			next()
			stop()
		},
		"wait": func(t *loop.Task) { _ = t.Sleep(400 * time.Millisecond) },
		"nap":  func(t *loop.Task) { _ = t.Sleep(time.Millisecond) },
		"label": func(*loop.Task) {
			pprof.Do(context.Background(), pprof.Labels("tenant", "x"), func(context.Context) { time.Sleep(50 * time.Millisecond) })
		},
	}
	s := newStage(t, 1, Config{}, routes)
	s.openLoop("nap", make([]time.Duration, 8)) // idle coroutines
	var waits sync.WaitGroup
	waits.Go(func() { s.openLoop("wait", make([]time.Duration, 4)) })
	s.callUntilJudged("sleep", Sleep)
	s.callUntilJudged("spin", Spin)
	s.callUntilJudged("pull", Sleep)
	waits.Wait()
	close(release)
	parked.Wait()
	s.callUntilJudged("label", Sleep)
	for _, o := range s.settled() {
		if o.Samples > 0 { // the watchdog could look in time
			require.Contains(t, Folded(o.Stack), "TestFindsTheStackAmongManyGoroutines", o.Route)
		}
	}
}

func TestTraceOpensInPerfetto(t *testing.T) {
	dir := t.TempDir()
	s := newStage(t, 2, Config{SnapshotDir: dir}, map[string]func(*loop.Task){
		"hog":  func(*loop.Task) { time.Sleep(60 * time.Millisecond) },
		"fast": func(*loop.Task) {},
		"nap":  func(t *loop.Task) { _ = t.Sleep(5 * time.Millisecond) },
	})
	s.openLoop("nap", []time.Duration{0, 0, 0, 0, 0, 0, 0, 0})
	var wg sync.WaitGroup
	wg.Go(func() { s.openLoop("hog", []time.Duration{0, 0}) })
	wg.Go(func() { s.openLoop("fast", []time.Duration{20e6, 20e6, 20e6, 20e6, 20e6, 20e6}) })
	wg.Wait()
	// An overrun that was not observed in time is not blamed on code and leaves no snapshot.
	s.callUntilBlamed("hog")
	s.settled()
	var out bytes.Buffer
	require.NoError(t, s.dog.WriteTrace(&out, time.Minute))
	requireTrace(t, out.Bytes(), 2)

	files, err := filepath.Glob(filepath.Join(dir, snapshotPrefix+"*.json.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "a new stack leaves a snapshot")
	f, err := os.Open(files[0])
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	content, err := io.ReadAll(z)
	require.NoError(t, err)
	requireTrace(t, content, 2)
}

// If the recorder covers less time than the recent overruns, the trace still has a slice at the end of
// every arrow, and its tracks are in order.
func TestTraceBeyondTheRecorder(t *testing.T) {
	s := newStage(t, 1, Config{RecorderSlices: 1}, map[string]func(*loop.Task){ // rounded up to 1024
		"hog":  func(*loop.Task) { time.Sleep(40 * time.Millisecond) },
		"fast": func(*loop.Task) {},
		"many": func(t *loop.Task) {
			for range 2000 {
				_ = t.Yield()
			}
		},
	})
	hog := func() {
		var wg sync.WaitGroup
		wg.Go(func() { s.openLoop("hog", []time.Duration{0}) })
		wg.Go(func() { s.openLoop("fast", []time.Duration{20e6, 20e6, 20e6}) })
		wg.Wait()
	}
	hog()
	s.call("many", "m") // replaces its slices in the recorder
	hog()
	s.settled()
	var out bytes.Buffer
	require.NoError(t, s.dog.WriteTrace(&out, time.Minute))
	requireTrace(t, out.Bytes(), 1)
}

// requireTrace checks the requirements of importers of the format.
func requireTrace(t *testing.T, content []byte, loops int) {
	t.Helper()
	var doc struct {
		TraceEvents []event
	}
	require.NoError(t, json.Unmarshal(content, &doc))
	starts, ends, tracks, overruns := map[string]event{}, map[string]event{}, map[int]bool{}, 0
	type span struct{ from, to float64 }
	spans := map[int][]span{}
	for _, e := range doc.TraceEvents {
		require.Equal(t, 1, e.PID)
		switch e.Phase {
		case "M":
			if e.Name == "thread_name" {
				tracks[e.TID] = true
			}
		case "X":
			require.NotNil(t, e.Dur)
			spans[e.TID] = append(spans[e.TID], span{e.TS, e.TS + *e.Dur})
			if e.Cat == "overrun" {
				overruns++
				require.NotEmpty(t, e.Args["verdict"])
			}
		case "s":
			starts[e.ID] = e
		case "f":
			require.Equal(t, "e", e.Bind, "bound to the slice it ends in")
			ends[e.ID] = e
		default:
			t.Fatalf("phase %q", e.Phase)
		}
	}
	if !bytes.Contains(content, []byte("released\"}")) {
		require.Len(t, tracks, loops)
	}
	require.Positive(t, overruns)
	require.NotEmpty(t, starts)
	require.Len(t, ends, len(starts))
	within := func(e event) bool {
		for _, s := range spans[e.TID] {
			if s.from <= e.TS && e.TS <= s.to {
				return true
			}
		}
		return false
	}
	for id, from := range starts {
		to, ok := ends[id]
		require.True(t, ok)
		require.LessOrEqual(t, from.TS, to.TS)
		require.True(t, within(from) && within(to), "an arrow from slice to slice: %v %v", from, to)
	}
	for _, all := range spans {
		for i := 1; i < len(all); i++ {
			require.GreaterOrEqual(t, all[i].from, all[i-1].to, "in order, and no two slices of a loop at once, not by rounding either")
		}
	}
}
