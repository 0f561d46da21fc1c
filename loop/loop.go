package loop

// Loop: the run queue, the dispatcher, and Post, the only entry from other
// goroutines. What polls, and what a connection is, is the driver's business.

import (
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of this package that callers compare against.
var (
	// ErrClosed: the connection, task or loop is no more.
	ErrClosed = errors.New("loop: closed")
	// ErrTooManyTasks: Limits.TaskMax tasks are alive on this loop.
	ErrTooManyTasks = errors.New("loop: too many tasks on this loop")
	// ErrShutdown cancels the tasks that are alive when their loop stops.
	ErrShutdown = errors.New("loop: shutting down")
	// ErrForeignGoroutine: a task was asked to wait by a goroutine that is not
	// its own (one that the handler started, or a nested iter.Pull).
	ErrForeignGoroutine = errors.New("loop: only the task's own goroutine may wait for it")
	// ErrThreadLocked: the task called runtime.LockOSThread and then tried to wait.
	ErrThreadLocked = errors.New("loop: a task that holds its OS thread (runtime.LockOSThread) cannot wait")
)

// Limits bounds what one loop holds. Zero fields take the defaults.
type Limits struct {
	TaskMax     int           // tasks alive at once; default 65536
	IdleTaskMax int           // coroutines kept for reuse; default 1024
	PostMax     int           // functions posted and not yet run; default 1<<20; beyond it Post reports false
	ReleasedMax int           // tasks that run beside the loop at once, see Take; default 256
	SliceBudget time.Duration // what a slice may take before YieldIfDue yields; default 10 ms
	FIFO        bool          // ready tasks run first come, first served, and not light ones first
}

func (l Limits) withDefaults() Limits {
	orInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	orInt(&l.TaskMax, 1<<16)
	orInt(&l.IdleTaskMax, 1024)
	orInt(&l.PostMax, 1<<20)
	orInt(&l.ReleasedMax, 256)
	if l.SliceBudget <= 0 {
		l.SliceBudget = 10 * time.Millisecond
	}
	return l
}

// Driver runs a Loop: a reactor, or a test in looptest. It calls BeginTurn and
// EndTurn around each of its callbacks, and Turn after Wake and WakeAt.
type Driver interface {
	// Now returns the loop clock: monotonic ns, never 0. Any goroutine.
	Now() int64
	// Wake makes the driver call Turn soon, after the I/O that is ready already.
	// Any goroutine.
	Wake()
	// WakeAt makes the driver call Turn once the clock shows at (ns), in place of
	// any earlier WakeAt. Loop goroutine.
	WakeAt(at int64)
	// Flush sends what was written. The loop calls it after each task and before
	// it waits. Loop goroutine.
	Flush()
}

// chainMax bounds how many tasks run one after the other, without a flush, each
// started by the end of the one before.
const chainMax = 32

// Loop runs tasks and timers on one goroutine at a time. Unless a method says
// otherwise it is for that goroutine alone (see the package comment).
type Loop struct {
	slice Slice // first: keeps its cache lines apart from what follows

	running   *Task // nil between slices
	chained   *Task // started by the end of the task that ran last; runs next
	ending    bool  // a Runner's Done is called
	lastStart int64 // of the last slice; the next one starts later
	id        int
	driver    Driver
	limits    Limits
	log       *slog.Logger
	observer  Observer
	late      LateObserver // the observer, if it is one

	owner     atomic.Pointer[byte] // descriptor of the goroutine that owns the loop
	gid       atomic.Uint64
	inTurn    bool        // between BeginTurn and EndTurn
	now       int64       // clock at the last reading
	eventAt   int64       // since when the event being handled was waiting; 0: since now
	estimated bool        // eventAt is
	tracing   atomic.Bool // find out eventAt for each read
	runq      ring[*Task] // ready to run
	yielded   ring[*Task] // ready, but behind the I/O that is waiting
	heavies   ring[*Task] // ready, and likely to hold the loop for long; see order.go
	heavyTurn bool        // this turn may run one of them
	tasks     int         // alive
	idle      []*Task
	all       taskList // alive tasks, for shutdown
	taskSeq   uint64
	wheel     wheel
	armed     int64 // clock time of the pending WakeAt; never when none
	closed    bool
	stats     Stats

	slices, lags Histogram // of what all slices took, and waited before

	besides     besides
	handoff     atomic.Int64       // ns for which a slice may hold the loop while others wait; 0: for ever
	force       func(t *Task) bool // see Force
	forcedOff   []*Task            // taken from by force, and not yet run on
	notReleased atomic.Uint64
	orphans     sync.Mutex
	ended       bool // nobody turns the loop any more; guarded by postMu

	postMu  sync.Mutex
	posted  []post
	postRun []post
	woken   bool // a Wake is on its way; guarded by postMu
}

type post struct {
	fn func()
	at int64
}

// Stats are counters of a loop since its start, and gauges.
type Stats struct {
	Slices, Tasks, Panics, Goexits, Posts, TimersFired uint64
	Handoffs, NotReleased                              uint64 // slices whose loop was taken; those beyond ReleasedMax
	TasksAlive, CoroutinesIdle, Timers, Queued         int
	Released                                           int // tasks that run beside the loop
}

// New makes a loop for a driver. id is for logs and metrics.
func New(id int, d Driver, limits Limits, log *slog.Logger) *Loop {
	l := &Loop{id: id, driver: d, limits: limits.withDefaults(), log: log, armed: never}
	l.now = d.Now()
	l.wheel.init(l.now)
	return l
}

// Driver returns what drives the loop. Any goroutine.
func (l *Loop) Driver() Driver { return l.driver }

// ID is the loop's index in its engine. Any goroutine.
func (l *Loop) ID() int { return l.id }

// Slice is the record of what the loop is running. Any goroutine.
func (l *Loop) Slice() *Slice { return &l.slice }

// Clock reads the loop clock: monotonic ns. Any goroutine.
func (l *Loop) Clock() int64 { return l.driver.Now() }

// Now is the clock as the loop last read it: at the start of this slice or
// turn. Cheaper than Clock, and up to a slice old.
func (l *Loop) Now() int64 { return l.now }

// Limits are the bounds in force. Any goroutine.
func (l *Loop) Limits() Limits { return l.limits }

// Log is the loop's logger. Any goroutine.
func (l *Loop) Log() *slog.Logger { return l.log }

// SetObserver sets who is told of slice ends. Before the loop runs.
func (l *Loop) SetObserver(o Observer) {
	l.observer = o
	l.late, _ = o.(LateObserver)
}

// Stats returns the counters and gauges as they are now. Any goroutine: the loop is
// not asked, so that this works while it is held. It may be writing: each number is
// one that was right, but they need not be of the same moment.
//
//go:norace
func (l *Loop) Stats() Stats {
	s := l.stats
	s.TasksAlive, s.CoroutinesIdle = l.tasks, len(l.idle)
	s.Released, s.NotReleased = l.Released(), l.notReleased.Load()
	s.Timers, s.Queued = l.wheel.count, l.runq.size+l.yielded.size+l.heavies.size
	return s
}

// TurnedAt is when the loop last read its clock in a turn, or at the end of a
// slice. A Steward has idle loops turn once a second, so that a loop that has not
// turned for longer is held, or nobody drives it. Any goroutine.
//
//go:norace
func (l *Loop) TurnedAt() int64 { return l.now }

// Waiting is about how many tasks, posted functions and descriptors with events wait
// for the loop, and tells what a slice that holds it costs others meanwhile. It makes
// system calls: ask while the loop is held. Any goroutine.
func (l *Loop) Waiting() int {
	l.postMu.Lock()
	n := len(l.posted)
	l.postMu.Unlock()
	n += l.Stats().Queued
	if d, ok := l.driver.(interface{ Waiting() int }); ok {
		n += d.Waiting()
	}
	return n
}

func (l *Loop) countSlice(length, lag int64) {
	l.stats.Slices++
	l.slices.Observe(time.Duration(length))
	l.lags.Observe(time.Duration(lag))
}

// Times are the distributions of what slices took, and of what tasks waited for
// the loop before each. Any goroutine: the loop may be writing, so what it counts
// now may be in one of them already.
//
//go:norace
func (l *Loop) Times() (slices, lags Histogram) { return l.slices, l.lags }

// Post runs fn on the loop, soon and in order. It is the only entry from other
// goroutines; calling it on the loop is allowed. fn must not wait. It reports
// false, and fn will never run, when the loop has stopped or PostMax is
// reached. Any goroutine.
func (l *Loop) Post(fn func()) bool { return l.post(fn, l.limits.PostMax, false) }

// PostUnbounded is Post without PostMax. It is for what must not be lost, such as the
// end of a connection, and of which there are only so many at once: one for each
// connection, or for each call of a function. It reports false, and fn will never
// run, when the loop has stopped. Any goroutine.
func (l *Loop) PostUnbounded(fn func()) bool { return l.post(fn, math.MaxInt, false) }

// post is Post with another bound; late says that fn may still come while the loop
// ends.
func (l *Loop) post(fn func(), postMax int, late bool) bool {
	at := l.driver.Now()
	l.postMu.Lock()
	if l.closed && !late || l.ended || len(l.posted) >= postMax {
		l.postMu.Unlock()
		return false
	}
	l.posted = append(l.posted, post{fn, at})
	wake := !l.woken
	l.woken = true
	l.postMu.Unlock()
	if wake {
		l.driver.Wake()
	}
	return true
}

// Stopped tells whether the loop was shut down. Any goroutine.
func (l *Loop) Stopped() bool {
	l.postMu.Lock()
	defer l.postMu.Unlock()
	return l.closed
}

// Turn runs what was posted, what is due and what is ready. Its driver calls it
// after Wake and WakeAt, on the loop's goroutine. The result is EndTurn's.
func (l *Loop) Turn() bool {
	l.BeginTurn()
	l.TakePosted()
	return l.EndTurn()
}

// TakePosted runs what was posted, in a turn that the driver has begun, and lets
// the tasks that have yielded run in it.
func (l *Loop) TakePosted() {
	l.postMu.Lock()
	l.woken = false
	l.posted, l.postRun = l.postRun[:0], l.posted
	l.postMu.Unlock()
	for l.yielded.len() > 0 {
		l.queue(l.yielded.pop())
	}
	l.heavyTurn = true
	for i := range l.postRun {
		l.stats.Posts++
		l.now = max(l.now, l.postRun[i].at)
		l.eventAt = l.postRun[i].at
		l.postRun[i].fn()
		l.postRun[i] = post{}
	}
	if len(l.postRun) > 0 {
		l.eventAt = 0
		l.now = l.driver.Now() // what was posted is not charged to the first task
	}
}

// BeginTurn begins a callback of the driver: it reads the clock and fires the
// timers that are due. What follows until EndTurn may enqueue tasks and never
// runs one. Turns do not nest: BeginTurn inside a turn panics.
func (l *Loop) BeginTurn() {
	if l.inTurn {
		panic("loop: a turn inside a turn")
	}
	l.inTurn = true
	l.own()
	l.now = l.driver.Now()
	l.slice.outside(l.now)
	if l.now >= l.armed {
		l.expire()
	}
}

// own makes the calling goroutine the loop's own.
func (l *Loop) own() {
	if g := (*byte)(getg()); l.owner.Load() != g {
		l.owner.Store(g)
		l.gid.Store(goroutineID())
		labelGoroutine(l.id)
	}
}

func (l *Loop) expire() {
	l.armed = never
	l.stats.TimersFired += uint64(l.wheel.advance(l.now))
}

// EventAt says since when, on the loop clock, the event that the driver handles
// in this turn has been ready; estimated says that this is not exact. Tasks that
// the event makes ready are ready since then. EndTurn ends that.
func (l *Loop) EventAt(at int64, estimated bool) { l.eventAt, l.estimated = at, estimated }

// EndTurn runs the tasks that are ready, flushes what they wrote and asks to be
// called again if there is more. It runs only the tasks that are queued at its
// call, and those that their ends start: what they wake, and what yields, waits
// behind the next I/O. It reports false when the calling goroutine does not own
// the loop any more: it must return without touching the loop.
func (l *Loop) EndTurn() bool {
	l.eventAt, l.estimated = 0, false
	return l.dispatch()
}

func (l *Loop) dispatch() bool {
	for range l.runq.len() {
		if !l.runChain(l.runq.pop()) {
			return false
		}
	}
	if l.heavies.len() > 0 && (l.heavyTurn || l.overdue()) {
		l.heavyTurn = false
		if !l.runChain(l.heavies.pop()) {
			return false
		}
	}
	l.heavyTurn = false
	l.driver.Flush()
	if l.queued() > 0 {
		l.wakeSelf()
	}
	l.arm()
	l.slice.idle()
	l.inTurn = false
	return true
}

// runChain runs t, and then the tasks that are started by the end of the one
// before, such as the next pipelined request of a connection: their output
// leaves in one piece.
func (l *Loop) runChain(t *Task) bool {
	for n := 1; ; n++ {
		if !l.resume(t) {
			return false
		}
		t = l.chained
		if l.chained = nil; t == nil {
			break
		}
		if n == chainMax || t.heavy() {
			l.queue(t)
			break
		}
	}
	l.driver.Flush()
	return true
}

// wakeSelf asks for another Turn unless one is coming already.
func (l *Loop) wakeSelf() {
	l.postMu.Lock()
	wake := !l.woken
	l.woken = true
	l.postMu.Unlock()
	if wake {
		l.driver.Wake()
	}
}

// arm keeps the driver's one timer at or before the wheel's next work.
func (l *Loop) arm() {
	if l.wheel.count == 0 {
		return
	}
	if at := l.wheel.next(); at < l.armed {
		l.armed = at
		l.driver.WakeAt(at)
	}
}

// AfterFunc arms t to call fire on the loop after d, in place of what it was
// armed for before. fire must not wait. The wheel's tick is 0.26 ms: it fires
// that much late at most, and never early.
func (l *Loop) AfterFunc(t *Timer, d time.Duration, fire func(*Timer)) {
	caller, entered := l.touch()
	defer caller.Leave(entered)
	t.fire = fire
	now := l.now
	if l.running != nil { // its slice may have run for long since
		now = l.driver.Now()
	}
	l.wheel.add(t, now+max(int64(d), 0))
}

// StopTimer disarms t; it is no error if it was not armed.
func (l *Loop) StopTimer(t *Timer) {
	caller, entered := l.touch()
	defer caller.Leave(entered)
	l.wheel.remove(t)
}

// Owned tells whether the calling goroutine may touch the loop now: it is the
// loop's own, inside a turn, or the task that the loop runs, after Enter. Any
// goroutine.
func (l *Loop) Owned() bool {
	if l.IsOwner() {
		return l.inTurn
	}
	t := l.Current()
	return t != nil && t.region.word.Load() == inside
}

// IsOwner tells whether the calling goroutine is the loop's own. Any goroutine.
func (l *Loop) IsOwner() bool { return l.owner.Load() == (*byte)(getg()) }

// touch begins a method that touches the loop: for the loop's own goroutine, or
// a task of the loop, which calls Leave on the result.
func (l *Loop) touch() (*Task, Crossing) {
	if l.IsOwner() && l.inTurn {
		return nil, false
	}
	if t := l.Current(); t != nil {
		return t, t.Enter()
	}
	panic("loop: called by a goroutine that is neither the loop nor a task of it; use Post")
}

// tryTouch is touch for a caller that must not wait: ok is false where Enter
// would, and where the caller is neither the loop nor a task of it.
func (l *Loop) tryTouch() (t *Task, entered Crossing, ok bool) {
	if l.IsOwner() {
		return nil, false, l.inTurn
	}
	if t = l.Current(); t == nil {
		return nil, false, false
	}
	if t.region.word.CompareAndSwap(t.since, inside) {
		return t, true, true
	}
	return t, false, t.region.word.Load() == inside
}

// Current returns the task that the calling goroutine is, or nil when it is
// not a task of this loop. Any goroutine; costs a few ns.
func (l *Loop) Current() *Task {
	if _, t, ok := l.slice.Load(); ok && atomic.LoadPointer(&t.g) == getg() {
		return t
	}
	return l.besides.find(getg())
}
