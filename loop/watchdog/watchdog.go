// Watchdog: configuration, start, stop and queries.

package watchdog

import (
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tafe/loop"
)

// Config configures a Watchdog. The zero value is valid.
type Config struct {
	Log *slog.Logger // default slog.Default()
	// Budget, if not 0, replaces the loops' Limits.SliceBudget. A task's own budget takes precedence.
	Budget time.Duration
	// Sink, if not nil, gets every closed overrun and a Summary per minute as a line of JSON, at most
	// SinkLinesPerSecondMax overruns per second (default 50). Each line is one Write; writes do not overlap. Sink
	// and Log may block. Up to 512 records of each are queued, further ones are dropped and counted
	// (see Watchdog.Lost).
	Sink                  io.Writer
	SinkLinesPerSecondMax int
	// ReportsPerMinuteMax is the limit of log records per minute, default 30. Overruns beyond it are counted,
	// and the counts are logged.
	ReportsPerMinuteMax int
	// QuietMin is the time during which a stack is not logged again. It doubles with each report, up
	// to QuietMax. The defaults are 10 s and 10 min.
	QuietMin, QuietMax time.Duration
	// RecentMax is the number of closed overruns that Recent returns, default 256.
	RecentMax int
	// RecorderSlices is the number of slices that the flight recorder keeps for each loop, default
	// 32768. Each takes 40 bytes.
	RecorderSlices int
	// SnapshotDir, if not empty, is a directory that gets a trace (see WriteTrace) after the first
	// overrun of each stack. The oldest are removed when all together exceed SnapshotBytesMax, default
	// 64 MiB.
	SnapshotDir      string
	SnapshotBytesMax int64
	Escalation       Escalation
	// Wakers finds what ended the wait of an overrun with the verdict lock or channel (Overrun.EndedBy), by
	// the flight recorder of the Go runtime. It runs while such an overrun lasts, at most 5 s in 10 s, and
	// costs a short request 5% meanwhile. A process has one such recorder.
	Wakers bool
	// Steward runs the watchdog's periodic work. The caller starts it, and stops it after the
	// watchdog. If nil, the watchdog has its own.
	Steward *loop.Steward
}

func (c Config) withDefaults() Config {
	orInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	orInt(&c.SinkLinesPerSecondMax, 50)
	orInt(&c.ReportsPerMinuteMax, 30)
	orInt(&c.RecentMax, 256)
	orInt(&c.RecorderSlices, 32768)
	if c.QuietMin <= 0 {
		c.QuietMin = 10 * time.Second
	}
	if c.QuietMax <= 0 {
		c.QuietMax = 10 * time.Minute
	}
	if c.SnapshotBytesMax <= 0 {
		c.SnapshotBytesMax = 64 << 20
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Watchdog watches loops (see Observe and Watch). Any goroutine may call its methods.
type Watchdog struct {
	config   Config
	reporter *reporter

	mu       sync.Mutex
	watched  []*watchedLoop
	begun    bool
	detach   func() // from the steward
	lastID   atomic.Uint64
	stopOnce sync.Once

	// Used by the sampler only.
	maintainAt  int64
	instruments instruments
	capturer    capturer
	late        lateness
	tick        atomic.Int64 // period of the sampler, ns
	aborted     bool
	summarizer  summarizer

	searchAt     int64         // start of the last search for a waker; used by the sampler only
	stopped      chan struct{} // closed by Stop
	snapshotting atomic.Bool
	background   sync.WaitGroup
	stopping     atomic.Bool
}

// New returns a watchdog. It does nothing until Start.
func New(config Config) *Watchdog {
	loop.Runtime().States() // probe the runtime now, not while a loop is held
	w := &Watchdog{config: config.withDefaults(), instruments: newInstruments(), stopped: make(chan struct{})}
	w.reporter = newReporter(w.config)
	w.reporter.onNewStack = w.keepSnapshot
	w.tick.Store(int64(10 * time.Millisecond))
	return w
}

// Observe attaches the watchdog to a loop and returns the observer that the loop must report to. It
// has the signature of reactor.Config.Observe.
func (w *Watchdog) Observe(l *loop.Loop) loop.Observer {
	ln := newWatchedLoop(w, l)
	w.lowerTick(ln.budget(nil))
	w.mu.Lock()
	w.watched = append(slices.Clone(w.watched), ln)
	w.mu.Unlock()
	return ln
}

// Watch attaches the watchdog to a loop that does not report to it. Overruns are then found by
// sampling only, and have no victims. The loop's clock need not be real time. It is meant for
// tests.
func (w *Watchdog) Watch(l *loop.Loop) {
	ln := w.Observe(l).(*watchedLoop)
	ln.passive = true
}

func (w *Watchdog) watchedLoops() []*watchedLoop {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watched
}

// Start starts watching. Later calls have no effect.
func (w *Watchdog) Start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun {
		return
	}
	w.begun = true
	w.maintainAt = monotonic() + int64(maintainPeriod)
	if s := w.config.Steward; s != nil {
		w.detach = s.Visit(w.sampler())
		return
	}
	s := loop.NewSteward()
	w.detach = s.Stop
	s.Visit(w.sampler())
	s.Start()
}

// Stop stops watching and closes the open records. It waits at most 2 s for queued writes to Log
// and Sink. The loops may be running or stopped. A stopped watchdog cannot be started again.
func (w *Watchdog) Stop() {
	w.mu.Lock()
	detach := w.detach
	w.begun = true // Start has no effect any more
	w.mu.Unlock()
	if detach != nil {
		w.stopOnce.Do(func() {
			w.stopping.Store(true)
			close(w.stopped)
			detach()
			w.finish()
			w.background.Wait()
		})
	}
	w.reporter.awaitWrites()
}

// Lost returns the number of records that Log and Sink did not get: dropped because the writer was
// blocked, in excess of SinkLinesPerSecondMax, or failed.
func (w *Watchdog) Lost() uint64 { return w.reporter.losses() }

// Recent returns the current overruns and, after them, the latest closed ones, each newest first.
func (w *Watchdog) Recent() []Overrun { return w.reporter.recent() }

// maintain runs on the sampler once a second.
func (w *Watchdog) maintain() {
	w.reporter.maintain(time.Now())
	w.escalate()
	w.summarize(time.Now(), w.stopping.Load())
}
