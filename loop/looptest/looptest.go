// Package looptest runs tasks and connections on a loop without sockets. The test moves the
// clock, streams are memory, and a seed decides how bytes are split, delayed and
// interleaved. A test of a handler takes microseconds, and the seed of a failure
// repeats it.
//
//	looptest.go    Loop: the driver, its clock, running tasks to their end
//	peer.go        Peer: the test's end of a connection
//	dial.go        addresses that tasks can dial
//	handoff.go     Handoffs: a scenario with a handoff at each point in turn
//	disconnect.go  Disconnects: a scenario with a reset after each slice in turn
//	overruns.go    NoOverruns: a test fails when a task holds its loop
//	blocking.go    NoBlocking: a test fails when a task blocks at all
//	allow.go       the comments that allow it
//
// Only the goroutine that made a [Loop] may call its methods, unless a method says
// otherwise.
package looptest

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tafe/loop"
	"tafe/loop/internal/testmode"
	"tafe/loop/reactor"
)

const (
	turnMax  = 1 << 20          // steps of one Settle, which fails the test beyond that
	awaitMax = 30 * time.Second // real time for which Await waits for other goroutines
)

// Options configure a test loop. With the zero value it delivers all bytes whole and at
// once.
type Options struct {
	// Seed, if not 0, seeds the random splitting of deliveries, delay of output and
	// interleaving of connections.
	Seed   uint64
	Limits reactor.Limits
	// Log is discarded if nil.
	Log *slog.Logger
	// Observer, if not nil, is called at the end of each slice.
	Observer loop.Observer
}

// Loop is a loop whose clock the test moves.
type Loop struct {
	*loop.Loop
	t        testing.TB
	reactor  *reactor.Reactor
	driver   *driver
	rnd      *rand.Rand // nil: without a seed
	observer loop.Observer
	peers    []*Peer
	listens  map[string]func(*Peer)
	port     int
	slices   int
	cutAfter int  // slices until every connection is reset; 0: never
	cut      bool // reset them at the next step
	settling bool
	turning  bool // inside a turn of the loop
	points   int  // times that user code of a task has begun
}

// New returns a loop, which is shut down when the test ends. Connections and tasks may be
// left then; a task that does not end fails the test.
func New(t testing.TB, o Options) *Loop {
	t.Helper()
	if testmode.Always() {
		return newLoop(t, o, func(int) bool { return true })
	}
	return newLoop(t, o, nil)
}

// newLoop is New with a function that chooses the points of handoffs, if it is not nil.
func newLoop(t testing.TB, o Options, takes func(point int) bool) *Loop {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	d := &driver{wakes: make(chan struct{}, 1)}
	d.now.Store(int64(time.Second))
	l := &Loop{
		Loop: loop.New(0, d, o.Limits.Limits, o.Log), t: t, driver: d,
		observer: o.Observer, listens: map[string]func(*Peer){},
	}
	l.reactor = reactor.Memory(l.Loop, o.Limits)
	d.reactor = l.reactor
	if o.Seed != 0 {
		l.rnd = rand.New(rand.NewPCG(o.Seed, 0x7461_6665))
	}
	l.Drive().SetObserver(l)
	if takes != nil {
		l.handOffAt(takes)
	}
	l.turnPosted()
	t.Cleanup(l.Close)
	return l
}

// Close shuts the loop down. Its tasks end with loop.ErrShutdown and its connections are
// dropped. The end of the test calls it.
func (l *Loop) Close() {
	if l.turning {
		return // the test has failed inside a turn, which does not end
	}
	l.turn(l.Drive().Shutdown)
	for l.Drive().RunReleased() || l.driver.woken() {
		l.turnPosted()
	}
	l.turn(func() {
		l.Loop.Drive().Close()
		for _, p := range l.peers {
			if p.conn != nil {
				p.conn.Abort(loop.ErrShutdown)
			}
		}
	})
}

// Stats returns the counters and gauges of the loop and its connections.
func (l *Loop) Stats() reactor.Stats { return l.reactor.Stats() }

// turn runs f in a turn of the loop.
func (l *Loop) turn(f func()) {
	l.turning = true
	l.Drive().BeginTurn()
	f()
	for owned := l.Drive().EndTurn(); !owned; {
		owned = l.Drive().Adopt() // as another goroutine would
	}
	l.turning = false
}

// turnPosted runs the turn that Wake or the clock asks for.
func (l *Loop) turnPosted() { l.turn(l.Drive().RunPosted) }

// Run is one task that a test started.
type Run struct {
	loop  *Loop
	task  *loop.Task
	code  func(*loop.Task)
	ended bool
	err   error
}

// Start starts a task that runs f, and settles. It fails the test when the task limit is
// reached.
func (l *Loop) Start(f func(*loop.Task)) *Run {
	l.t.Helper()
	r := &Run{loop: l, code: f}
	l.On(func() {
		task, err := l.Loop.Start(r)
		if err != nil {
			l.t.Fatalf("looptest: start: %v", err)
		}
		r.task = task
	})
	l.Settle()
	return r
}

// Run runs f as a task to its end. While the task waits, Run moves the clock to the next
// due timer, or waits for other goroutines if there is none. It fails the test when f
// panics.
func (l *Loop) Run(f func(*loop.Task)) {
	l.t.Helper()
	r := l.Start(f)
	deadline := time.NewTimer(awaitMax)
	defer deadline.Stop()
	for !r.ended {
		if l.driver.alarm != 0 {
			l.Advance(time.Duration(max(l.driver.alarm-l.driver.now.Load(), 1)))
			continue
		}
		if !l.awaitWake(deadline.C) {
			l.t.Fatalf("looptest: the task waits for something that does not happen\n%s", stacks())
		}
	}
	if r.err != nil {
		l.fail(r.err)
	}
}

// Await waits until r has ended, while other goroutines wake the loop. The clock does not
// move. It returns r.Err.
func (l *Loop) Await(r *Run) error {
	l.t.Helper()
	deadline := time.NewTimer(awaitMax)
	defer deadline.Stop()
	for l.Settle(); !r.ended; l.Settle() {
		if !l.awaitWake(deadline.C) {
			l.t.Fatalf("looptest: the task waits for something that does not happen\n%s", stacks())
		}
	}
	return r.err
}

func (l *Loop) awaitWake(deadline <-chan time.Time) bool {
	select {
	case <-l.driver.wakes:
		l.driver.Wake() // for Settle
		l.Settle()
		return true
	case <-deadline:
		return false
	}
}

func (l *Loop) fail(err error) {
	l.t.Helper()
	if p, ok := err.(*loop.PanicError); ok {
		l.t.Fatalf("looptest: %v\n%s", p, p.Stack)
	}
	l.t.Fatalf("looptest: the task ended: %v", err)
}

// Run implements loop.Runner. Tests do not call it.
func (r *Run) Run(t *loop.Task) { t.Outside(func() { r.code(t) }) }

// Done implements loop.Runner. Tests do not call it.
func (r *Run) Done(_ *loop.Task, err error) { r.ended, r.err, r.task = true, err, nil }

// Ended reports whether the task has ended.
func (r *Run) Ended() bool { return r.ended }

// Err returns the error with which the task ended: nil, a *loop.PanicError, loop.ErrGoexit
// or loop.ErrShutdown. It is nil while the task runs.
func (r *Run) Err() error { return r.err }

// Cancel cancels the task if it has not ended, and settles.
func (r *Run) Cancel(cause error) {
	if r.task != nil {
		r.loop.On(func() { r.task.Cancel(cause) })
		r.loop.Settle()
	}
}

// On calls f on the loop, in a turn of its own. Inside a turn it only calls f.
func (l *Loop) On(f func()) {
	if l.turning {
		f()
		return
	}
	l.turn(f)
}

// Settle turns the loop and moves bytes until nothing is left to do at this time of the
// clock. Inside a task or a callback it does nothing.
func (l *Loop) Settle() {
	l.t.Helper()
	if l.settling || l.turning {
		return
	}
	l.settling = true
	defer func() { l.settling = false }()
	for range turnMax {
		if !l.step() {
			l.peers = slices.DeleteFunc(l.peers, (*Peer).done)
			return
		}
		if l.cut {
			l.cut = false
			l.resetAll()
		}
	}
	l.t.Fatalf("looptest: the loop is not quiet after %d turns", turnMax)
}

// step does one of the things that can be done now. The seed chooses which.
func (l *Loop) step() bool {
	first, n := 0, len(l.peers)+2
	if l.rnd != nil {
		first = l.rnd.IntN(n)
	}
	for i := range n {
		at := (first + i) % n
		if at == n-1 {
			if l.Drive().RunReleased() {
				return true
			}
			continue
		}
		if at == 0 {
			if l.driver.woken() {
				l.turnPosted()
				return true
			}
			continue
		}
		if l.peers[at-1].step() {
			return true
		}
	}
	return false
}

// Advance moves the clock by d. It stops and settles at each time that a timer of the loop
// is due. Timers fire up to 0.26 ms late, the tick of the timer wheel.
func (l *Loop) Advance(d time.Duration) {
	l.t.Helper()
	l.Settle()
	end := l.driver.now.Load() + int64(d)
	for alarm := l.driver.alarm; alarm != 0 && alarm <= end; alarm = l.driver.alarm {
		l.driver.alarm = 0
		l.driver.moveTo(alarm)
		l.turnPosted()
		l.Settle()
	}
	l.driver.moveTo(end)
	l.turnPosted()
	l.Settle()
}

// Spend moves the clock by d and does nothing else, as a task that computes for d. Tasks
// may call it too.
func (l *Loop) Spend(d time.Duration) { l.driver.now.Add(int64(d)) }

// Slices returns the number of slices that the loop has run.
func (l *Loop) Slices() int { return l.slices }

// SliceEnd implements loop.Observer. Tests do not call it.
func (l *Loop) SliceEnd(of *loop.Loop, t *loop.Task, ready, start, end int64) {
	l.slices++
	if l.slices == l.cutAfter {
		l.cut = true
	}
	if l.observer != nil {
		l.observer.SliceEnd(of, t, ready, start, end)
	}
}

// driver is the loop.Driver: a clock, and a channel for Wake.
type driver struct {
	reactor *reactor.Reactor
	now     atomic.Int64
	alarm   int64 // 0: none
	wakes   chan struct{}
}

func (d *driver) Now() int64 { return d.now.Load() }

func (d *driver) Wake() {
	select {
	case d.wakes <- struct{}{}:
	default:
	}
}

// woken reports whether Wake was called since the last call.
func (d *driver) woken() bool {
	select {
	case <-d.wakes:
		return true
	default:
		return false
	}
}

func (d *driver) WakeAt(at int64) { d.alarm = at }

func (d *driver) Flush() { d.reactor.Flush() }

func (d *driver) moveTo(at int64) {
	if at > d.now.Load() {
		d.now.Store(at)
	}
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}
