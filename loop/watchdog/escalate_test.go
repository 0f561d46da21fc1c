package watchdog

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// A handler that does what it is told leaves its loop alone once its route is
// moved, and is back on it for a trial.
func TestMovedRouteLeavesTheLoopAlone(t *testing.T) {
	pool := loop.NewPool(2, 8)
	defer pool.Close()
	var watching atomic.Pointer[Watchdog]
	var offloaded atomic.Int64
	block := func() (struct{}, error) { time.Sleep(30 * time.Millisecond); return struct{}{}, nil }
	s := openStage(t, 1, Config{Escalation: Escalation{
		Offload: func(string, bool) {}, OffloadShare: 1, OffloadWindow: 2 * time.Second, OffloadBack: time.Hour,
	}}, map[string]func(*loop.Task){
		"hog": func(task *loop.Task) {
			if watching.Load().Moved("hog") {
				offloaded.Add(1)
				_, _ = loop.Offload(task, pool, block)
				return
			}
			_, _ = block()
		},
	}, true)
	dog := s.dog
	watching.Store(dog)
	require.False(t, dog.Moved("hog"))
	for n := 0; !dog.Moved("hog"); n++ {
		require.Less(t, n, 1000, "a watchdog that is never woken in time")
		s.call("hog", "h")
	}
	require.False(t, dog.Moved("other"))
	// The watchdog judges beside the loop: the last call may have found its route moved already.
	before, since := offloaded.Load(), time.Now()
	for range 5 {
		s.call("hog", "h")
	}
	require.EqualValues(t, before+5, offloaded.Load())
	for _, o := range s.settled() {
		require.False(t, o.Blamed && o.Started.After(since), "the loop is free: %s", o.Line())
	}
	require.Contains(t, s.log.String(), "a route is moved off the loops")
	dog.escalate(time.Now().Add(2 * time.Hour))
	require.False(t, dog.Moved("hog"), "on trial")
	dog.desk.awaitWrites()
	require.Contains(t, s.log.String(), "a route is back on the loops, on trial")
}

// A loop that is held for too long ends the process, once, with all stacks.
func TestStuckLoopAborts(t *testing.T) {
	type end struct {
		o      Overrun
		stacks string
	}
	ends, released := make(chan end, 8), make(chan struct{})
	s := newStage(t, 1, Config{Escalation: Escalation{AbortAfter: 50 * time.Millisecond, Abort: func(o Overrun, stacks []byte) {
		ends <- end{o, string(stacks)}
	}}}, map[string]func(*loop.Task){"stuck": func(*loop.Task) { <-released }})
	done := make(chan struct{})
	go func() { defer close(done); s.call("stuck", "s") }()
	got := <-ends
	require.Equal(t, "stuck", got.o.Route)
	require.Equal(t, Channel, got.o.Verdict)
	require.GreaterOrEqual(t, time.Duration(got.o.Held), 50*time.Millisecond)
	require.Contains(t, got.stacks, "TestStuckLoopAborts")
	require.Greater(t, strings.Count(got.stacks, "goroutine "), 3, "all of them")
	close(released)
	<-done
	s.settled()
	require.Empty(t, ends, "once")
}

// A live report needs a verdict, or patience.
func TestUnknownIsNotReportedAtOnce(t *testing.T) {
	log := &safeBuffer{}
	w := New(Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	ln := w.Observe(loop.New(0, still{time.Now().Add(-time.Second)}, loop.Limits{}, nil)).(*lane)
	ln.hunt = pursuit{
		since: 1, began: 1, budget: 10 * ms, samples: 2,
		ev: evidence{parked: 2000 * ms, spent: map[string]int64{loop.StateWaiting: 2000 * ms}},
	}
	ln.accuse(w, 20*ms)
	w.desk.awaitWrites()
	require.Empty(t, log.String())
	require.Empty(t, w.Recent())
	ln.accuse(w, 1000*ms)
	w.desk.awaitWrites()
	require.Contains(t, log.String(), "verdict=unknown")
	require.Len(t, w.Recent(), 1)
}

// What no code is to blame for ends no process.
func TestInnocentLoopDoesNotAbort(t *testing.T) {
	w := New(Config{Log: slog.New(slog.DiscardHandler), Escalation: Escalation{AbortAfter: time.Nanosecond, Abort: func(Overrun, []byte) {
		t.Error("aborted")
	}}})
	l := loop.New(0, still{time.Now().Add(-time.Second)}, loop.Limits{}, nil)
	w.Observe(l)
	w.escalate(time.Now())
	require.False(t, w.escalation.aborted)
}
