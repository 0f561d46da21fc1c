// Cancellation of a task: its cause, its deadline, and Done for other goroutines.

package loop

import (
	"context"
	"slices"
	"time"
)

// Cancel makes the current wait, and every later one, return cause. The first cause
// stays. A running task gets it at its next wait.
func (t *Task) Cancel(cause error) {
	caller, entered := t.loop.touch()
	defer caller.Leave(entered)
	if t.cause.Load() != nil || t.runner == nil {
		return
	}
	t.cause.Store(&cause)
	t.closeDone()
	if t.state == taskParked {
		t.loop.enqueue(t, t.loop.readySince())
	}
}

// SetDeadline cancels the task with context.DeadlineExceeded after d. A later call
// replaces an earlier one. d <= 0 removes the deadline.
func (t *Task) SetDeadline(d time.Duration) {
	caller, entered := t.loop.touch()
	defer caller.Leave(entered)
	if d <= 0 {
		t.loop.StopTimer(&t.deadline)
		return
	}
	t.deadline.Owner = t
	t.loop.AfterFunc(&t.deadline, d, deadlinePassed)
}

// Err returns the cause with which the task was cancelled, or nil. Any goroutine.
func (t *Task) Err() error {
	if cause := t.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// Done returns a channel that is closed when the task is cancelled or ends. The first
// call allocates it. Any goroutine.
func (t *Task) Done() <-chan struct{} {
	t.retained.Store(true) // before cause is read: Cancel reads it after it has set cause
	t.doneMu.Lock()
	defer t.doneMu.Unlock()
	if t.done == nil {
		if t.cause.Load() != nil {
			return closedChan
		}
		t.done = make(chan struct{})
	}
	return t.done
}

// AfterFunc calls f on a goroutine of its own when the task is cancelled or ends, at once if
// that has happened. stop prevents the call, and reports whether it did. Any goroutine.
//
// Package context looks for this method: context.AfterFunc, WithCancel and WithTimeout then
// start no goroutine that waits for Done.
func (t *Task) AfterFunc(f func()) (stop func() bool) {
	t.retained.Store(true)
	t.doneMu.Lock()
	defer t.doneMu.Unlock()
	if t.done == closedChan || t.cause.Load() != nil {
		go f()
		return func() bool { return false }
	}
	own := &f
	t.afterDone = append(t.afterDone, own)
	return func() bool {
		t.doneMu.Lock()
		defer t.doneMu.Unlock()
		i := slices.Index(t.afterDone, own)
		if i >= 0 {
			t.afterDone = slices.Delete(t.afterDone, i, i+1)
		}
		return i >= 0
	}
}

func (t *Task) closeDone() {
	if !t.retained.Load() {
		return
	}
	t.doneMu.Lock()
	defer t.doneMu.Unlock()
	if t.done != nil && t.done != closedChan {
		close(t.done)
	}
	t.done = closedChan
	for _, f := range t.afterDone {
		go (*f)()
	}
	t.afterDone = nil
}

func deadlinePassed(tm *Timer) { tm.Owner.(*Task).Cancel(context.DeadlineExceeded) }

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
