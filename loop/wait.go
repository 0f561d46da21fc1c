package loop

// Waits that need nothing but Park: sleeping, yielding, and yielding only when
// somebody else is due.

import "time"

// Sleep waits for d, giving the loop back. It returns early with the cause when
// the task is cancelled. The resolution is 0.26 ms; it is never early.
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

// WakeAfter ends the current wait (see Prepare) after d: what gives any wait a
// timeout. Park returns nil then, as for any Waker, and forgets the timeout
// when the wait ends otherwise.
func (t *Task) WakeAfter(d time.Duration) {
	defer t.Leave(t.Enter())
	t.wait.Owner = t
	t.loop.AfterFunc(&t.wait, d, wakeWaiter)
}

// wakeWaiter ends the wait that armed the timer: Park disarms it at every
// other end, so the wait it finds is that one.
func wakeWaiter(tm *Timer) {
	t := tm.Owner.(*Task)
	Waker{t, t.epoch}.WakeAt(tm.due)
}

// Yield gives the loop back and goes on after the tasks that are ready and the
// I/O that is waiting now.
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

// YieldIfDue is Yield once the slice has used half of what it has, and nothing
// before: put it into loops that compute. What a slice has is its budget or, where
// that is shorter, the time after which it is handed over. Between two readings of
// the clock it is a comparison (BenchmarkYieldIfDue).
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
	// The clock is read again after as many calls as take an eighth of that, to
	// judge by those since the last reading.
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
	calls, next uint64 // so far; at which the clock is read again
	readAt      int64  // when it was read last
	readCalls   uint64 // and at which call
}

// yieldChecksMax bounds the calls of YieldIfDue between two readings of the clock: those
// to come may take longer than those before.
const yieldChecksMax = 32

// parkThrough waits for the current wait's Waker alone: when the task is
// cancelled it calls interrupt, once, and waits on until what was interrupted
// has ended. It returns the cause, if any. The caller has asked MayPark.
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
