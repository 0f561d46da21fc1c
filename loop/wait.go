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

// YieldIfDue is Yield once the slice has used half of its budget, and nothing
// before: put it into loops that compute, and they never overrun. While it is
// not due it costs two loads on a loop with a watchdog, which tells when it is,
// and one clock reading without (BenchmarkYieldIfDue).
func (t *Task) YieldIfDue() error {
	t.asked++
	l := t.loop
	if l.slice.due.Load() != t.since {
		if l.late != nil && t.asked%8 != 0 { // the watchdog itself may be late
			return nil
		}
		if l.driver.Now()-t.since < int64(t.Budget())/2 {
			return nil
		}
	}
	return t.Yield()
}

// ParkThrough waits for the current wait's Waker alone: when the task is
// cancelled it calls interrupt, once, and waits on until what was interrupted
// has ended. It returns the cause, if any. The caller has asked MayPark.
func (t *Task) ParkThrough(interrupt func(cause error)) error {
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
