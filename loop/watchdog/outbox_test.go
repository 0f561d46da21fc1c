package watchdog

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/testrig"
)

// stuckWriter blocks until it is released.
type stuckWriter struct {
	testrig.Buffer
	began    sync.Once
	begun    chan struct{}
	released chan struct{}
}

func newStuckWriter(t *testing.T) *stuckWriter {
	w := &stuckWriter{begun: make(chan struct{}), released: make(chan struct{})}
	t.Cleanup(func() {
		select {
		case <-w.released:
		default:
			close(w.released)
		}
	})
	return w
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	w.began.Do(func() { close(w.begun) })
	<-w.released
	return w.Buffer.Write(p)
}

// A log and a file that block do not block the sampler, queries or Stop.
func TestBlockedWritersBlockNothingElse(t *testing.T) {
	log, sink := newStuckWriter(t), newStuckWriter(t)
	s := newStage(t, 1, Config{Sink: sink}, map[string]func(*loop.Task){
		"hog":  func(*loop.Task) { time.Sleep(50 * time.Millisecond) },
		"hog2": func(*loop.Task) { time.Sleep(50 * time.Millisecond) },
	})
	s.dog.Stop() // the watchdog of the stage, which logs to memory
	s.dog = New(Config{Sink: sink, Log: slog.New(slog.NewTextHandler(log, nil))})
	s.dog.Watch(s.engine.Loops()[0])
	s.dog.Start()
	s.callUntilBlamed("hog")
	<-log.begun
	<-sink.begun
	s.callUntilBlamed("hog2") // the watchdog still works
	require.True(t, s.dog.Ready())
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.dog.Stop() }()
	select {
	case <-stopped:
	case <-time.After(stopWait + 20*time.Second):
		t.Fatal("Stop waits for a writer that takes nothing")
	}
	require.Empty(t, log.String())
	close(log.released)
	close(sink.released)
	s.dog.reporter.awaitWrites()
	require.Contains(t, log.String(), "route=hog2", "nothing is lost that had room")
	require.Contains(t, sink.String(), `"route":"hog2"`)
	require.Zero(t, s.dog.Lost())
}

// The queue of a blocked writer is bounded. Further records are counted, and the count is logged when
// the writer works again.
func TestBlockedWritersQueueIsBounded(t *testing.T) {
	log := newStuckWriter(t)
	d := newReporter(Config{ReportsPerMinuteMax: 10 * outboxMax, Log: slog.New(slog.NewTextHandler(log, nil))}.withDefaults())
	d.onNewStack = func(uint64) {}
	d.maintain(time.Now())
	d.close(overrunAt(1, 1, time.Millisecond), false)
	<-log.begun // one write is in progress, and the queue is empty
	const more = 100
	for id := range uint64(outboxMax + more) {
		d.close(overrunAt(id+2, int(id)+2, time.Millisecond), false)
	}
	require.EqualValues(t, more, d.losses())
	require.Len(t, d.log.queue, outboxMax)
	close(log.released)
	d.awaitWrites()
	d.maintain(time.Now().Add(61 * time.Second))
	d.awaitWrites()
	require.Contains(t, log.String(), "records_lost=100")
	d.maintain(time.Now().Add(122 * time.Second))
	d.awaitWrites()
	require.NotContains(t, log.String()[len(log.String())-200:], "records_lost=0")
}

func TestOutboxKeepsTheOrder(t *testing.T) {
	var o outbox
	var got []int
	for i := range 1000 {
		o.enqueue(func() { got = append(got, i) })
		if i%100 == 0 {
			o.flush(t.Context())
		}
	}
	o.flush(t.Context())
	require.Len(t, got, 1000)
	require.IsIncreasing(t, got)
	require.Zero(t, o.losses())
}
