// Package looptest runs tasks and connections on a loop without sockets: the
// clock moves when the test says so, streams are memory, and a seed decides how
// bytes are split, delayed and interleaved. A handler's task is tested in
// microseconds, and a failure is repeated by its seed.
//
//	looptest.go    Loop: the driver, its clock, running tasks to their end
//	peer.go        Peer: the test's end of a connection
//	dial.go        addresses that tasks can dial
//	handoff.go     the same scenario again for each point, handed off there
//	disconnect.go  the same scenario again for each wait, cut off there
//
// A [Loop] belongs to the goroutine that made it: call its methods from there.
package looptest

// This file has the driver: clock, turns and what "nothing left to do" means.
// peer.go has the streams, which make steps.

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
	turnMax  = 1 << 20          // turns of one Settle before it is called a livelock
	awaitMax = 30 * time.Second // real time that Await gives other goroutines
)

// Options are how a test loop behaves. The zero value delivers everything whole
// and at once.
type Options struct {
	// Seed, if not 0, splits deliveries, holds back output and interleaves
	// connections at random, the same way for the same seed.
	Seed   uint64
	Limits reactor.Limits
	// Log is discarded if nil.
	Log *slog.Logger
	// Observer, if not nil, is told of every slice's end.
	Observer loop.Observer
}

// Loop is a loop whose time is the test's.
type Loop struct {
	*loop.Loop
	t        testing.TB
	reactor  *reactor.Reactor
	driver   *driver
	rnd      *rand.Rand // nil: no disturbance
	observer loop.Observer
	peers    []*Peer
	listens  map[string]func(*Peer)
	port     int
	slices   int
	cutAfter int // slices until every connection is reset; 0: never
	cut      bool
	settling bool
	turning  bool // inside a turn of the loop
	points   int  // at which user code of a task has begun
}

// New makes a loop that is shut down when the test ends; a connection or task
// that is left then is the test's business, unless it hangs.
func New(t testing.TB, o Options) *Loop {
	t.Helper()
	if testmode.Always() {
		return newLoop(t, o, func(int) bool { return true })
	}
	return newLoop(t, o, nil)
}

// newLoop is New of a loop that is taken from its tasks where takes says so.
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
		l.take(takes)
	}
	l.turnPosted()
	t.Cleanup(l.Close)
	return l
}

// Close shuts the loop down: its tasks end with loop.ErrShutdown, its
// connections are dropped. Tests need not call it.
func (l *Loop) Close() {
	if l.turning {
		return // the test has failed inside a turn, which will not end
	}
	l.turn(l.Drive().Shutdown)
	for l.Drive().RunReleased() || l.driver.takeWake() {
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

// turn is a turn of the loop in which f is what its driver does.
func (l *Loop) turn(f func()) {
	l.turning = true
	l.Drive().BeginTurn()
	f()
	for owned := l.Drive().EndTurn(); !owned; {
		owned = l.Drive().Adopt() // as another goroutine would
	}
	l.turning = false
}

// turnPosted is the turn that a wake or the clock asks for.
func (l *Loop) turnPosted() { l.turn(l.Drive().RunPosted) }

// Run is one task that a test started.
type Run struct {
	loop  *Loop
	task  *loop.Task
	code  func(*loop.Task)
	ended bool
	err   error
}

// Start begins a task that runs f, and does what can be done without letting
// time pass. A task limit that is reached fails the test.
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

// Run runs f as a task to its end, moving the clock from one due timer to the
// next while the task waits, and waiting for other goroutines when no timer is
// left. It fails the test when f panics.
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

// Await lets other goroutines wake the loop until r has ended; the clock stands
// still meanwhile. It returns what Err does.
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
		l.driver.ring()
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

// Run is the loop.Runner's; a test has no use for it.
func (r *Run) Run(t *loop.Task) { t.Outside(func() { r.code(t) }) }

// Done is the loop.Runner's; a test has no use for it.
func (r *Run) Done(_ *loop.Task, err error) { r.ended, r.err, r.task = true, err, nil }

// Ended tells whether the task has ended.
func (r *Run) Ended() bool { return r.ended }

// Err is how the task ended: nil, a *loop.PanicError, loop.ErrGoexit or
// loop.ErrShutdown. Nil while it runs.
func (r *Run) Err() error { return r.err }

// Cancel cancels the task if it still runs, and settles.
func (r *Run) Cancel(cause error) {
	if r.task != nil {
		r.loop.On(func() { r.task.Cancel(cause) })
		r.loop.Settle()
	}
}

// On calls f on the loop, in a turn of its own; inside of a turn it only calls f.
func (l *Loop) On(f func()) {
	if l.turning {
		f()
		return
	}
	l.turn(f)
}

// Settle turns the loop, delivers and sends until nothing is left to do at this
// time of the clock. Inside a task or a callback it does nothing: its caller does
// that.
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

// step does one thing that can be done now: which one is up to the seed.
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
			if l.driver.takeWake() {
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

// Advance moves the clock by d, stopping at every time the loop asked for, and
// settles at each. Timers fire up to 0.26 ms late, as the wheel's tick has it.
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

// Spend moves the clock and nothing else: what a task that computes for d does.
// Tasks may call it too.
func (l *Loop) Spend(d time.Duration) { l.driver.now.Add(int64(d)) }

// Slices is how many slices the loop has run.
func (l *Loop) Slices() int { return l.slices }

// SliceEnd is the loop.Observer's: the loop counts its own slices.
func (l *Loop) SliceEnd(of *loop.Loop, t *loop.Task, ready, start, end int64) {
	l.slices++
	if l.slices == l.cutAfter {
		l.cut = true
	}
	if l.observer != nil {
		l.observer.SliceEnd(of, t, ready, start, end)
	}
}

// driver is the loop.Driver: a clock and a bell.
type driver struct {
	reactor *reactor.Reactor
	now     atomic.Int64
	alarm   int64 // 0: none
	wakes   chan struct{}
}

func (d *driver) Now() int64 { return d.now.Load() }

func (d *driver) Wake() { d.ring() }

func (d *driver) ring() {
	select {
	case d.wakes <- struct{}{}:
	default:
	}
}

func (d *driver) takeWake() bool {
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
