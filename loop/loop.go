package loop

// Loop: the run queue, the one dispatcher that resumes tasks, and Post, the
// only entry from other goroutines. It does not know which poller drives it.

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
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
	TaskMax      int           // tasks alive at once; default 65536
	IdleTaskMax  int           // coroutines kept for reuse; default 1024
	PostMax      int           // functions posted and not yet run; default 1<<20; beyond it Post reports false
	InboundMax   int           // bytes a Conn holds unread; default 1 MiB; beyond it the connection is closed
	OutboundMax  int           // bytes a Conn holds unwritten before Task.Drain waits; default 1 MiB
	WriteTimeout time.Duration // for each 16 KiB of progress towards a reader; default 30 s
	SliceBudget  time.Duration // what a slice may take before YieldIfDue yields; default 10 ms
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
	orInt(&l.InboundMax, 1<<20)
	orInt(&l.OutboundMax, 1<<20)
	if l.WriteTimeout <= 0 {
		l.WriteTimeout = 30 * time.Second
	}
	if l.SliceBudget <= 0 {
		l.SliceBudget = 10 * time.Millisecond
	}
	return l
}

// Driver is what runs a Loop: a gnet reactor in an Engine, a test in looptest.
type Driver interface {
	// Now is the loop clock: monotonic ns, never 0. Any goroutine.
	Now() int64
	// Wake makes the driver call Turn soon, after the I/O that is already waiting.
	// Any goroutine.
	Wake()
	// WakeAfter makes the driver call Turn once, d ns from now, instead of any
	// earlier WakeAfter. Loop goroutine.
	WakeAfter(d int64)
}

// Loop runs tasks, timers and connections on one goroutine. Unless a method
// says otherwise it is for that goroutine alone (see the package comment).
type Loop struct {
	slice Slice // first: keeps its cache lines apart from what follows

	running   *Task // nil between slices
	lastStart int64 // of the last slice; the next one starts later
	id        int
	driver    Driver
	limits    Limits
	log       *slog.Logger
	observer  Observer
	late      LateObserver // the observer, if it is one

	g unsafe.Pointer // the loop's own goroutine
	// threadLocked: that goroutine holds its OS thread, and so all coroutines do.
	threadLocked bool
	gid          atomic.Uint64
	now          int64       // clock at the last reading
	depth        int         // nesting of enter/leave
	eventAt      int64       // since when the event being handled was waiting; 0: since now
	estimated    bool        // eventAt is
	tracing      atomic.Bool // find that out for each read
	runq         ring[*Task] // ready to run
	yielded      ring[*Task] // ready, but behind the I/O that is waiting
	tasks        int         // alive
	idle         []*Task
	all          taskList // alive tasks, for shutdown
	taskSeq      uint64
	connSeq      uint64
	dirty        []*Conn
	wheel        wheel
	armed        int64 // clock time of the pending WakeAfter; never when none
	conns        int
	detached     map[*Bulk]struct{} // connections whose stream is off the loop
	bufs         bufferPool
	handshakes   int    // TLS, under way
	handshakeAt  int64  // clock: the next one's turn
	plain        []byte // scratch for what TLS decrypts
	closed       bool
	stats        Stats
	slices, lags Histogram // of what all slices took, and waited before

	aside   sync.Mutex   // held by who works beside a slice; see Loop.beside
	asiders atomic.Int32 // who hold it or are about to

	postMu  sync.Mutex
	posted  []post
	postRun []post
	woken   bool // a Wake is on its way; guarded by postMu
}

type post struct {
	fn func()
	at int64
}

// Stats are counters of a loop since its start, and gauges. Read them with
// [Loop.Stats] on the loop, or through Post.
type Stats struct {
	Slices, Tasks, Panics, Goexits, Posts, TimersFired uint64
	Opened, Refused, ClosedInbound, ClosedWrite        uint64
	BytesIn, BytesOut                                  uint64
	Handshakes, HandshakesResumed, HandshakesFailed    uint64 // of TLS
	TasksAlive, CoroutinesIdle, Conns, Timers, Queued  int
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

// Stats returns the counters and gauges as they are now.
func (l *Loop) Stats() Stats {
	s := l.stats
	s.TasksAlive, s.CoroutinesIdle, s.Conns = l.tasks, len(l.idle), l.conns
	s.Timers, s.Queued = l.wheel.count, l.runq.len()+l.yielded.len()
	return s
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
func (l *Loop) Post(fn func()) bool { return l.post(fn, l.limits.PostMax) }

func (l *Loop) post(fn func(), postMax int) bool {
	at := l.driver.Now()
	l.postMu.Lock()
	if l.closed || len(l.posted) >= postMax {
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

// stopped tells whether the loop was shut down. Any goroutine.
func (l *Loop) stopped() bool {
	l.postMu.Lock()
	defer l.postMu.Unlock()
	return l.closed
}

// Turn runs what was posted, what is due and what is ready. Its driver calls
// it after Wake and WakeAfter, on the loop's goroutine.
func (l *Loop) Turn() {
	l.enter()
	l.postMu.Lock()
	l.woken = false
	l.posted, l.postRun = l.postRun[:0], l.posted
	l.postMu.Unlock()
	for l.yielded.len() > 0 {
		l.runq.push(l.yielded.pop())
	}
	for i := range l.postRun {
		l.stats.Posts++
		l.now = max(l.now, l.postRun[i].at)
		l.eventAt = l.postRun[i].at
		l.postRun[i].fn()
		l.postRun[i] = post{}
	}
	l.eventAt = 0
	l.now = l.driver.Now() // what was posted is not charged to the first task
	l.leave()
}

// enter begins a callback of the driver: every path onto the loop starts here
// and ends with leave.
func (l *Loop) enter() {
	l.depth++
	if l.depth > 1 {
		return
	}
	if l.g == nil {
		l.g = getg()
		l.threadLocked = threadLocked()
		labelGoroutine(l.id)
		l.gid.Store(goroutineID())
	}
	l.now = l.driver.Now()
	l.slice.outside(l.now)
	if l.now >= l.armed {
		l.expire()
	}
}

func (l *Loop) expire() {
	l.armed = never
	l.stats.TimersFired += uint64(l.wheel.advance(l.now))
}

// leave runs the tasks that became ready, writes what they produced and asks
// to be called again if there is more. Bounded: it resumes only the tasks that
// are in the queue now; those they wake, and those that yield, wait behind the
// next I/O.
func (l *Loop) leave() {
	if l.depth == 1 {
		for range l.runq.len() {
			l.resume(l.runq.pop())
			l.flushDirty() // what this task answered does not wait for the next one
		}
		l.flushDirty()
		if l.runq.len()+l.yielded.len() > 0 {
			l.wakeSelf()
		}
		l.arm()
		l.slice.idle()
	}
	l.depth--
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
		l.driver.WakeAfter(max(at-l.driver.Now(), 1))
	}
}

// AfterFunc arms t to call fire on the loop after d, instead of what it was
// armed for before. fire must not wait. The wheel's tick is 0.26 ms: it fires
// that much late at most, and never early.
func (l *Loop) AfterFunc(t *Timer, d time.Duration, fire func(*Timer)) {
	t.fire = fire
	now := l.now
	if l.running != nil { // its slice may have run for long since
		now = l.driver.Now()
	}
	l.wheel.add(t, now+max(int64(d), 0))
}

// StopTimer disarms t; it is no error if it was not armed.
func (l *Loop) StopTimer(t *Timer) { l.wheel.remove(t) }

// onLoop tells whether the calling goroutine may touch the loop now.
func (l *Loop) onLoop() bool {
	return (l.depth > 0 && l.g == getg()) || l.Current() != nil
}

func (l *Loop) mustBeOn() {
	if !l.onLoop() {
		panic("loop: called by a goroutine that is neither the loop nor its running task; use Post")
	}
}

// Current returns the task that the calling goroutine is, or nil when it is
// not a task of this loop. Any goroutine; costs a few ns.
func (l *Loop) Current() *Task {
	if _, t, ok := l.slice.Load(); ok && atomic.LoadPointer(&t.g) == getg() {
		return t
	}
	return nil
}

// ring is a growing FIFO that allocates only when it grows.
type ring[T any] struct {
	buf        []T
	head, size int
}

func (r *ring[T]) len() int { return r.size }

func (r *ring[T]) push(v T) {
	if r.size == len(r.buf) {
		grown := make([]T, max(64, 2*len(r.buf)))
		n := copy(grown, r.buf[r.head:])
		copy(grown[n:], r.buf[:r.head])
		r.buf, r.head = grown, 0
	}
	r.buf[(r.head+r.size)&(len(r.buf)-1)] = v
	r.size++
}

func (r *ring[T]) pop() T {
	var zero T
	v := r.buf[r.head]
	r.buf[r.head] = zero
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.size--
	return v
}
