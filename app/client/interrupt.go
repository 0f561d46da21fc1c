package client

// This file owns how an exchange waits, and what can end that from outside: the
// caller's context, a faster try, the pool. It refuses to know what is waited
// for.

import (
	"context"
	"time"

	"tafe/loop"
)

// sleep waits for wake, an interruption, or the time until on the pool's clock.
// It may return early for no reason.
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

// wake ends a sleep. onLoop says that the caller runs where x does.
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

// follow has ctx interrupt the exchange.
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

// interrupt ends use gen of x with cause, wherever it is: its connection is
// closed, unless it is spared, its dialling cancelled, its sleep ended. Nothing
// happens when that use is over. Any goroutine.
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
	switch { // under mu, so that it cannot be another's by now
	case x.interruptible == nil:
	case x.kept:
		_ = x.interruptible.SetReadDeadline(time.Unix(1, 0)) // the Read ends, and leave decides
	default:
		x.broken = true
		_ = x.interruptible.Close()
	}
	x.mu.Unlock()
	x.wake(false)
}

// onInterrupt sets what else an interruption calls; false: it has come already.
func (x *call) onInterrupt(cancel func()) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancelDial = cancel
	return x.cause == nil
}

// own makes c the connection of x; false if x was interrupted.
func (x *call) attach(c *conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause != nil {
		return false
	}
	x.conn, x.interruptible = c, c
	return true
}

// spare says whether an interruption leaves the connection open: its answer may
// then be read for nobody. false: one has come already.
func (x *call) keepOnInterrupt(on bool) bool {
	if x.options().LateTimeout <= 0 || x.pool.loop == nil {
		return true // a connection that is closed says so by itself
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept = on
	return x.cause == nil
}

// disown ends that. clean is false if an interruption has closed c.
func (x *call) detach() (c *conn, clean bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c = x.conn
	x.conn, x.interruptible = nil, nil
	return c, !x.broken
}
