package client

// This file owns one connection: how it is made, and whether it is still as
// clean as it was left. It refuses to know whose turn it is.

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
	"unsafe"

	"tafe/loop"
)

// conn is a connection to a host. It belongs to one exchange, or to the pool
// while it is idle.
type conn struct {
	net.Conn          // TLS, or raw itself
	raw      net.Conn // what Close closes: without a farewell, which could block
	host     *host

	control   syscall.RawConn // of raw; nil if it has none
	peekFunc  func(fd uintptr)
	peeked    bool            // by look: something has arrived
	arrivals  arrivalReporter // raw, if it can tell by itself
	isTLS     bool
	pristine  bool  // it has carried no request yet
	wasIdle   bool  // it has been idle
	truncated bool  // TLS only: the stream below has ended
	idleSince int64 // pool clock, ns
	older     *conn // in the pool's list of idle connections
	newer     *conn
}

// arriver is a net.Conn that holds received bytes outside the socket, such as
// loop's. Arrived tells, without waiting, whether a Read would find anything: bytes,
// an end or an error.
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

// keep says that c outlives the cancellation of a task that reads from it: its exchange decides what becomes of it.
func (c *conn) keepOnCancel(on bool) {
	if k, ok := c.raw.(cancelKeeper); ok {
		k.KeepOnCancel(on)
	}
}

// Close ends the connection at once. Any goroutine, any number of times.
func (c *conn) Close() error { return c.raw.Close() }

// inspectable tells whether arrived can tell. A connection that cannot be
// looked at carries one request only.
func (c *conn) inspectable() bool { return c.arrivals != nil || c.control != nil }

// tainted tells whether c may not carry a request. What has arrived on a TLS connection before its first one is the handshake's.
func (c *conn) hasStrayData() bool { return (!c.pristine || !c.isTLS) && c.arrived() }

// arrived tells whether the peer has sent anything that was not read, an end of
// the stream included. On a connection between two requests there is nothing
// that it may have sent, TLS records included: whatever it is, what comes after
// it cannot be taken for the answer to the next request. Costs one system call
// (BenchmarkArrived).
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

// peek looks at the socket without taking anything out. The call cannot block,
// so the scheduler need not know of it.
func (c *conn) peek(fd uintptr) {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	c.peeked = errno != syscall.EAGAIN
}

// dial makes the connection that x has a slot for.
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

// dialTask makes a connection on a loop for whoever is first in the queue when it is there. It is a task of its own, so that what
// has begun is not lost with the request that was in need of it: a deadline that is shorter than a dial would otherwise have every request
// dial, and none succeed.
type dialTask struct {
	pool *pool
	host *host
	x    *call  // learns of a failure, if it still waits
	gen  uint64 // of its use
	conn *conn
	err  error
}

// dialFor begins a connection in the slot that x was given, and puts x into the queue.
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
	if d.conn != nil {
		p.putIdle(d.conn)
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
