// How a call waits, and how its context, a faster hedge or the pool interrupts it.

package client

import (
	"context"
	"time"

	"tafe/loop"
)

// sleep waits for wake, an interruption, or the time until on the clock of the pool. It may return early.
func (x *call) sleep(until int64) (late bool, err error) {
	d := time.Duration(until - x.pool.clock())
	if d <= 0 {
		return true, nil
	}
	if x.task != nil {
		w := x.task.Prepare()
		x.mu.Lock()
		x.waker = w
		cause := x.cause
		x.mu.Unlock()
		if cause != nil {
			return false, cause
		}
		x.task.WakeAfter(d)
		err = x.task.Park()
	} else {
		timer := time.NewTimer(d)
		select {
		case <-x.signal:
		case <-timer.C:
		}
		timer.Stop()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause != nil {
		err = x.cause
	}
	return x.pool.clock() >= until, err
}

// wake ends a sleep. onLoop means that the caller runs on the loop of x.
func (x *call) wake(onLoop bool) {
	if x.signal != nil {
		select {
		case x.signal <- struct{}{}:
		default:
		}
		return
	}
	x.mu.Lock()
	w := x.waker
	x.mu.Unlock()
	switch {
	case onLoop:
		w.Wake()
	case w != (loop.Waker{}):
		w.Post()
	}
}

// watchContext interrupts x when ctx is cancelled.
func (x *call) watchContext(ctx context.Context) error {
	if ctx.Done() == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &Error{Kind: KindCancelled, Stage: StagePrepare, Addr: x.host.addr, Err: context.Cause(ctx)}
	}
	gen := x.gen.Load()
	x.ctx = ctx
	x.unwatch = context.AfterFunc(ctx, func() { x.interrupt(gen, context.Cause(ctx)) })
	return nil
}

// interrupt ends the use gen of x with cause: it closes the connection unless it is to be kept, cancels the dial and
// ends the sleep. It has no effect if x has been recycled. It may be called from any goroutine.
func (x *call) interrupt(gen uint64, cause error) {
	x.mu.Lock()
	if x.gen.Load() != gen || x.cause != nil {
		x.mu.Unlock()
		return
	}
	x.cause = cause
	if x.cancelDial != nil {
		x.cancelDial()
	}
	switch { // under mu, so that it is still the connection of x
	case x.interruptible == nil:
	case x.kept:
		_ = x.interruptible.SetReadDeadline(time.Unix(1, 0)) // ends the Read; abandonConn then decides
	default:
		x.broken = true
		_ = x.interruptible.Close()
	}
	x.mu.Unlock()
	x.wake(false)
}

// onInterrupt sets a function for interrupt to call. It returns false if x was already interrupted.
func (x *call) onInterrupt(cancel func()) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancelDial = cancel
	return x.cause == nil
}

// attach makes c the connection of x. It returns false if x was already interrupted.
func (x *call) attach(c *conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause != nil {
		return false
	}
	x.conn, x.interruptible = c, c
	return true
}

// keepOnInterrupt sets whether an interruption leaves the connection open, so that a late response can be read. It
// returns false if x was already interrupted.
func (x *call) keepOnInterrupt(on bool) bool {
	if x.options().LateTimeout <= 0 || x.pool.loop == nil {
		return true // late responses are not read; interrupt closes the connection
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept = on
	return x.cause == nil
}

// detach removes the connection from x. clean is false if an interruption has closed it.
func (x *call) detach() (c *conn, clean bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c = x.conn
	x.conn, x.interruptible = nil, nil
	return c, !x.broken
}
