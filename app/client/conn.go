// One connection: dialing, the TLS handshake, and the check for unexpected data before reuse.

package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"tafe/loop"
	"tafe/loop/reactor"
)

// conn is a connection to a host. It belongs to one call, or to the pool while it is idle.
type conn struct {
	net.Conn          // the TLS connection, or raw
	raw      net.Conn // closed by Close
	host     *host
	mux      *mux // nil: HTTP/1

	control   syscall.RawConn // of raw, or nil
	peekFunc  func(fd uintptr)
	peeked    bool            // set by peekFunc: data has arrived
	arrivals  arrivalReporter // raw, if it implements arrivalReporter
	isTLS     bool
	pristine  bool  // no request was sent on it yet
	wasIdle   bool  // it was in the pool before
	truncated bool  // TLS only: the underlying stream has ended
	idleSince int64 // pool clock, ns
	older     *conn // links of the pool's list of idle connections
	newer     *conn
}

// arrivalReporter is a net.Conn that buffers received bytes outside the socket, such as the reactor's. Arrived
// reports without waiting whether a Read would return bytes, an end or an error.
type arrivalReporter interface{ Arrived() bool }

func newConn(raw net.Conn, h *host) *conn {
	c := &conn{Conn: raw, raw: raw, host: h}
	if sc, ok := raw.(syscall.Conn); ok {
		c.control, _ = sc.SyscallConn()
	}
	c.arrivals, _ = raw.(arrivalReporter)
	c.keepOnCancel(true)
	c.peekFunc = c.peek
	return c
}

// keepOnCancel sets whether c stays open when a task that reads from it is cancelled. The call then decides whether
// to close c.
func (c *conn) keepOnCancel(on bool) {
	if k, ok := c.raw.(cancelKeeper); ok {
		k.KeepOnCancel(on)
	}
}

// Close closes the connection without a TLS close_notify, which could block. It may be called from any goroutine, any
// number of times; with HTTP/2, on the loop only.
func (c *conn) Close() error {
	if c.mux != nil {
		c.mux.leave(c)
		return nil
	}
	return c.raw.Close()
}

// inspectable reports whether arrived works for c. Otherwise c carries one request only.
func (c *conn) inspectable() bool { return c.arrivals != nil || c.control != nil }

// hasStrayData reports whether unexpected data has arrived on c, so that it must not carry a request. Data on a TLS
// connection before its first request belongs to the handshake.
func (c *conn) hasStrayData() bool { return (!c.pristine || !c.isTLS) && c.arrived() }

// arrived reports whether the peer has sent anything that was not read, including an end of the stream. A peer may
// send nothing between two requests, not even TLS records: data after it could not be matched with the next request.
// arrived takes one system call (BenchmarkArrived).
func (c *conn) arrived() bool {
	if c.arrivals != nil {
		return c.arrivals.Arrived()
	}
	if c.control == nil {
		return false
	}
	c.peeked = true
	if err := c.control.Control(c.peekFunc); err != nil {
		return true
	}
	return c.peeked
}

// peek looks for data in the socket without consuming it.
func (c *conn) peek(fd uintptr) { c.peeked = reactor.Arrived(int(fd)) }

// dial opens a connection in the slot that x holds.
func (x *call) dial() error {
	h := x.host
	deadline := time.Now().Add(x.options().DialTimeout)
	if !x.deadline.IsZero() && x.deadline.Before(deadline) {
		deadline = x.deadline
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if !x.onInterrupt(cancel) {
		return x.callError(StageDial, ErrClosed)
	}
	x.pool.count.dials.Add(1)
	raw, err := x.pool.dial(ctx, x.task, x.entered, h.network, h.addr)
	if err != nil {
		return x.dialCallError(StageDial, ctx, err)
	}
	c := newConn(raw, h)
	if !x.attach(c) {
		_ = c.Close()
		return x.callError(StageDial, ErrClosed)
	}
	if len(x.preface) > 0 {
		_ = raw.SetDeadline(deadline)
		if _, err := raw.Write(x.preface); err != nil {
			return x.dialCallError(StageDial, ctx, err)
		}
	}
	if h.tls == nil {
		return nil
	}
	_ = raw.SetDeadline(deadline)
	secure := tls.Client(&recordReader{Conn: raw, conn: c}, h.tls)
	if err := secure.Handshake(); err != nil {
		return x.dialCallError(StageTLS, ctx, err)
	}
	c.Conn, c.isTLS = secure, true
	return nil
}

// dialTask opens a connection on a loop for the first call in the wait queue. It is a separate task, so that the
// connection is not lost if the request that needed it is abandoned. Otherwise, with request deadlines shorter than a
// dial, every request would dial and none succeed.
type dialTask struct {
	pool *pool
	host *host
	x    *call  // is woken on failure, if it still waits
	gen  uint64 // generation of x
	conn *conn
	mux  *reactor.Conn // with HTTP/2, in place of conn
	err  error
}

// dialFor starts a dialTask in the slot that x holds, and adds x to the wait queue.
func (p *pool) dialFor(x *call) error {
	d := &dialTask{pool: p, host: x.host, x: x, gen: x.gen.Load()}
	if _, err := p.loop.Start(d); err != nil {
		p.freeSlot(x.host)
		if errors.Is(err, loop.ErrClosed) {
			return &Error{Kind: KindCancelled, Stage: StageDial, Addr: x.host.addr, Err: loop.ErrShutdown}
		}
		return &Error{Kind: KindBusy, Stage: StageDial, Addr: x.host.addr, Err: err}
	}
	x.host.users++
	x.host.dialing++
	p.count.dials.Add(1)
	p.enqueue(x)
	return nil
}

// Run implements loop.Runner.
func (d *dialTask) Run(t *loop.Task) {
	h := d.host
	deadline := time.Now().Add(d.pool.client.options.DialTimeout)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if d.pool.client.options.Protocol.Multiplexed() {
		if rc, err := d.pool.dialMux(ctx, t, h, deadline); err != nil {
			d.err = err
		} else {
			d.mux = rc
		}
		return
	}
	raw, err := d.pool.dial(ctx, t, true, h.network, h.addr)
	if err != nil {
		d.err = dialError(StageDial, h, err)
		return
	}
	c := newConn(raw, h)
	if h.tls != nil {
		_ = raw.SetDeadline(deadline)
		secure := tls.Client(&recordReader{Conn: raw, conn: c}, h.tls)
		if err := secure.Handshake(); err != nil {
			_ = c.Close()
			d.err = dialError(StageTLS, h, err)
			return
		}
		_ = raw.SetDeadline(time.Time{})
		c.Conn, c.isTLS = secure, true
	}
	c.pristine = true
	d.conn = c
}

// Done implements loop.Runner.
func (d *dialTask) Done(_ *loop.Task, err error) {
	p := d.pool
	d.host.users--
	d.host.dialing--
	switch {
	case d.conn != nil:
		p.putIdle(d.conn)
		return
	case d.mux != nil:
		p.addMux(d.host, d.mux)
		return
	}
	if d.err != nil {
		err = d.err
	}
	if d.x.gen.Load() == d.gen && d.x.queued && d.x.host == d.host {
		p.unqueue(d.x)
		d.x.failed = err
		d.x.wake(true)
	}
	if p.client.options.Protocol.Multiplexed() {
		p.failWaiters(d.host, err)
	}
	p.freeSlot(d.host)
}

func dialError(stage Stage, h *host, err error) *Error {
	kind := KindDial
	if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		kind = KindTimeout
	}
	return &Error{Kind: kind, Stage: stage, Addr: h.addr, Err: err}
}

func (x *call) dialCallError(stage Stage, ctx context.Context, err error) error {
	fault := x.callError(stage, err).(*Error)
	if fault.Kind == KindLost {
		fault.Kind = KindDial
		if ctx.Err() != nil {
			fault.Kind = KindTimeout
		}
	}
	return fault
}
