// Sleep, Yield and YieldIfDue; WakeAfter, the timeout of a wait; and parkThrough, the wait
// of a join, which a cancellation does not end. Sleep is built on Park and WakeAfter; Yield
// and parkThrough suspend the task themselves.

package loop

import "time"

// Sleep waits for d and gives the loop back meanwhile. It returns the cause early when
// the task is cancelled. Otherwise it returns up to 0.26 ms after it is due, if the loop is
// free; a held loop adds its delay.
func (t *Task) Sleep(d time.Duration) error {
	if err := t.MayPark(); err != nil {
		return err
	}
	defer t.Leave(t.Enter())
	if d <= 0 {
		return t.Err()
	}
	t.Prepare()
	t.WakeAfter(d)
	return t.Park()
}

// WakeAfter gives the current wait (see Prepare) a timeout: it ends the wait after d, as
// a Waker does, and Park returns nil. A wait that ends before removes the timeout.
func (t *Task) WakeAfter(d time.Duration) {
	defer t.Leave(t.Enter())
	t.wait.Owner = t
	t.loop.AfterFunc(&t.wait, d, waitTimedOut)
}

// waitTimedOut ends the wait that armed the timer. The timer is disarmed when a wait ends,
// so the current wait is that one.
func waitTimedOut(tm *Timer) {
	t := tm.Owner.(*Task)
	Waker{t, t.epoch}.WakeAt(tm.due)
}

// Yield gives the loop back and returns once all tasks and I/O that are ready now have been
// handled, except heavy tasks, which run one at a time (see Loop.StartOf). The error is the
// cause of a cancelled task, ErrForeignGoroutine or ErrThreadLocked.
func (t *Task) Yield() error {
	if err := t.MayPark(); err != nil {
		return err
	}
	defer t.Leave(t.Enter())
	if err := t.Err(); err != nil {
		return err
	}
	t.epoch++
	t.signaled = false
	t.state = taskReady
	t.ready, t.estimated = t.loop.driver.Now(), false
	t.loop.yielded.push(t)
	t.suspend()
	return t.Err()
}

// YieldIfDue yields if the slice has used half of its time, and returns nil at once
// otherwise. Call it in loops that compute. The time of a slice is its budget or its
// handoff time, the shorter of the two. Most calls are a comparison and do not read
// the clock (BenchmarkYieldIfDue).
func (t *Task) YieldIfDue() error {
	a := &t.yieldChecks
	a.calls++
	if a.calls < a.next {
		return nil
	}
	now := t.loop.driver.Now()
	due := int64(t.Budget())
	if handoff := t.handoffTime(); handoff > 0 {
		due = min(due, handoff)
	}
	due /= 2
	// Skip about as many calls as fit in due/8, judged by the last interval.
	calls, took := int64(a.calls-a.readCalls), max(now-a.readAt, 1)
	a.next = a.calls + uint64(min(max(due/8*calls/took, 1), yieldChecksMax))
	a.readAt, a.readCalls = now, a.calls
	if now-t.since < due {
		return nil
	}
	return t.Yield()
}

// yieldChecks counts a task's calls of YieldIfDue.
type yieldChecks struct {
	calls, next uint64 // calls so far; the call that reads the clock again
	readAt      int64  // time of the last reading
	readCalls   uint64 // call of the last reading
}

// yieldChecksMax bounds the calls of YieldIfDue between two readings of the clock, because
// later calls may be further apart than earlier ones.
const yieldChecksMax = 32

// parkThrough waits for the Waker of the current wait, also when the task is cancelled.
// Then it calls interrupt once and waits on until the interrupted work has ended. It
// returns the cause, if any. The caller has checked MayPark.
func (t *Task) parkThrough(interrupt func(cause error)) error {
	defer t.Leave(t.Enter())
	ended, interrupted := false, false
	defer func() {
		if !ended { // unwound
			interrupt(ErrShutdown)
		}
	}()
	for !t.signaled {
		if cause := t.cause.Load(); cause != nil && !interrupted {
			interrupted = true
			interrupt(*cause)
			continue
		}
		t.state = taskParked
		t.suspend()
	}
	ended = true
	t.endWait()
	return t.Err()
}
