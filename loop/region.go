package loop

// Handoff: a loop can be taken from a slice that holds it for too long. User code
// (a handler, a middleware) may be slow at any point; code that touches the loop
// may not be interrupted. One word per task says where its slice is:
//
//	inside    the task runs code that touches the loop, or does not run
//	outside   the slice that began at that clock time runs user code
//	released  the loop was taken from the slice: its code runs beside the loop
//	returning the released task has stopped and asks for the loop
//	borrowing the same, but its goroutine holds its OS thread; see loan.go
//	leaving   the task asks to be run beside the loop
//
// Only the task moves between inside and outside, and from released to returning or
// borrowing. Only the goroutine that takes the loop moves between outside and
// released, by compare-and-swap with the start of the slice that it means, so that
// it cannot meet a later one. A returning task is queued like any other, and goes on
// when the loop resumes it.

import (
	"math"
	"sync"
	"sync/atomic"
	"unsafe"
)

// region is a word as above. Outside is the start of the slice, which is positive.
type region struct{ word atomic.Int64 }

const (
	inside    = int64(0)
	released  = int64(-1)
	leaving   = int64(-2)
	returning = int64(-3)
	borrowing = int64(-4)
)

// Crossing is what Enter tells Leave.
type Crossing bool

// Enter begins code that touches the task's loop or what belongs to it. In user
// code it makes the loop the task's own until Leave; if the loop was taken
// meanwhile, it waits until the loop resumes the task. In code that is inside
// already it does nothing. The caller must hold no lock that other tasks of the
// loop take: Enter may wait. For a goroutine that is not the task's, and for a nil
// task, it does nothing.
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
			return true
		}
	}
	return true
}

// Leave ends what Enter has begun.
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
		t.forced()
	}
}

// Outside runs f as user code: the loop may be taken while f runs. It is for a
// Runner that calls code which is not its own. However f ends, the caller is
// inside again. In user code Outside only calls f.
func (t *Task) Outside(f func()) {
	if t.region.word.Load() != inside {
		f()
		return
	}
	defer t.Enter()
	t.Leave(true)
	f()
}

// Beside leaves the loop for user code that is known to be slow: the code that
// follows runs on another goroutine, until Enter. The calling goroutine must be
// the task's, inside. Where the loop's driver runs nothing beside it, or too many
// tasks are released, it is Leave.
func (t *Task) Beside() {
	l := t.loop
	if _, ok := l.driver.(besider); !ok || int(l.besides.count.Load()) >= l.limits.ReleasedMax || t.MayPark() != nil {
		t.region.word.Store(t.since)
		return
	}
	t.region.word.Store(leaving)
	t.suspend()
}

// forced asks l.force.
func (t *Task) forced() {
	l := t.loop
	if t.region.word.Load() != t.since || t.label.handoff.Load() < 0 || t.MayPark() != nil || !l.force(t) {
		return
	}
	if _, ok := l.driver.(besider); ok {
		t.Enter()
		t.Beside()
		return
	}
	if l.Drive().TakeFrom(t.since, t, true) {
		l.forcedOff = append(l.forcedOff, t)
		t.suspend()
	}
}

// besider is a Driver that runs functions on goroutines beside the loop.
type besider interface{ RunBeside(f func()) }

// besides are the tasks that run beside a loop, by their goroutines.
type besides struct {
	count atomic.Int32
	mu    sync.Mutex
	by    map[unsafe.Pointer]beside
}

type beside struct {
	task  *Task
	taken bool // the loop was, from the task; false: the task left it
}

func (b *besides) add(t *Task, taken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by == nil {
		b.by = map[unsafe.Pointer]beside{}
	}
	b.by[t.g] = beside{t, taken}
	b.count.Store(int32(len(b.by)))
}

func (b *besides) remove(t *Task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.by, t.g)
	b.count.Store(int32(len(b.by)))
}

// each calls f for each task that runs beside the loop.
func (b *besides) each(f func(beside)) {
	if b.count.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.by {
		f(one)
	}
}

func (b *besides) find(g unsafe.Pointer) *Task {
	if b.count.Load() == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.by[g].task
}

// TakeFrom takes the loop from the slice that Slice.Load reported, if that is still
// running user code: when somebody waits for the loop (a ready task, a due timer,
// a posted function, an event, output that was not sent yet), or in any case if force. It reports true when the
// loop was taken: then the caller must have some goroutine call Adopt. At most
// Limits.ReleasedMax tasks of a loop are released at once; beyond that TakeFrom
// reports false, and Stats.NotReleased counts it. Any goroutine but the loop's and
// those of its tasks.
func (c LoopControl) TakeFrom(since int64, t *Task, force bool) bool {
	l := c.l
	word := &t.region.word
	if !word.CompareAndSwap(since, released) {
		return false
	}
	// From here on nobody touches the loop: the task stops at Enter.
	full := int(l.besides.count.Load()) >= l.limits.ReleasedMax
	if full || !force && !l.awaited() {
		if full {
			l.notReleased.Add(1)
		}
		if word.CompareAndSwap(released, since) {
			return false
		}
	}
	l.besides.add(t, true)
	return true
}

// awaited tells whether somebody waits for the loop.
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
		return true // whoever is to answer what was written waits for it
	}
	p, ok := l.driver.(interface{ Pending() bool })
	return ok && p.Pending()
}

// Adopt makes the calling goroutine the owner of a loop that TakeFrom has taken, ends
// the slice that held it, and goes on where the dispatcher stood. The result is
// EndTurn's.
func (c LoopControl) Adopt() bool {
	l := c.l
	t := l.running
	l.own()
	l.inTurn = true
	l.now = l.driver.Now()
	l.slice.outside(l.now)
	l.running = nil
	l.endSlice(t, true)
	l.driver.Flush()
	if l.now >= l.armed {
		l.expire()
	}
	return l.dispatch()
}

// comeBack queues a task that was released and asks for its loop. It runs on the
// goroutine that resumed the task last, which does not own the loop.
func (l *Loop) comeBack(t *Task) {
	at := l.driver.Now()
	t.returned.Store(at)
	if o, ok := l.observer.(ReleaseObserver); ok {
		o.Returned(l, t, t.since, at)
	}
	if l.post(func() { l.rejoin(t, at) }, math.MaxInt, true) {
		return
	}
	// The loop has ended and nobody will resume the task: its deferred functions
	// run here, one task after the other.
	l.besides.remove(t)
	l.orphans.Lock()
	defer l.orphans.Unlock()
	t.region.word.Store(inside)
	t.stopping = true
	t.unwind()
}

// rejoin makes a task that has come back an ordinary one.
func (l *Loop) rejoin(t *Task, at int64) {
	l.besides.remove(t)
	t.returned.Store(0)
	t.left = 0
	t.region.word.Store(inside)
	l.enqueue(t, at)
}

// moveBeside runs a task that has asked for it beside the loop.
func (l *Loop) moveBeside(t *Task) {
	t.left = l.now
	l.besides.add(t, false)
	t.region.word.Store(released)
	l.driver.(besider).RunBeside(func() {
		t.next()
		l.comeBack(t)
	})
}
