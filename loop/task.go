package loop

// Task: straight-line code on a pooled coroutine. Park is its one suspension
// point and Waker the one way out of it; cancel, deadlines and all waits are
// built on these two. Nothing here resumes a coroutine but Loop.resume.

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// ErrGoexit ends a task whose code called runtime.Goexit (as t.FailNow does).
var ErrGoexit = errors.New("loop: the task called runtime.Goexit")

// PanicError ends a task whose code panicked.
type PanicError struct {
	Value any
	Stack []byte // of the panicking task, its own frames first
}

func (e *PanicError) Error() string { return fmt.Sprintf("loop: task panicked: %v", e.Value) }

// unwind is what Park panics with after the loop stopped the coroutine: the
// task's deferred functions run, its code does not go on.
type unwind struct{}

func (unwind) String() string { return "loop: task unwound because its loop stopped" }

// Runner is the work of a task.
type Runner interface {
	// Run is the task's code. It may wait through t, anywhere.
	Run(t *Task)
	// Done is called once on the loop, after Run ended: err is nil, a *PanicError,
	// ErrGoexit or ErrShutdown. t is reused after Done returns: forget it. Done
	// must not wait.
	Done(t *Task, err error)
}

type taskState uint8

const (
	taskIdle    taskState = iota // in the pool
	taskReady                    // in the run queue
	taskRunning                  // in its slice
	taskParked                   // waiting for its Waker
)

// Task is one run of a Runner. It is for its own goroutine and its loop's,
// except where a method says otherwise, and it may be reused once its Runner's
// Done returned.
type Task struct {
	loop   *Loop
	g      unsafe.Pointer
	gid    atomic.Uint64 // set after g, once
	next   func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	runner Runner

	cost    *Cost  // nil: not known
	ordinal int    // slices so far
	region  region // who may touch the loop: see region.go
	since   int64  // start of the slice that the task is in
	loan    *loan  // the loop, while a task that is released and holds its thread is inside

	returned atomic.Int64 // see ReturnedAt
	left     int64        // see LeftAt

	id       uint64
	epoch    uint64 // of the current wait; only grows, so old Wakers are void for ever
	state    taskState
	signaled bool // the current wait is over
	broken   bool // the coroutine must not be resumed again
	stopping bool // the loop stopped the coroutine: unwind
	orphaned bool // see orphan
	ended    error
	ready    int64 // clock at which the task became able to run
	started  int64
	wait     Timer // of the current wait
	deadline Timer
	pos      int // in Loop.all
	label    label
	delay    Delay
	usage    Usage

	yieldChecks yieldChecks

	estimated bool // ready is

	cause    atomic.Pointer[error]
	doneMu   sync.Mutex
	done     chan struct{}
	retained atomic.Bool // somebody outlives the task and may still ask it: never reuse
}

type taskList []*Task

// Start makes a task, which runs when the dispatcher gets to it: after those
// that are ready, or right after the task that ends now where a Runner's Done
// calls Start. The error is ErrTooManyTasks or ErrClosed; then neither Run nor
// Done is called.
func (l *Loop) Start(r Runner) (*Task, error) { return l.StartOf(r, nil) }

// take makes a task of an idle coroutine, or of a new one.
func (l *Loop) take(r Runner) (*Task, error) {
	if l.closed {
		return nil, ErrClosed
	}
	if l.tasks >= l.limits.TaskMax {
		return nil, ErrTooManyTasks
	}
	var t *Task
	if n := len(l.idle); n > 0 {
		t = l.idle[n-1]
		l.idle[n-1] = nil
		l.idle = l.idle[:n-1]
	} else {
		t = &Task{loop: l}
		t.makeCoroutine()
	}
	l.taskSeq++
	t.id = l.taskSeq
	t.runner = r
	t.started = l.now
	t.pos = len(l.all)
	l.all = append(l.all, t)
	l.tasks++
	l.stats.Tasks++
	return t, nil
}

// makeCoroutine gives a new task its coroutine. One that is made on a locked thread
// can be resumed on that thread only, so another goroutine makes it then.
func (t *Task) makeCoroutine() {
	if !threadLocked() {
		t.next, t.stop = iter.Pull(t.coroutine)
		return
	}
	made := make(chan struct{})
	go func() {
		t.next, t.stop = iter.Pull(t.coroutine)
		close(made)
	}()
	<-made
}

// coroutine runs one Runner after the other; between them the task is idle.
func (t *Task) coroutine(yield func(struct{}) bool) {
	atomic.StorePointer(&t.g, getg()) // Current may look from another loop
	t.gid.Store(goroutineID())
	t.yield = yield
	for {
		t.run()
		if t.broken || !yield(struct{}{}) {
			return
		}
	}
}

// run runs the Runner and turns every way it can end into a value: a panic
// that crossed the coroutine would lose the handler's frames, a Goexit would
// end the loop's goroutine.
func (t *Task) run() {
	returned := false
	defer func() {
		if returned {
			return
		}
		switch p := recover(); p.(type) {
		case nil: // Goexit: this goroutine cannot be kept, but the loop can
			t.ended, t.broken = ErrGoexit, true
			t.comeInside()
			t.state = taskIdle
			t.yield(struct{}{})
		case unwind:
			t.ended, t.broken = ErrShutdown, true
			t.endOrphan()
		case *PanicError: // of a goroutine or task that worked for this one
			t.ended = p.(error)
			t.comeInside()
		default:
			t.ended = &PanicError{Value: p, Stack: debug.Stack()}
			t.comeInside()
		}
	}()
	t.runner.Run(t)
	t.comeInside()
	returned = true
	t.state = taskIdle
}

// comeInside makes the loop the task's own after its code has ended.
func (t *Task) comeInside() {
	t.releaseThread()
	if t.loan != nil {
		t.endLoan()
	}
	defer func() { // the loop may have ended
		switch p := recover(); p.(type) {
		case nil:
		case unwind:
			t.ended, t.broken = ErrShutdown, true
		default:
			panic(p)
		}
		t.endOrphan()
	}()
	t.Enter()
}

// releaseThread undoes what a handler left locked: a coroutine switch on a
// locked thread is fatal to the process.
func (t *Task) releaseThread() {
	for range 1 << 16 {
		if !threadLocked() {
			return
		}
		runtime.UnlockOSThread()
	}
}

// enqueue puts t at the end of the run queue; ready is since when it can run.
func (l *Loop) enqueue(t *Task, ready int64) {
	t.state = taskReady
	t.ready, t.estimated = ready, l.estimated
	l.queue(t)
}

// resume runs t until its next wait or its end: one slice. It reports false
// when the loop was taken meanwhile: then nothing here touches it any more.
// Called by the dispatcher alone, never inside a coroutine.
func (l *Loop) resume(t *Task) bool {
	start := max(l.now, l.lastStart+1)
	if l.late != nil && start-t.ready >= lateMin {
		l.late.SliceLate(l, t, t.ready, start)
	}
	l.begin(t, start)
	t.next()
	switch t.region.word.Load() {
	case released: // taken by force: RunReleased runs it on
		return false
	case returning: // the loop belongs to another goroutine
		l.comeBack(t)
		return false
	case leaving:
		l.now = l.driver.Now()
		l.running = nil
		l.endSlice(t, false)
		l.moveBeside(t)
		return true
	}
	l.now = l.driver.Now()
	l.running = nil
	l.endSlice(t, false)
	if t.state == taskRunning { // it ended by a panic
		t.state = taskIdle
	}
	if t.state == taskIdle {
		l.finish(t)
	}
	return true
}

// endSlice accounts for the slice of t that ended now, or whose loop was taken.
func (l *Loop) endSlice(t *Task, taken bool) {
	start := l.lastStart
	l.slice.outside(l.now)
	t.usage.Held += time.Duration(l.now - start)
	t.usage.Waited += time.Duration(max(0, start-t.ready))
	l.countSlice(l.now-start, start-t.ready)
	if t.cost != nil {
		t.cost.learn(t.ordinal, l.now-start)
	}
	t.ordinal++
	if taken {
		l.stats.Handoffs++
		t.usage.Handoffs++
		t.usage.Taken += time.Duration(l.now - start)
		if o, ok := l.observer.(ReleaseObserver); ok {
			o.Released(l, t, t.ready, start, l.now)
			return
		}
	}
	if l.observer != nil {
		l.observer.SliceEnd(l, t, t.ready, start, l.now)
	}
}

// begin publishes that t runs from now on.
func (l *Loop) begin(t *Task, start int64) {
	l.lastStart = start
	t.state = taskRunning
	l.running = t
	t.since = start
	l.slice.begin(t, start)
}

// finish tells the Runner and puts the coroutine back into the pool.
func (l *Loop) finish(t *Task) {
	err := t.ended
	switch err.(type) {
	case nil:
	case *PanicError:
		l.stats.Panics++
	default:
		if errors.Is(err, ErrGoexit) {
			l.stats.Goexits++
		}
	}
	last := len(l.all) - 1
	l.all[t.pos] = l.all[last]
	l.all[t.pos].pos = t.pos
	l.all[last] = nil
	l.all = l.all[:last]
	l.tasks--
	l.wheel.remove(&t.wait)
	l.wheel.remove(&t.deadline)
	if t.retained.Load() && t.cause.Load() == nil {
		t.cause.Store(&context.Canceled)
	}
	t.closeDone()
	r := t.runner
	l.ending = true
	r.Done(t, err)
	l.ending = false
	t.runner, t.ended = nil, nil
	t.epoch++
	t.signaled = false
	t.label.clear()
	t.delay, t.usage, t.yieldChecks = Delay{}, Usage{}, yieldChecks{}
	t.cost, t.ordinal = nil, 0
	switch {
	case t.broken:
		l.discard(t)
	case l.closed || len(l.idle) >= l.limits.IdleTaskMax || t.retained.Load():
		t.stop()
	default:
		t.cause.Store(nil)
		t.done = nil
		l.idle = append(l.idle, t)
	}
}

// discard lets go of a coroutine in mid-Goexit. Its Goexit passes on to the
// goroutine that stops it, so that is one of its own.
func (l *Loop) discard(t *Task) { go t.stop() }

// Loop is the loop the task runs on. Any goroutine.
func (t *Task) Loop() *Loop { return t.loop }

// ID is unique among the loop's tasks.
func (t *Task) ID() uint64 { return t.id }

// Waker ends one wait of one task. It is a value: copy it freely. Used late,
// twice, or after the task ended it does nothing.
type Waker struct {
	task  *Task
	epoch uint64
}

// Prepare begins a wait: the Waker it returns ends the next Park, also when it
// is used before Park is called. Wakers of earlier waits become void.
func (t *Task) Prepare() Waker {
	defer t.Leave(t.Enter())
	t.epoch++
	t.signaled = false
	return Waker{t, t.epoch}
}

// Park gives the loop back until the wait's Waker is used or the task is
// cancelled; it then returns nil or the cause. It returns at once when that has
// happened already. It fails with ErrForeignGoroutine when called by any
// goroutine but the task's own and with ErrThreadLocked when that goroutine
// holds its OS thread: nothing was waited for then.
func (t *Task) Park() error {
	if err := t.MayPark(); err != nil {
		return err
	}
	defer t.Leave(t.Enter())
	for {
		if t.signaled {
			t.endWait()
			return nil
		}
		if cause := t.cause.Load(); cause != nil {
			t.endWait()
			return *cause
		}
		t.state = taskParked
		t.suspend()
	}
}

func (t *Task) endWait() {
	t.epoch++
	t.signaled = false
	t.loop.wheel.remove(&t.wait)
}

// MayPark tells whether a Park could wait: nil, ErrForeignGoroutine or
// ErrThreadLocked.
func (t *Task) MayPark() error {
	if t.g != getg() {
		return ErrForeignGoroutine
	}
	if threadLocked() {
		return ErrThreadLocked
	}
	return nil
}

// suspend is the coroutine's side of the switch.
func (t *Task) suspend() {
	if t.stopping || !t.yield(struct{}{}) {
		t.stopping = true
		t.state = taskRunning
		panic(unwind{})
	}
}

// Wake ends the wait: the task runs later in this turn of the loop. On the
// loop only; panics elsewhere, because it would corrupt the run queue.
func (w Waker) Wake() {
	if w.task != nil {
		w.WakeAt(w.task.loop.ready())
	}
}

// WakeAt is Wake for an event that was ready at the given loop clock time, so
// that what the task waited for the loop is known.
func (w Waker) WakeAt(ready int64) {
	t := w.task
	if t == nil {
		return
	}
	caller, entered := t.loop.touch()
	defer caller.Leave(entered)
	if t.epoch != w.epoch || t.signaled {
		return
	}
	t.signaled = true
	if t.state == taskParked {
		t.loop.enqueue(t, ready)
	}
}

// Post is Wake from any goroutine. It reports false when the loop has stopped; no
// other bound keeps a task from being woken.
func (w Waker) Post() bool {
	at := w.task.loop.driver.Now()
	return w.task.loop.post(func() { w.WakeAt(at) }, math.MaxInt, false)
}

// retain keeps the Task from being reused after its end, for work that goes on
// without it and may still call Err or Done. Any goroutine, while the task lives.
func (t *Task) retain() { t.retained.Store(true) }
