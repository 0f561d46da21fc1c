package loop

// Waiter: one wait of the calling goroutine, whoever it is. A task of any loop
// parks; any other goroutine blocks. What is shared between loops and
// goroutines (connections, semaphores, flights, queues) waits by this.

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrOnLoop: a loop's own goroutine, in a callback or a posted function, was asked
// to wait. Start a task for that.
var ErrOnLoop = errors.New("loop: a loop's own goroutine must not wait; start a task")

// directory is a Driver that knows the tasks of other loops than its own.
type directory interface {
	Current() *Task
}

// Caller returns the task that the calling goroutine is, of whichever loop; nil if
// it is none. The error is ErrOnLoop.
func (l *Loop) Caller() (*Task, error) {
	if t := l.Current(); t != nil {
		return t, nil
	}
	if l.isOwner() {
		return nil, ErrOnLoop
	}
	if d, ok := l.driver.(directory); ok {
		return d.Current(), nil
	}
	return nil, nil
}

// Waiter is one wait of one goroutine: a task parks, any other goroutine blocks.
// It is a value, and may be copied. The zero Waiter wakes nobody.
type Waiter struct {
	waker Waker
	ch    chan struct{}
}

// WaiterFor begins a wait of the calling goroutine: of the task t, or, when t is
// nil, of a goroutine that is no task.
func WaiterFor(t *Task) Waiter {
	if t != nil {
		return Waiter{waker: t.Prepare()}
	}
	return Waiter{ch: make(chan struct{}, 1)}
}

// Wake ends the wait. It never waits itself. Any goroutine.
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
	// On the loop of the waiting task a Post, with its system call, is not needed.
	if caller, entered, ok := w.waker.task.loop.tryTouch(); ok {
		w.waker.Wake()
		caller.Leave(entered)
		return
	}
	w.waker.Post()
}

// Wait returns nil once woken, and also when until, if not 0, has come on the
// clock of l; else the task's cause, ErrForeignGoroutine or ErrThreadLocked. l
// may be nil when until is 0.
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

// Cond is a condition variable at which tasks park and other goroutines block;
// the first to wait is the first to be woken. The mutex of its owner guards it.
type Cond struct{ queue []Waiter }

// Wait waits until Signal or Broadcast wakes the caller, or until, if not 0, has
// come on the clock of l. t is the calling task, nil for another goroutine. The
// caller holds mu, which is unlocked meanwhile; a task has called Enter before it
// locked mu. A caller that gets an error, or
// does not use what it was woken for, calls Signal. The errors are those of
// Waiter.Wait.
func (n *Cond) Wait(t *Task, l *Loop, mu sync.Locker, until int64) error {
	w := WaiterFor(t)
	n.queue = append(n.queue, w)
	mu.Unlock()
	defer func() { // also when the task is unwound
		mu.Lock()
		if i := slices.Index(n.queue, w); i >= 0 {
			n.queue = slices.Delete(n.queue, i, i+1)
		}
	}()
	return w.Wait(l, until)
}

// Signal wakes the caller of Wait that waits for the longest time.
func (n *Cond) Signal() {
	if len(n.queue) > 0 {
		next := n.queue[0]
		n.queue = slices.Delete(n.queue, 0, 1)
		next.Wake()
	}
}

// Broadcast wakes all callers of Wait.
func (n *Cond) Broadcast() {
	for _, w := range n.queue {
		w.Wake()
	}
	n.queue = nil
}
