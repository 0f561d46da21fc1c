package loop

// waiter: one wait of the calling goroutine, whoever it is. A task of any loop
// parks; any other goroutine blocks. What is shared between loops and
// goroutines (connections, semaphores, flights, queues) waits by this.

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrOnLoop: a loop's own goroutine, in a Handler's method or a posted
// function, was asked to wait. Start a task for that.
var ErrOnLoop = errors.New("loop: a loop's own goroutine must not wait; start a task")

// directory is a Driver that knows the tasks of other loops than its own.
type directory interface {
	Current() *Task
}

// caller is the task that the calling goroutine is, of whichever loop; nil if
// it is none. The error is ErrOnLoop.
func (l *Loop) caller() (*Task, error) {
	if t := l.Current(); t != nil {
		return t, nil
	}
	if l.g == getg() {
		return nil, ErrOnLoop
	}
	if d, ok := l.driver.(directory); ok {
		return d.Current(), nil
	}
	return nil, nil
}

// waiter is a value: whoever wakes it may keep a copy. The zero waiter wakes
// nobody.
type waiter struct {
	waker Waker
	ch    chan struct{}
}

// waiterFor begins a wait of the calling goroutine, which is the task t, or
// none.
func waiterFor(t *Task) waiter {
	if t != nil {
		return waiter{waker: t.Prepare()}
	}
	return waiter{ch: make(chan struct{}, 1)}
}

// wake ends the wait. from is the loop whose goroutine calls, if that is known:
// a Post costs more than a Wake.
func (w waiter) wake(from *Loop) {
	switch {
	case w.ch != nil:
		select {
		case w.ch <- struct{}{}:
		default:
		}
	case w.waker.task == nil:
	case w.waker.task.loop == from:
		w.waker.Wake()
	case w.waker.task.loop.Current() != nil:
		w.waker.Wake()
	default:
		w.waker.Post()
	}
}

// wait returns nil once woken, and also when until, if not 0, has come on the
// clock of l; else a task's cause, ErrForeignGoroutine or ErrThreadLocked.
func (w waiter) wait(l *Loop, until int64) error {
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

// loopOf is the loop that a caller is on, for waiter.wake.
func loopOf(t *Task) *Loop {
	if t == nil {
		return nil
	}
	return t.loop
}

// line is a queue of those who wait for a condition, first come, first woken:
// a condition variable at which tasks park. Guarded by its owner's mutex.
type line struct{ queue []waiter }

// wait waits in the line, until woken or until, if not 0, has come on l's clock.
// mu is held before and after, and let go of meanwhile. Whoever gets an error,
// or does not want what it was woken for, passes it on with wakeOne.
func (n *line) wait(t *Task, l *Loop, mu sync.Locker, until int64) error {
	w := waiterFor(t)
	n.queue = append(n.queue, w)
	mu.Unlock()
	defer func() { // also when the task is unwound
		mu.Lock()
		if i := slices.Index(n.queue, w); i >= 0 {
			n.queue = slices.Delete(n.queue, i, i+1)
		}
	}()
	return w.wait(l, until)
}

func (n *line) wakeOne(from *Loop) {
	if len(n.queue) > 0 {
		next := n.queue[0]
		n.queue = slices.Delete(n.queue, 0, 1)
		next.wake(from)
	}
}

func (n *line) wakeAll(from *Loop) {
	for _, w := range n.queue {
		w.wake(from)
	}
	n.queue = nil
}

// turns lets one user at a time through. Guarded by its owner's mutex.
type turns struct {
	line
	taken bool
}

// take waits for the turn; mu is as for line.wait. It fails with stop's error as
// soon as that has one, and then the turn was not taken.
func (u *turns) take(t *Task, l *Loop, mu sync.Locker, until *int64, stop func() error) error {
	for {
		err := stop()
		if err == nil && !u.taken {
			u.taken = true
			return nil
		}
		if err == nil {
			err = u.wait(t, l, mu, *until)
		}
		if err != nil {
			u.pass(t)
			return err
		}
	}
}

// release ends the caller's turn.
func (u *turns) release(t *Task) {
	u.taken = false
	u.pass(t)
}

// pass wakes the next in line if the turn is free.
func (u *turns) pass(t *Task) {
	if !u.taken {
		u.wakeOne(loopOf(t))
	}
}
