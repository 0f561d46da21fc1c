// Waiter and Cond: one wait for tasks, which park, and other goroutines, which block.
// Connections, semaphores, flights and queues are built on them. Loop.Caller tells which of
// the two the caller is, and returns ErrOnLoop on a loop outside tasks, where waiting is not
// allowed.

package loop

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrOnLoop is returned where a loop's own goroutine, in a callback or a posted function,
// would have to wait. Start a task that waits instead.
var ErrOnLoop = errors.New("loop: a loop's own goroutine must not wait; start a task")

// currentFinder is a Driver that also finds tasks of other loops than its own.
type currentFinder interface {
	Current() *Task
}

// Caller returns the task whose goroutine calls it, or nil on a goroutine that is not a
// task's. The task may belong to another loop, if the driver knows those. On the
// loop's own goroutine, outside tasks, it returns ErrOnLoop. Any goroutine.
func (l *Loop) Caller() (*Task, error) {
	if t := l.Current(); t != nil {
		return t, nil
	}
	if l.isOwner() {
		return nil, ErrOnLoop
	}
	if d, ok := l.driver.(currentFinder); ok {
		return d.Current(), nil
	}
	return nil, nil
}

// Waiter is one wait of one goroutine: a task parks, any other goroutine blocks. It is a
// value and may be copied. Wake of the zero Waiter does nothing.
type Waiter struct {
	waker Waker
	ch    chan struct{}
}

// WaiterFor begins a wait of the calling goroutine: of the task t, or, when t is
// nil, of a goroutine that is not a task's.
func WaiterFor(t *Task) Waiter {
	if t != nil {
		return Waiter{waker: t.Prepare()}
	}
	return Waiter{ch: make(chan struct{}, 1)}
}

// Wake ends the wait. It does not block. Any goroutine.
func (w Waiter) Wake() {
	if w.ch != nil {
		select {
		case w.ch <- struct{}{}:
		default:
		}
		return
	}
	if w.waker.task == nil {
		return
	}
	// On the loop of the waiting task no Post, with its system call, is needed.
	if caller, entered, ok := w.waker.task.loop.tryTouch(); ok {
		w.waker.Wake()
		caller.Leave(entered)
		return
	}
	w.waker.Post()
}

// Wait returns nil after Wake, or when the clock of l has reached until. An until of 0 is
// no timeout, and l may be nil then. The error is the cause of a cancelled task,
// ErrForeignGoroutine or ErrThreadLocked.
func (w Waiter) Wait(l *Loop, until int64) error {
	if t := w.waker.task; t != nil {
		if until != 0 {
			t.WakeAfter(time.Duration(max(until-l.Clock(), 1)))
		}
		return t.Park()
	}
	if until == 0 {
		<-w.ch
		return nil
	}
	timer := time.NewTimer(time.Duration(until - l.Clock()))
	defer timer.Stop()
	select {
	case <-w.ch:
	case <-timer.C:
	}
	return nil
}

// Cond is a condition variable at which tasks park and other goroutines block. They are
// woken in the order in which they came. The caller's mutex guards it.
type Cond struct{ waiters []Waiter }

// Wait waits until Signal or Broadcast wakes the caller, or until the clock of l has
// reached until, if that is not 0. t is the calling task, nil for another goroutine. The
// caller holds mu, which is unlocked during the wait; a task has called Enter before it
// locked mu. A caller that gets an error, or that does not use the condition it was woken
// for, calls Signal to pass the wake-up on. The errors are those of Waiter.Wait.
func (c *Cond) Wait(t *Task, l *Loop, mu sync.Locker, until int64) error {
	w := WaiterFor(t)
	c.waiters = append(c.waiters, w)
	mu.Unlock()
	defer func() { // also when the task is unwound
		mu.Lock()
		if i := slices.Index(c.waiters, w); i >= 0 {
			c.waiters = slices.Delete(c.waiters, i, i+1)
		}
	}()
	return w.Wait(l, until)
}

// Signal wakes the caller of Wait that has waited the longest.
func (c *Cond) Signal() {
	if len(c.waiters) > 0 {
		next := c.waiters[0]
		c.waiters = slices.Delete(c.waiters, 0, 1)
		next.Wake()
	}
}

// Broadcast wakes all callers of Wait.
func (c *Cond) Broadcast() {
	for _, w := range c.waiters {
		w.Wake()
	}
	c.waiters = nil
}
