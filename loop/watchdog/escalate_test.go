package watchdog

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/testrig"
)

// A loop that is held for AbortAfter ends the process, once, with all stacks.
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

// An overrun without a verdict that blames the code is reported only after alwaysAt.
func TestUnknownIsNotReportedAtOnce(t *testing.T) {
	log := &testrig.Buffer{}
	w := New(Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	ln := w.Observe(loop.New(0, still{time.Now().Add(-time.Second)}, loop.Limits{}, nil)).(*watchedLoop)
	ln.current = probe{
		since: 1, began: 1, budget: 10 * ms, samples: 2,
		ev: evidence{parked: 2000 * ms, spent: map[string]int64{loop.StateWaiting: 2000 * ms}},
	}
	ln.report(w, &ln.current, 20*ms)
	w.reporter.awaitWrites()
	require.Empty(t, log.String())
	require.Empty(t, w.Recent())
	ln.report(w, &ln.current, 1000*ms)
	w.reporter.awaitWrites()
	require.Contains(t, log.String(), "verdict=unknown")
	require.Len(t, w.Recent(), 1)
}

// A loop without a reported overrun does not end the process.
func TestInnocentLoopDoesNotAbort(t *testing.T) {
	w := New(Config{Log: slog.New(slog.DiscardHandler), Escalation: Escalation{AbortAfter: time.Nanosecond, Abort: func(Overrun, []byte) {
		t.Error("aborted")
	}}})
	l := loop.New(0, still{time.Now().Add(-time.Second)}, loop.Limits{}, nil)
	w.Observe(l)
	w.escalate()
	require.False(t, w.aborted)
}
