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

// wake ends the wait. from is the loop whose goroutine calls, nil for others
// and when it is not known.
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

// turns lets one user at a time through; the others wait. Guarded by its
// owner's mutex, which take lets go of while it waits.
type turns struct {
	taken bool
	queue []waiter
}

// take waits for the turn. mu is held, before and after, also after an error,
// when the turn was not taken. It fails with stop's error as soon as that has one.
func (u *turns) take(t *Task, l *Loop, mu sync.Locker, until *int64, stop func() error) error {
	for {
		if err := stop(); err != nil {
			u.pass(t)
			return err
		}
		if !u.taken {
			u.taken = true
			return nil
		}
		w := waiterFor(t)
		u.queue = append(u.queue, w)
		at := *until
		mu.Unlock()
		err := w.wait(l, at)
		mu.Lock()
		if i := slices.Index(u.queue, w); i >= 0 {
			u.queue = slices.Delete(u.queue, i, i+1)
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

// pass wakes the next in the queue if the turn is free. Whoever was woken and
// does not want it any more passes it on.
func (u *turns) pass(t *Task) {
	if !u.taken && len(u.queue) > 0 {
		next := u.queue[0]
		u.queue = slices.Delete(u.queue, 0, 1)
		next.wake(loopOf(t))
	}
}

// wakeAll lets everybody look at stop again.
func (u *turns) wakeAll(from *Loop) {
	for _, w := range u.queue {
		w.wake(from)
	}
	u.queue = nil
}
