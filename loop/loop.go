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

// New makes a loop for a driver. id is for logs and metrics.
func New(id int, d Driver, limits Limits, log *slog.Logger) *Loop {
	l := &Loop{id: id, driver: d, limits: limits.withDefaults(), log: log, armed: never}
	l.now = d.Now()
	l.wheel.init(l.now)
	return l
}

// ID is the loop's index in its engine. Any goroutine.
func (l *Loop) ID() int { return l.id }

// Clock reads the loop clock: monotonic ns. Any goroutine.
func (l *Loop) Clock() int64 { return l.driver.Now() }

// Now is the clock as the loop last read it: at the start of this slice or
// turn. Cheaper than Clock, and up to a slice old.
func (l *Loop) Now() int64 { return l.now }

// Limits are the bounds in force. Any goroutine.
func (l *Loop) Limits() Limits { return l.limits }

// Log is the loop's logger. Any goroutine.
func (l *Loop) Log() *slog.Logger { return l.log }

func (l *Loop) countSlice(length, lag int64) {
	l.stats.Slices++
	l.slices.Observe(time.Duration(length))
	l.lags.Observe(time.Duration(lag))
}

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

// runPosted is LoopControl.RunPosted.
func (l *Loop) runPosted() {
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
		l.now = l.driver.Now() // the posted functions are not charged to the first task
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

// ready is since when the event that is being handled has been waiting.
func (l *Loop) ready() int64 {
	switch {
	case l.running != nil: // caused by the slice, not found after it
		return l.driver.Now()
	case l.eventAt != 0:
		return l.eventAt
	}
	return l.now
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

// isOwner reports whether the calling goroutine is the loop's own. Any goroutine.
func (l *Loop) isOwner() bool { return l.owner.Load() == (*byte)(getg()) }

// touch begins a method that touches the loop: for the loop's own goroutine, or
// a task of the loop, which calls Leave on the result.
func (l *Loop) touch() (*Task, Crossing) {
	if l.isOwner() && l.inTurn {
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
	if l.isOwner() {
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
