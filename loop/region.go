// Handoff: a loop can be taken from a slice that holds it for too long. User code (a
// handler, a middleware) may be interrupted at any point; code that uses the loop must not
// be. Enter and Leave mark the latter. The terms:
//
//	hand over  a loop gets another goroutine as its owner; handoff is the whole process
//	take       the first step, the steward's: after TakeFrom no goroutine owns the loop
//	adopt      the second step, a spare goroutine's: Adopt makes it the owner
//	released   the state of a task whose code runs without its loop
//	beside     where that code runs; a task also goes there by itself (Beside)
//
// One word per task says where its slice is:
//
//	inside    the task runs code that uses the loop, or does not run
//	outside   user code; the word is the start of its slice on the loop clock
//	leaving   the task has called Beside and has stopped
//	released  the code runs beside the loop, after TakeFrom or Beside
//	returning the released task has stopped and asks for the loop
//	borrowing like returning, for a task locked to its OS thread; see loan.go
//
//	from       to         moved by                      function
//	inside     outside    the task                      Leave
//	outside    inside     the task                      Enter
//	outside    released   the goroutine that takes it   TakeFrom
//	released   outside    the same                      TakeFrom, if nothing waits or too many are released
//	inside     leaving    the task                      Beside
//	leaving    released   the loop                      moveBeside
//	released   returning  the task                      Enter
//	returning  inside     the loop, which queues it     rejoin
//	released   borrowing  the task                      Enter
//	borrowing  inside     the task                      borrow
//	inside     released   the task                      endLoan
//
// The moves from outside are compare-and-swaps with the start of the slice, so that they fail
// if that slice has ended. After the end of the loop, comeBack, orphan and endOrphan move the
// word of a task that is unwound.

package loop

import (
	"context"
	"math"
	"runtime/trace"
	"sync"
	"sync/atomic"
	"unsafe"
)

// region holds a word as above. The start of a slice, for outside, is positive.
type region struct{ word atomic.Int64 }

const (
	inside    = int64(0)
	released  = int64(-1)
	leaving   = int64(-2)
	returning = int64(-3)
	borrowing = int64(-4)
)

// The runtime's trace has a log event of this category when a task moves beside its loop by itself, and when a task comes back. Without a
// trace the calls check one flag.
const (
	TraceCategory = "tafe.task"
	TraceBeside   = "beside"
	traceOnLoop   = "on the loop"
)

// Crossing is the result of Enter, for Leave.
type Crossing bool

// Enter begins code that uses the task's loop or what belongs to it (inside). From user
// code (outside) it keeps the loop from being taken until Leave. If the loop was taken
// already, it waits until the loop resumes the task, so the caller must hold no lock that
// other tasks of the loop take. It does nothing inside, on a goroutine that is not the
// task's, and for a nil task.
//
//	defer t.Leave(t.Enter())
func (t *Task) Enter() Crossing {
	if t == nil || t.region.word.Load() == inside || t.g != getg() {
		return false
	}
	word := &t.region.word
	for !word.CompareAndSwap(t.since, inside) {
		if threadLocked() {
			if word.CompareAndSwap(released, borrowing) {
				t.borrow()
				return true
			}
			continue
		}
		if word.CompareAndSwap(released, returning) {
			t.suspend() // the goroutine that it returns to queues the task
			trace.Log(context.Background(), TraceCategory, traceOnLoop)
			return true
		}
	}
	return true
}

// Leave ends the code that Enter began. entered is the result of Enter, or true in a
// Runner that is inside and goes on with user code.
func (t *Task) Leave(entered Crossing) {
	if !entered {
		return
	}
	if t.loan != nil {
		t.endLoan()
		return
	}
	t.region.word.Store(t.since)
	if t.loop.force != nil {
		t.askForce()
	}
}

// Outside runs f as user code, during which the loop may be taken. It is for a Runner that
// calls a handler. The caller is inside again after f, also when f panics. If the
// caller is outside already, Outside only calls f.
func (t *Task) Outside(f func()) {
	if t.region.word.Load() != inside {
		f()
		return
	}
	defer t.Enter()
	t.Leave(true)
	f()
}

// Beside leaves the loop for user code that is known to be slow. The code that follows
// runs beside the loop until Enter. The caller must be inside. If the driver cannot run
// released tasks, if Limits.ReleasedMax is reached, or if MayPark returns an error, Beside
// acts like Leave.
func (t *Task) Beside() {
	l := t.loop
	if _, ok := l.driver.(besideRunner); !ok || int(l.released.count.Load()) >= l.limits.ReleasedMax || t.MayPark() != nil {
		t.region.word.Store(t.since)
		return
	}
	trace.Log(context.Background(), TraceCategory, TraceBeside)
	t.region.word.Store(leaving)
	t.suspend()
}

// askForce calls l.force and releases the task if that returns true.
func (t *Task) askForce() {
	l := t.loop
	if t.region.word.Load() != t.since || t.label.handoff.Load() < 0 || t.MayPark() != nil || !l.force(t) {
		return
	}
	if _, ok := l.driver.(besideRunner); ok {
		t.Enter()
		t.Beside()
		return
	}
	if l.Drive().TakeFrom(t.since, t, true) {
		l.forcedOff = append(l.forcedOff, t)
		t.suspend()
	}
}

// besideRunner is a Driver that runs functions on goroutines beside the loop.
type besideRunner interface{ RunBeside(f func()) }

// releasedTasks are the tasks that run beside a loop, by their goroutines.
type releasedTasks struct {
	count atomic.Int32
	mu    sync.Mutex
	by    map[unsafe.Pointer]releasedTask
}

type releasedTask struct {
	task  *Task
	taken bool // the loop was taken from the task; false: the task has left by Beside
}

func (r *releasedTasks) add(t *Task, taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[unsafe.Pointer]releasedTask{}
	}
	r.by[t.g] = releasedTask{t, taken}
	r.count.Store(int32(len(r.by)))
}

func (r *releasedTasks) remove(t *Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.by, t.g)
	r.count.Store(int32(len(r.by)))
}

// each calls f for each task that runs beside the loop.
func (r *releasedTasks) each(f func(releasedTask)) {
	if r.count.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.by {
		f(one)
	}
}

func (r *releasedTasks) find(g unsafe.Pointer) *Task {
	if r.count.Load() == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by[g].task
}

// TakeFrom takes the loop from the slice that Slice.Load reported, if that slice still runs
// user code, and if work waits for the loop or force is set. Waiting work is a ready task,
// a due timer, a posted function, an event, or output that is not flushed. After true the
// caller must make a goroutine call Adopt. At most Limits.ReleasedMax tasks of a loop are
// released at once; beyond that TakeFrom returns false and Stats.NotReleased counts it. It
// returns true in either case if the task has asked for the loop meanwhile.
// Any goroutine but the loop's and those of its tasks.
func (c LoopControl) TakeFrom(since int64, t *Task, force bool) bool {
	l := c.l
	word := &t.region.word
	if !word.CompareAndSwap(since, released) {
		return false
	}
	// From here on no goroutine uses the loop: the task stops at Enter.
	full := int(l.released.count.Load()) >= l.limits.ReleasedMax
	if (full || !force && !l.awaited()) && word.CompareAndSwap(released, since) {
		if full {
			l.notReleased.Add(1)
		}
		return false
	}
	l.released.add(t, true)
	return true
}

// awaited reports whether work waits for the loop.
func (l *Loop) awaited() bool {
	if l.queued() > 0 || l.chained != nil {
		return true
	}
	if l.wheel.count > 0 && l.wheel.next() <= l.driver.Now() {
		return true
	}
	l.postMu.Lock()
	posted := len(l.posted)
	l.postMu.Unlock()
	if posted > 0 {
		return true
	}
	if u, ok := l.driver.(interface{ Unflushed() bool }); ok && u.Unflushed() {
		return true // a peer may wait for it
	}
	p, ok := l.driver.(interface{ Pending() bool })
	return ok && p.Pending()
}

// Adopt makes the calling goroutine the owner of a loop that TakeFrom has taken. It ends
// the slice that held the loop and continues the dispatcher. The result is EndTurn's.
func (c LoopControl) Adopt() bool {
	l := c.l
	t := l.running
	l.own()
	l.inTurn = true
	l.now = l.driver.Now()
	l.slice.betweenTasks(l.now)
	l.running = nil
	l.endSlice(t, true)
	l.more = false
	l.driver.Flush()
	if l.now >= l.armed {
		l.expire()
	}
	return l.dispatch()
}

// comeBack makes the loop queue a returning task. It runs on the goroutine that resumed
// the task last, which does not own the loop.
func (l *Loop) comeBack(t *Task) {
	at := l.driver.Now()
	t.returned.Store(at)
	if o, ok := l.observer.(ReleaseObserver); ok {
		o.Returned(l, t, t.since, at)
	}
	if l.post(func() { l.rejoin(t, at) }, math.MaxInt, true) {
		return
	}
	// The loop has ended and cannot resume the task. Its deferred functions run here,
	// one task after the other.
	l.released.remove(t)
	l.orphans.Lock()
	defer l.orphans.Unlock()
	t.region.word.Store(inside)
	t.stopping = true
	t.unwind()
}

// rejoin queues a task that has come back, like any ready task.
func (l *Loop) rejoin(t *Task, at int64) {
	l.released.remove(t)
	t.returned.Store(0)
	t.left = 0
	t.region.word.Store(inside)
	l.enqueue(t, at)
}

// moveBeside runs a task that has called Beside on another goroutine.
func (l *Loop) moveBeside(t *Task) {
	t.left = l.now
	l.released.add(t, false)
	t.region.word.Store(released)
	l.driver.(besideRunner).RunBeside(func() {
		t.next()
		l.comeBack(t)
	})
}
