package watchdog

// Watchdog: configuration, start and stop, and what others may ask it.

import (
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tafe/loop"
)

// Config is what a Watchdog is made of. The zero value works: overruns go to
// slog.Default.
type Config struct {
	Log *slog.Logger
	// Budget replaces the loops' own (Limits.SliceBudget), but not that of a task
	// that has one; 0: it does not.
	Budget time.Duration
	// Sink, if not nil, gets every closed overrun as a line of JSON, at most
	// SinkMax a second (default 50), by one Write each, never two at once. It may
	// block, as may the Log: what is written meanwhile waits, up to 512 records of
	// each, and what is beyond that is dropped (see Watchdog.Lost).
	Sink    io.Writer
	SinkMax int
	// ReportsMax bounds log records a minute; default 30. What is beyond it is
	// counted and summed up.
	ReportsMax int
	// QuietMin is for how long the same stack is not reported again; it doubles
	// with each report up to QuietMax. Defaults 10 s, 10 min.
	QuietMin, QuietMax time.Duration
	// RecentMax is how many closed overruns are kept for Recent; default 256.
	RecentMax int
	// RecorderRuns is how many slices the flight recorder keeps for each loop;
	// default 32768, 40 bytes each.
	RecorderRuns int
	// SnapshotDir, if not empty, is a directory that gets a trace (see WriteTrace)
	// when a stack is seen for the first time; the oldest go when they exceed
	// SnapshotBytesMax, default 64 MiB.
	SnapshotDir      string
	SnapshotBytesMax int64
	Escalation       Escalation
	// Steward looks at the loops for the watchdog. The caller starts it, and stops it
	// after the watchdog. nil: one of the watchdog's own.
	Steward *loop.Steward
}

func (c Config) withDefaults() Config {
	orInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	orInt(&c.SinkMax, 50)
	orInt(&c.ReportsMax, 30)
	orInt(&c.RecentMax, 256)
	orInt(&c.RecorderRuns, 32768)
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

// Watchdog watches the loops that were given to Observe. Its methods may be
// called by any goroutine.
type Watchdog struct {
	config Config
	desk   *desk

	mu     sync.Mutex
	watch  []*lane
	begun  bool
	leave  func() // the steward
	lastID atomic.Uint64
	end    sync.Once

	// The sampler's own.
	choresAt    int64
	instruments instruments
	camera      camera
	late        lateness
	tick        atomic.Int64 // its period, ns
	missed      atomic.Uint64
	aborted     bool
	summarizer  summarizer

	snapshotting atomic.Bool
	errands      sync.WaitGroup
	stopping     atomic.Bool
}

// New makes a watchdog that does nothing until Start.
func New(config Config) *Watchdog {
	loop.Runtime().States() // learn now, not when a loop is stuck
	w := &Watchdog{config: config.withDefaults(), instruments: newInstruments()}
	w.desk = newDesk(w.config)
	w.desk.discovered = w.keepSnapshot
	w.tick.Store(int64(10 * time.Millisecond))
	return w
}

// Observe attaches the watchdog to a loop and returns what the loop shall
// report to. It has the shape of reactor.Config.Observe.
func (w *Watchdog) Observe(l *loop.Loop) loop.Observer {
	ln := newLane(w, l)
	w.heed(ln.budget(nil))
	w.mu.Lock()
	w.watch = append(slices.Clone(w.watch), ln)
	w.mu.Unlock()
	return ln
}

// Watch attaches the watchdog to a loop that does not report to it: it then
// knows of overruns that it sees, but of no victims. The loop's clock need not
// be real time: for tests.
func (w *Watchdog) Watch(l *loop.Loop) {
	ln := w.Observe(l).(*lane)
	ln.passive = true
}

func (w *Watchdog) lanes() []*lane {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watch
}

// Start begins to watch.
func (w *Watchdog) Start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun {
		return
	}
	w.begun = true
	w.choresAt = monotonic() + int64(chorePeriod)
	if s := w.config.Steward; s != nil {
		w.leave = s.Visit(w.sampler())
		return
	}
	s := loop.NewSteward()
	w.leave = s.Stop
	s.Visit(w.sampler())
	s.Start()
}

// Stop ends watching and closes the records that are open. It gives the Log and the
// Sink 2 s to take what is left. The loops may run on or have stopped.
func (w *Watchdog) Stop() {
	w.mu.Lock()
	leave := w.leave
	w.begun = true // and never again
	w.mu.Unlock()
	if leave != nil {
		w.end.Do(func() {
			w.stopping.Store(true)
			leave()
			w.finish()
			w.errands.Wait()
		})
	}
	w.desk.awaitWrites()
}

// Lost counts what the Log and the Sink did not get: log records and lines that
// were dropped because their writer was blocked, lines beyond SinkMax, and writes
// that failed. Any goroutine.
func (w *Watchdog) Lost() uint64 { return w.desk.losses() }

// Recent returns the overruns that were closed last, newest first, with those
// that are going on before them.
func (w *Watchdog) Recent() []Overrun { return w.desk.recent() }

// chores is what the sampler does once a second.
func (w *Watchdog) chores() {
	w.desk.chores(time.Now())
	w.escalate()
	w.summarize(time.Now(), w.stopping.Load())
}
