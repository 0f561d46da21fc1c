// The observer's side of loops and tasks: what a watchdog, a metrics page or a tracer reads,
// and LoopControl.AddDelay, by which a watchdog charges a delay to a task. slice.go has the
// record of the running slice, describe.go the description of a task, goruntime.go the names
// of goroutine states.

package loop

import (
	"time"
	"unsafe"

	"tafe/loop/internal/goruntime"
)

// Observer is called at the end of each slice, on the loop's goroutine. Its methods
// must be quick, and must neither block nor allocate.
type Observer interface {
	// SliceEnd reports the slice of t from start to end (loop clock, ns). The task was
	// able to run at ready: start-ready is the time that it waited for the loop.
	SliceEnd(l *Loop, t *Task, ready, start, end int64)
}

// LateObserver is an Observer that is also called before slices that begin late.
type LateObserver interface {
	Observer
	// SliceLate comes before a slice of t that starts 0.5 ms or more after ready.
	SliceLate(l *Loop, t *Task, ready, start int64)
}

// lateMin is the wait for the loop from which SliceLate is called, ns.
const lateMin = int64(500 * time.Microsecond)

// ReleaseObserver is an Observer that is also called for slices whose loop was taken.
type ReleaseObserver interface {
	Observer
	// Released reports that the loop was taken at the given time from the slice of
	// t that began at start. It replaces SliceEnd for this slice; ready is as in SliceEnd.
	// It runs on the loop's goroutine, under the rules of Observer, while the code of t
	// runs on.
	Released(l *Loop, t *Task, ready, start, taken int64)
	// Returned reports that the code of t, which ran beside the loop, asked for its loop
	// at the given time. start is the start of its slice. It is called for tasks
	// that were released and for those that left by Task.Beside. It runs on the OS
	// thread that ran the code, beside the loop, so it may come before Released;
	// TaskView.ReturnedAt is set already. The task does not run meanwhile.
	Returned(l *Loop, t *Task, start, back int64)
}

// Stats are counters of a loop since its start, and gauges.
type Stats struct {
	Slices, Tasks, Panics, Goexits, Posts, TimersFired uint64
	Handoffs, NotReleased                              uint64 // slices whose loop was taken; those beyond ReleasedMax
	TasksAlive, CoroutinesIdle, Timers, Queued         int
	Released                                           int // tasks that run beside the loop
}

// LoopView has the methods by which other code observes a loop. Any goroutine may call
// them while the loop runs or is held.
type LoopView struct{ l *Loop }

// Observe returns the methods for observers of the loop.
func (l *Loop) Observe() LoopView { return LoopView{l} }

// Slice returns the record of the slice that the loop is running.
func (v LoopView) Slice() *Slice { return &v.l.slice }

// Stats returns the counters and gauges. It does not stop the loop, which may write
// meanwhile: the numbers are not one consistent snapshot.
//
//go:norace
func (v LoopView) Stats() Stats {
	l := v.l
	s := l.stats
	s.TasksAlive, s.CoroutinesIdle = l.tasks, len(l.idle)
	s.Released, s.NotReleased = v.Released(), l.notReleased.Load()
	s.Timers, s.Queued = l.wheel.count, l.runq.size+l.yielded.size+l.heavies.size
	return s
}

// Times returns the distributions of the lengths of slices, and of the times that tasks
// waited for the loop before each. The loop may write meanwhile, so that a slice
// may be counted in one of them only.
//
//go:norace
func (v LoopView) Times() (slices, lags Histogram) { return v.l.slices, v.l.lags }

// TurnedAt returns the time at which the loop last read its clock, in a turn or at the
// end of a slice. A Steward makes idle loops turn once a second: a loop that has not
// turned for longer is held, or its driver has stopped.
//
//go:norace
func (v LoopView) TurnedAt() int64 { return v.l.now }

// Waiting returns about how many tasks, posted functions and descriptors with events
// wait for the loop. It makes system calls: call it only while the loop is held.
func (v LoopView) Waiting() int {
	l := v.l
	l.postMu.Lock()
	n := len(l.posted)
	l.postMu.Unlock()
	n += v.Stats().Queued
	if d, ok := l.driver.(interface{ Waiting() int }); ok {
		n += d.Waiting()
	}
	return n
}

// TraceArrivals asks the driver to find out, for each connection it reads, since
// when the bytes have been waiting; tasks that they start or wake are ready since
// then. It costs 1.3 us for each read, so it is meant for the turns that follow a
// long slice. The times are estimates (TCP, up to a kernel tick of error).
func (v LoopView) TraceArrivals(on bool) { v.l.tracing.Store(on) }

// State returns TaskView.State of the task that the loop runs, or else of the
// loop's own goroutine.
func (v LoopView) State() string {
	l := v.l
	if l.gid.Load() == 0 {
		return StateUnknown
	}
	if since, t, ok := l.slice.Load(); ok {
		if state := t.Observe().State(); l.slice.Still(since) {
			return state
		}
		return StateUnknown // it may be of another slice
	}
	return goruntime.StateOf(unsafe.Pointer(l.owner.Load()))
}

// Thread returns the id of the OS thread that the loop, or the task that it
// runs, is on at this moment, or 0; see TaskView.Thread.
func (v LoopView) Thread() int {
	l := v.l
	if l.gid.Load() == 0 {
		return 0
	}
	if _, t, ok := l.slice.Load(); ok {
		return t.Observe().Thread()
	}
	return goruntime.ThreadOf(unsafe.Pointer(l.owner.Load()))
}

// GoroutineID returns the number of the loop's own goroutine in stack dumps, 0
// before its first turn.
func (v LoopView) GoroutineID() uint64 { return v.l.gid.Load() }

// Released returns the number of tasks that run beside the loop.
func (v LoopView) Released() int { return int(v.l.released.count.Load()) }

// ReleasedGoroutines returns the numbers, in stack dumps, of the goroutines of the
// tasks that run beside the loop.
func (v LoopView) ReleasedGoroutines() (ids []uint64) {
	v.l.released.each(func(r releasedTask) { ids = append(ids, r.task.gid.Load()) })
	return ids
}

// EachTaken calls f for each task that the loop was taken from and that has not
// rejoined it. start is the start of its slice. f must not call the loop.
func (v LoopView) EachTaken(f func(t *Task, start int64)) {
	v.l.released.each(func(r releasedTask) {
		if r.taken {
			f(r.task, r.task.since)
		}
	})
}

// EachLeft calls f for each task that has left the loop by Task.Beside and has not
// rejoined it, with the time at which it left. f must not call the loop.
func (v LoopView) EachLeft(f func(t *Task, left int64)) {
	v.l.released.each(func(r releasedTask) {
		if !r.taken {
			f(r.task, r.task.left)
		}
	})
}

// TaskView has the methods by which observers read a task. Unless a method says otherwise, it
// is for the loop's goroutine and the task's own.
type TaskView struct{ t *Task }

// Observe returns the methods for observers of the task. Any goroutine.
func (t *Task) Observe() TaskView { return TaskView{t} }

// Runner returns the task's Runner.
func (v TaskView) Runner() Runner { return v.t.runner }

// State returns what the task's goroutine does at this moment, or StateUnknown, in a few
// ns. Any goroutine, while the task runs its slice.
func (v TaskView) State() string {
	if v.t.gid.Load() == 0 {
		return StateUnknown
	}
	return goruntime.StateOf(v.t.g)
}

// Thread returns the id of the OS thread that runs the task's goroutine at this
// moment, or 0 while none does. It is always 0 if RuntimeSupport.Threads is false. A task
// that the loop runs and that has no thread waits inside the Go runtime, or was
// preempted. Any goroutine, while the task runs its slice.
func (v TaskView) Thread() int {
	if v.t.gid.Load() == 0 {
		return 0
	}
	return goruntime.ThreadOf(v.t.g)
}

// GoroutineID returns the number of the task's goroutine in stack dumps; a later
// task may have the same. Any goroutine, while the task runs its slice.
func (v TaskView) GoroutineID() uint64 { return v.t.gid.Load() }

// Background reports whether Task.SetBackground was called. Any goroutine.
func (v TaskView) Background() bool { return v.t.label.background.Load() }

// RoutePattern returns the route given to Task.Describe, or nil. Any goroutine.
//
//go:norace
func (v TaskView) RoutePattern() *string { return v.t.label.route }

// ReadyEstimated reports whether the time at which the task became able to run this
// slice is an estimate (see LoopView.TraceArrivals). On the loop's goroutine.
func (v TaskView) ReadyEstimated() bool { return v.t.estimated }

// YieldChecks returns how often the task has called YieldIfDue so far.
func (v TaskView) YieldChecks() uint64 { return v.t.yieldChecks.calls }

// ReturnedAt returns the time, on the loop clock, at which the task asked for its loop
// after it ran beside it; 0 before that, and once the loop has it back. Any goroutine.
func (v TaskView) ReturnedAt() int64 { return v.t.returned.Load() }

// Returning reports whether the task has stopped after it ran beside its loop, and asks
// for the loop. That is so from the end of its code on, a moment before ReturnedAt is
// set. Any goroutine.
func (v TaskView) Returning() bool {
	word := v.t.region.word.Load()
	return word == returning || word == borrowing
}

// LeftAt returns the time, on the loop clock, at which the task left its loop by
// Task.Beside; 0 once it has rejoined it. For ReleaseObserver.Returned.
func (v TaskView) LeftAt() int64 { return v.t.left }

// Delay is the time that a task has waited for its loop because of others.
type Delay struct {
	Total   time.Duration
	Overrun uint64        // the id of the overrun it waited for the longest
	Longest time.Duration // of one overrun
}

// Delayed returns how long overruns of other tasks have kept this one waiting so
// far. It is zero without a watchdog.
func (v TaskView) Delayed() Delay { return v.t.delay }

// AddDelay charges to an overrun that t has waited for its loop. For the loop's Observer.
func (c LoopControl) AddDelay(t *Task, overrun uint64, d time.Duration) {
	delay := &t.delay
	delay.Total += d
	if d > delay.Longest {
		delay.Overrun, delay.Longest = overrun, d
	}
}

// Usage is the time that a task has had of its loop, and waited for it.
type Usage struct {
	Held   time.Duration // all its slices together
	Waited time.Duration // could have run, but the loop was busy
	// Handoffs is how often the loop was taken from the task. Taken is the part of
	// Held in those slices.
	Handoffs uint64
	Taken    time.Duration
}

// Usage returns the task's usage of its loop so far, with the slice that it is in.
func (v TaskView) Usage() Usage {
	t := v.t
	if t.g == getg() {
		defer t.Leave(t.Enter())
	}
	u := t.usage
	if l := t.loop; l.running == t {
		u.Held += time.Duration(l.driver.Now() - l.lastStart)
		u.Waited += time.Duration(max(0, l.lastStart-t.ready))
	}
	return u
}
