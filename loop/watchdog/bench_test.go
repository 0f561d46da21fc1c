package watchdog

import (
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// still is a driver with the real clock and without wake-ups.
type still struct{ base time.Time }

func (s still) Now() int64 { return int64(time.Since(s.base)) }
func (still) Wake()        {}
func (still) WakeAt(int64) {}
func (still) Flush()       {}

type nothing struct{ route *string }

func (n nothing) Run(t *loop.Task)     { t.Describe(n.route, n.route, nil, nil, nil, nil) }
func (nothing) Done(*loop.Task, error) {}

func runSlices(b *testing.B, watch func(*loop.Loop) loop.Observer) {
	l := loop.New(0, still{time.Now().Add(-time.Second)}, loop.Limits{}, slog.New(slog.DiscardHandler))
	if watch != nil {
		l.Drive().SetObserver(watch(l))
	}
	route := "/"
	l.Drive().Turn()
	b.ReportAllocs()
	for b.Loop() {
		l.Post(func() { _, _ = l.Start(nothing{&route}) })
		l.Drive().Turn()
	}
	l.Drive().BeginTurn()
	l.Drive().Shutdown()
	l.Drive().Close()
	l.Drive().EndTurn()
}

// BenchmarkSliceUnwatched and BenchmarkSliceWatched differ by the cost of the watchdog for every
// slice: counters, the flight recorder and the check of the budget.
func BenchmarkSliceUnwatched(b *testing.B) { runSlices(b, nil) }

func BenchmarkSliceWatched(b *testing.B) {
	w := New(Config{})
	runSlices(b, w.Observe)
}

// BenchmarkSliceEnd measures that cost alone.
func BenchmarkSliceEnd(b *testing.B) {
	ln := newWatchedLoop(New(Config{}), loop.New(0, still{time.Now()}, loop.Limits{}, nil))
	t := &loop.Task{}
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i += 1000 {
		ln.count(t, i, i+10, i+900)
	}
}

// BenchmarkVisit measures one look of the sampler at a loop that runs a task.
func BenchmarkVisit(b *testing.B) {
	w := New(Config{})
	began, end := make(chan *loop.Loop), make(chan bool)
	go func() {
		l := loop.New(0, still{time.Now().Add(-time.Second)}, loop.Limits{SliceBudget: time.Hour}, slog.New(slog.DiscardHandler))
		l.Drive().SetObserver(w.Observe(l))
		l.Post(func() { _, _ = l.Start(hold{began, end}) })
		l.Drive().Turn()
		l.Drive().BeginTurn()
		l.Drive().Shutdown()
		l.Drive().Close()
		l.Drive().EndTurn()
		close(began)
	}()
	<-began
	b.ReportAllocs()
	for b.Loop() {
		w.watchedLoops()[0].visit(w)
	}
	close(end)
	<-began
}

type hold struct {
	began chan *loop.Loop
	end   chan bool
}

func (h hold) Run(t *loop.Task)     { h.began <- t.Loop(); <-h.end }
func (hold) Done(*loop.Task, error) {}

// BenchmarkCapture measures one stack capture, by the number of goroutines.
func BenchmarkCapture(b *testing.B) {
	for _, n := range []int{10, 100, 300, 1000, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			stop := make(chan struct{})
			for range n {
				go func() { <-stop }()
			}
			defer close(stop)
			var c capturer
			account := newPauses()
			before, _, _ := account.read(monotonic())
			for b.Loop() {
				c.credit, c.at = captureAllowance, monotonic()
				_, _ = c.capture(target{gid: 1}, true, account)
			}
			after, _, _ := account.read(monotonic())
			b.ReportMetric(float64(after-before)/float64(b.N)/1e3, "us-stopped/op")
		})
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	ln := newWatchedLoop(New(Config{}), loop.New(0, still{time.Now()}, loop.Limits{}, nil))
	task := &loop.Task{}
	require.Zero(t, testing.AllocsPerRun(1000, func() { ln.count(task, 5, 10, 900) }))
}
