// Loop: the run queue, the dispatcher, and Post, the entry for other goroutines. Also the
// errors of the package, Limits, AfterFunc and StopTimer, and the checks of who calls
// (touch, Current). driver.go has the turns, timer.go the wheel.

package loop

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
	// ErrClosed means that the connection, task, pool, queue or loop is closed.
	ErrClosed = errors.New("loop: closed")
	// ErrTooManyTasks means that Limits.TaskMax tasks are alive on the loop.
	ErrTooManyTasks = errors.New("loop: too many tasks on this loop")
	// ErrShutdown cancels the tasks that are alive when their loop stops.
	ErrShutdown = errors.New("loop: shutting down")
	// ErrForeignGoroutine is returned by a wait of a task that another goroutine
	// calls (one that the handler started, or a nested iter.Pull).
	ErrForeignGoroutine = errors.New("loop: only the task's own goroutine may wait for it")
	// ErrThreadLocked is returned by a wait of a task that holds its OS thread
	// (runtime.LockOSThread).
	ErrThreadLocked = errors.New("loop: a task that holds its OS thread (runtime.LockOSThread) cannot wait")
)

// Limits are the bounds of one loop. Zero fields take the defaults.
type Limits struct {
	TaskMax     int           // tasks alive at once; default 65536; see StartReserved for a few more
	IdleTaskMax int           // coroutines kept for reuse; default 1024
	PostMax     int           // functions posted and not yet run; default 1<<20; beyond it Post reports false
	ReleasedMax int           // tasks that run beside the loop at once; default 256
	SliceBudget time.Duration // time for one slice, for YieldIfDue and the watchdog; default 10 ms
	FIFO        bool          // ready tasks run first come, first served, instead of light ones first
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

// chainMax bounds the number of tasks started by Runner.Done that may run before a flush.
const chainMax = 32

// Loop runs tasks and timers on one goroutine at a time. Unless a method says otherwise,
// only that goroutine and the running task may call it (see the package comment).
type Loop struct {
	slice Slice // first: keeps its cache lines apart from what follows

	running   *Task // nil between slices
	chained   *Task // started by the end of the task that ran last; runs next
	ending    bool  // in a call of Runner.Done
	lastStart int64 // start of the last slice; the next one starts later
	id        int
	driver    Driver
	limits    Limits
	log       *slog.Logger
	observer  Observer
	late      LateObserver // the observer, if it implements it

	owner     atomic.Pointer[byte] // descriptor of the goroutine that owns the loop
	gid       atomic.Uint64
	inTurn    bool        // between BeginTurn and EndTurn
	more      bool        // see LoopControl.More
	now       int64       // clock at the last reading
	eventAt   int64       // time since which the event being handled was ready; 0: now
	estimated bool        // eventAt is an estimate
	tracing   atomic.Bool // see LoopView.TraceArrivals
	runq      ring[*Task] // ready to run
	yielded   ring[*Task] // ready, but behind the I/O that is waiting
	heavies   ring[*Task] // ready, and expected to run long; see order.go
	heavyTurn bool        // this turn may run one of them
	tasks     int         // alive
	idle      []*Task
	all       []*Task // alive tasks, for shutdown
	taskSeq   uint64
	wheel     wheel
	armed     int64 // clock time of the pending WakeAt; never when none
	closed    bool
	stats     Stats

	slices, lags Histogram // see LoopView.Times

	released    releasedTasks
	handoff     atomic.Int64       // ns for which a slice may hold the loop while others wait; 0: without limit
	force       func(t *Task) bool // see LoopControl.ForceHandoff
	forcedOff   []*Task            // released by it, for RunReleased
	notReleased atomic.Uint64
	orphans     sync.Mutex // held while a task is unwound after the loop has ended
	ended       bool       // the loop turns no more; guarded by postMu

	postMu  sync.Mutex
	posted  []post
	postRun []post
	woken   bool // Driver.Wake was called and the turn has not come; guarded by postMu
}

type post struct {
	fn func()
	at int64
}

// New returns a loop for a driver. id is for logs and metrics.
func New(id int, d Driver, limits Limits, log *slog.Logger) *Loop {
	l := &Loop{id: id, driver: d, limits: limits.withDefaults(), log: log, armed: never}
	l.now = d.Now()
	l.wheel.init(l.now)
	return l
}

// ID returns the loop's index in its engine. Any goroutine.
func (l *Loop) ID() int { return l.id }

// Clock reads the loop clock, monotonic ns. Any goroutine.
func (l *Loop) Clock() int64 { return l.driver.Now() }

// Now returns the loop clock as of the start of the running slice or turn. It is cheaper
// than Clock.
func (l *Loop) Now() int64 { return l.now }

// Limits returns the bounds in force. Any goroutine.
func (l *Loop) Limits() Limits { return l.limits }

// Log returns the loop's logger. Any goroutine.
func (l *Loop) Log() *slog.Logger { return l.log }

func (l *Loop) countSlice(length, lag int64) {
	l.stats.Slices++
	l.slices.Observe(time.Duration(length))
	l.lags.Observe(time.Duration(lag))
}

// Post queues fn to run on the loop, in the order of the calls. fn must not wait. Post
// returns false, and fn never runs, when the loop has stopped or Limits.PostMax is reached.
// Any goroutine, also the loop's.
func (l *Loop) Post(fn func()) bool { return l.post(fn, l.limits.PostMax, false) }

// PostUnbounded is Post without the bound. It is for functions that must not be lost, such
// as the end of a connection, and whose number has another bound, such as one for each
// connection. It returns false when the loop has stopped. Any goroutine.
func (l *Loop) PostUnbounded(fn func()) bool { return l.post(fn, math.MaxInt, false) }

// post is Post with another bound. late allows fn while the loop is shutting down.
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

// Stopped reports whether the loop was shut down. Any goroutine.
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

// own makes the calling goroutine the owner of the loop.
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
	for n := l.runq.len(); n > 0; n-- {
		l.more = n > 1
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

// runChain runs t and then the tasks that are each started by the end of the one before,
// such as the next pipelined request of a connection. Their output is flushed together.
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

// readySince returns the time since which the event being handled has been ready.
func (l *Loop) readySince() int64 {
	switch {
	case l.running != nil: // the running slice caused it
		return l.driver.Now()
	case l.eventAt != 0:
		return l.eventAt
	}
	return l.now
}

// wakeSelf asks the driver for another Turn, unless one is pending.
func (l *Loop) wakeSelf() {
	l.postMu.Lock()
	wake := !l.woken
	l.woken = true
	l.postMu.Unlock()
	if wake {
		l.driver.Wake()
	}
}

// arm keeps the driver's timer at or before the next tick of the wheel that has work.
func (l *Loop) arm() {
	if l.wheel.count == 0 {
		return
	}
	if at := l.wheel.next(); at < l.armed {
		l.armed = at
		l.driver.WakeAt(at)
	}
}

// AfterFunc arms t to call fire on the loop after d. It replaces an earlier call for t.
// fire must not wait. It is never called early, and up to 0.26 ms after it is due, if the
// loop is free; a held loop adds its delay.
func (l *Loop) AfterFunc(t *Timer, d time.Duration, fire func(*Timer)) {
	caller, entered := l.touch()
	defer caller.Leave(entered)
	t.fire = fire
	now := l.now
	if l.running != nil { // l.now is the start of the slice
		now = l.driver.Now()
	}
	l.wheel.add(t, now+max(int64(d), 0))
}

// StopTimer disarms t. It does nothing if t is not armed.
func (l *Loop) StopTimer(t *Timer) {
	caller, entered := l.touch()
	defer caller.Leave(entered)
	l.wheel.remove(t)
}

// isOwner reports whether the calling goroutine is the loop's own. Any goroutine.
func (l *Loop) isOwner() bool { return l.owner.Load() == (*byte)(getg()) }

// touch begins a method that uses the loop, on the loop's own goroutine or in a task of
// the loop. The caller calls Leave on the result. It panics on other goroutines.
func (l *Loop) touch() (*Task, Crossing) {
	if l.isOwner() && l.inTurn {
		return nil, false
	}
	if t := l.Current(); t != nil {
		return t, t.Enter()
	}
	panic("loop: called by a goroutine that is neither the loop nor a task of it; use Post")
}

// tryTouch is touch for a caller that must not wait. ok is false where Enter would wait,
// and where the caller is neither the loop nor a task of it.
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

// Current returns the task of this loop whose goroutine calls it, or nil, in a few ns.
// Any goroutine.
func (l *Loop) Current() *Task {
	if _, t, ok := l.slice.Load(); ok && atomic.LoadPointer(&t.g) == getg() {
		return t
	}
	return l.released.find(getg())
}
