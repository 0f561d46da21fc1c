// Task: straight-line code on a pooled coroutine. Park is the wait on which most others are
// built, and a Waker ends it. A running task stops in suspend, which Park, the waits of
// wait.go and the moves off a loop and back in region.go call. Loop.resume runs the slices
// of the loop; region.go (moveBeside) and driver.go (RunReleased) resume tasks beside it.

package loop

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

// ErrGoexit is the end of a task whose code called runtime.Goexit (as t.FailNow does).
var ErrGoexit = errors.New("loop: the task called runtime.Goexit")

// PanicError is the end of a task whose code panicked.
type PanicError struct {
	Value any
	Stack []byte // of the panicking task, its own frames first
}

func (e *PanicError) Error() string { return fmt.Sprintf("loop: task panicked: %v", e.Value) }

// unwind is the panic of Park after the loop has stopped the coroutine: the task's deferred
// functions run, and its code does not go on.
type unwind struct{}

func (unwind) String() string { return "loop: task unwound because its loop stopped" }

// Runner is the code of a task.
type Runner interface {
	// Run runs on the task's goroutine, inside (see Task.Enter), and may wait. It calls
	// user code by Task.Outside, or between Leave(true) and Enter, so that the loop can be
	// handed over.
	Run(t *Task)
	// Done is called once on the loop after Run has ended. err is nil, a *PanicError,
	// ErrGoexit or ErrShutdown. Done must not wait. t must not be used after it.
	Done(t *Task, err error)
}

type taskState uint8

const (
	taskIdle    taskState = iota // in the pool
	taskReady                    // in the run queue
	taskRunning                  // in its slice
	taskParked                   // waiting for its Waker
)

// Task is one run of a Runner. Only its own goroutine and that of its loop may use it,
// unless a method says otherwise. The loop reuses it after Runner.Done has returned.
type Task struct {
	loop   *Loop
	g      unsafe.Pointer
	gid    atomic.Uint64 // set after g, once
	next   func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	runner Runner

	cost    *Cost  // nil: no estimates
	ordinal int    // slices so far
	region  region // see region.go
	since   int64  // start of the running slice
	loan    *loan  // while a released task that holds its thread is inside

	returned atomic.Int64 // see TaskView.ReturnedAt
	left     int64        // see TaskView.LeftAt

	id       uint64
	epoch    uint64 // of the current wait; it only grows, so that older Wakers stay void
	state    taskState
	signaled bool // the current wait has ended
	broken   bool // the coroutine must not be resumed again
	stopping bool // the loop has stopped the coroutine: unwind
	orphaned bool // see orphan
	ended    error
	ready    int64 // loop clock at which the task became able to run
	wait     Timer // of the current wait
	deadline Timer
	pos      int // in Loop.all
	label    label
	delay    Delay
	usage    Usage

	yieldChecks yieldChecks

	estimated bool // ready is an estimate

	cause     atomic.Pointer[error]
	doneMu    sync.Mutex
	done      chan struct{}
	afterDone []*func()
	retained  atomic.Bool // not reused, because other code may still call Err or Done
}

// Start makes a task and queues it behind the tasks that are ready. When Runner.Done calls
// Start, the new task runs right after the one that ends. The error is ErrTooManyTasks
// or ErrClosed; neither Run nor Done is called then.
func (l *Loop) Start(r Runner) (*Task, error) { return l.StartOf(r, nil) }

// StartReserved is Start with room for some tasks beyond Limits.TaskMax: a sixteenth of it,
// and at least 16. It is for tasks that refuse work when Start has failed.
func (l *Loop) StartReserved(r Runner) (*Task, error) {
	return l.start(r, nil, l.limits.TaskMax+max(16, l.limits.TaskMax/16))
}

// newTask makes a task with an idle coroutine or a new one, unless taskMax tasks are alive.
func (l *Loop) newTask(r Runner, taskMax int) (*Task, error) {
	if l.closed {
		return nil, ErrClosed
	}
	if l.tasks >= taskMax {
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
	t.pos = len(l.all)
	l.all = append(l.all, t)
	l.tasks++
	l.stats.Tasks++
	return t, nil
}

// makeCoroutine makes the coroutine of a new task. A coroutine made on a locked thread can
// be resumed on that thread only, so another goroutine makes it there.
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

// coroutine runs one Runner after the other. Between them the task is idle.
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

// run runs the Runner and records how it ended: return, panic, Goexit or unwind. A panic
// that crossed the coroutine would lose the handler's frames, and a Goexit would end the
// loop's goroutine.
func (t *Task) run() {
	returned := false
	defer func() {
		if returned {
			return
		}
		switch p := recover(); p.(type) {
		case nil: // Goexit: this goroutine ends, and the loop goes on
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

// comeInside enters the loop after the task's code has ended.
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

// releaseThread unlocks a thread that a handler has left locked. A coroutine switch on a
// locked thread would end the process.
func (t *Task) releaseThread() {
	for range 1 << 16 {
		if !threadLocked() {
			return
		}
		runtime.UnlockOSThread()
	}
}

// enqueue queues t. ready is the time since which it can run.
func (l *Loop) enqueue(t *Task, ready int64) {
	t.state = taskReady
	t.ready, t.estimated = ready, l.estimated
	l.queue(t)
}

// resume runs one slice of t, to its next wait, its end or the handoff. It reports false when the
// loop was taken meanwhile; the caller must then not touch the loop. Only the dispatcher
// calls it, and never inside a coroutine.
func (l *Loop) resume(t *Task) bool {
	start := max(l.now, l.lastStart+1)
	if l.late != nil && start-t.ready >= lateMin {
		l.late.SliceLate(l, t, t.ready, start)
	}
	l.begin(t, start)
	t.next()
	switch t.region.word.Load() {
	case released: // by ForceHandoff: RunReleased runs it on
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

// endSlice counts and reports the slice of t that ended now, or whose loop was taken.
func (l *Loop) endSlice(t *Task, taken bool) {
	start := l.lastStart
	l.slice.betweenTasks(l.now)
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

// begin publishes that a slice of t runs since start.
func (l *Loop) begin(t *Task, start int64) {
	l.lastStart = start
	t.state = taskRunning
	l.running = t
	t.since = start
	l.slice.begin(t, start)
}

// finish calls Runner.Done and puts the coroutine back into the pool.
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

// discard stops a coroutine in Goexit. That also ends the goroutine that stops it, so a
// new goroutine does it.
func (l *Loop) discard(t *Task) { go t.stop() }

// Loop returns the loop that the task runs on. Any goroutine.
func (t *Task) Loop() *Loop { return t.loop }

// ID returns a number that is unique among the loop's tasks.
func (t *Task) ID() uint64 { return t.id }

// Waker ends one wait of one task. It is a value and may be copied. It does nothing when
// it is used a second time, or after the wait or the task has ended.
type Waker struct {
	task  *Task
	epoch uint64
}

// Prepare begins a wait. The Waker that it returns ends the next Park, also when it is used
// before Park is called. Wakers of earlier waits become void.
func (t *Task) Prepare() Waker {
	defer t.Leave(t.Enter())
	t.epoch++
	t.signaled = false
	return Waker{t, t.epoch}
}

// Park gives the loop back until the wait's Waker is used or the task is cancelled. It then
// returns nil or the cause, at once if that has happened already. It does not wait and
// returns ErrForeignGoroutine when another goroutine than the task's calls it, and
// ErrThreadLocked when the task holds its OS thread.
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

// MayPark returns the error with which Park would refuse to wait, or nil.
func (t *Task) MayPark() error {
	if t.g != getg() {
		return ErrForeignGoroutine
	}
	if threadLocked() {
		return ErrThreadLocked
	}
	return nil
}

// suspend switches from the coroutine to the goroutine that resumed it.
func (t *Task) suspend() {
	if t.stopping || !t.yield(struct{}{}) {
		t.stopping = true
		t.state = taskRunning
		panic(unwind{})
	}
}

// Wake ends the wait and queues the task. It is for the loop's goroutine and the loop's
// tasks, and panics on other goroutines, which use Post.
func (w Waker) Wake() {
	if w.task != nil {
		w.WakeAt(w.task.loop.readySince())
	}
}

// WakeAt is Wake for an event that has been ready since the given time on the loop clock.
// The task's wait for the loop counts from then.
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

// Post is Wake for any goroutine. It returns false when the loop has stopped; it has no
// other bound.
func (w Waker) Post() bool {
	at := w.task.loop.driver.Now()
	return w.task.loop.post(func() { w.WakeAt(at) }, math.MaxInt, false)
}

// retain marks the Task: it is not reused after its end, because other code may still
// call Err or Done. Any goroutine, while the task lives.
func (t *Task) retain() { t.retained.Store(true) }
