package loop

// Conn: one stream as its loop sees it. It owns what was received and not yet
// consumed, bounded; it knows timeouts and closing, and nothing about what the
// bytes mean. What was written and not yet sent is output.go's.

import (
	"errors"
	"net"
	"time"
)

// Reasons a connection is closed for by its own side; see Handler.Closed.
var (
	ErrInboundFull  = errors.New("loop: more unread input than the connection may hold")
	ErrWriteTimeout = errors.New("loop: the peer reads too slowly")
)

// Transport carries a Conn's bytes: a gnet connection, or a test's memory.
// Loop goroutine only.
type Transport interface {
	// Write takes all of p, sending what it can now and the rest by itself.
	Write(p []byte) (int, error)
	// Unsent is how many bytes taken by Write are still here.
	Unsent() int
	// CloseWrite sends what it can and then the end of the stream.
	CloseWrite() error
	// Close drops the stream; the driver then calls Conn.Hangup.
	Close() error
	RemoteAddr() net.Addr
	LocalAddr() net.Addr
	// Fd is the file descriptor, or -1.
	Fd() int
}

// Handler is what a Conn's events go to. Its methods run on the loop outside
// any task and must not wait; they start tasks for that.
type Handler interface {
	// Data: there is more in Input than before.
	Data(c *Conn)
	// Timeout: the time set with SetTimeout has passed.
	Timeout(c *Conn)
	// Closed: the connection is no more. err is nil after Close, io.EOF when the
	// peer ended the stream, one of this package's errors, or the socket's. Called
	// once, and nothing after it.
	Closed(c *Conn, err error)
}

const (
	lingerTime  = 2 * time.Second
	lingerBytes = 512 << 10
)

// Conn is one connection of a loop, for the loop's goroutine and its running
// task only. While nothing is in transit it holds no buffers.
type Conn struct {
	loop      *Loop
	transport Transport
	handler   Handler
	label     connLabel

	in, out []byte
	read    int // of in: consumed
	pinned  bool
	dirty   bool
	closed  bool
	closing bool // close once everything is sent
	linger  int  // bytes still swallowed after CloseWrite; 0 when not lingering
	cause   error

	timeout  Timer // the Handler's
	sendTime Timer // watches unsent bytes
	unsent   int   // at the last look that saw writeStep of progress
	since    int64 // of that look
	check    time.Duration
	drained  []drainWait
	abrupt   bool       // close without lingering
	detached bool       // the stream is off the loop; see Task.Detach
	secure   *TLSStream // nil: no TLS
}

// Open makes a Conn for a new stream. handler is told what happens on it.
func (l *Loop) Open(tr Transport, h Handler) *Conn {
	l.connSeq++
	c := &Conn{loop: l, transport: tr, handler: h}
	c.label.id = l.connSeq
	if a := tr.RemoteAddr(); a != nil {
		c.label.remote = a.String()
	}
	l.conns++
	l.stats.Opened++
	return c
}

// Loop is the loop the connection belongs to.
func (c *Conn) Loop() *Loop { return c.loop }

// ID is unique among the loop's connections.
func (c *Conn) ID() uint64 { return c.label.id }

// Remote is the peer's address as text; fixed for the connection's life.
func (c *Conn) Remote() string { return c.label.remote }

// RemoteAddr is the peer's address, nil once closed.
func (c *Conn) RemoteAddr() net.Addr {
	if c.closed {
		return nil
	}
	return c.transport.RemoteAddr()
}

// LocalAddr is the own address, nil once closed.
func (c *Conn) LocalAddr() net.Addr {
	if c.closed {
		return nil
	}
	return c.transport.LocalAddr()
}

// Closed tells whether the connection is gone or only being closed: whatever
// is written from now on is dropped.
func (c *Conn) Closed() bool { return c.closed || c.closing }

// SetHandler replaces the handler.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// Deliver hands bytes of the peer to the connection. p is copied. Its driver
// calls it on the loop.
func (c *Conn) Deliver(p []byte) {
	l := c.loop
	l.enter()
	if l.tracing.Load() {
		l.eventAt, l.estimated = arrivedAt(c.transport.Fd(), l.now), true
	}
	l.stats.BytesIn += uint64(len(p))
	switch {
	case c.closed:
	case c.closing:
		c.swallow(len(p))
	case len(c.in)-c.read+len(p) > l.limits.InboundMax:
		l.stats.ClosedInbound++
		c.drop(ErrInboundFull)
	default:
		if n, ok := c.handler.(*netConn); ok && len(c.in) == 0 {
			n.bound(n.take(p)) // all of it: no need for another copy
			break
		}
		c.receive(p)
		c.handler.Data(c)
		c.release()
	}
	l.eventAt, l.estimated = 0, false
	l.leave()
}

func (c *Conn) receive(p []byte) {
	if c.in == nil {
		c.in = c.loop.bufs.get(len(p))
	}
	if cap(c.in)-len(c.in) < len(p) && c.read > 0 && !c.pinned {
		c.in = c.in[:copy(c.in, c.in[c.read:])]
		c.read = 0
	}
	c.in = c.loop.bufs.grow(c.in, len(p), c.pinned)
	c.in = append(c.in, p...)
}

// Input is what was received and not consumed. The view is valid until the
// next event of the connection, or, from Pin, until Unpin.
func (c *Conn) Input() []byte { return c.in[c.read:] }

// Consume marks the first n bytes of Input as done with.
func (c *Conn) Consume(n int) {
	c.read += n
	c.release()
}

// Pin keeps views into Input valid while more arrives and when they are
// consumed; Unpin ends that.
func (c *Conn) Pin() { c.pinned = true }

// Unpin lets the input buffer move and be recycled again.
func (c *Conn) Unpin() {
	c.pinned = false
	c.release()
}

// release gives the input buffer back once nothing in it is needed.
func (c *Conn) release() {
	if c.in != nil && c.read == len(c.in) && !c.pinned {
		c.loop.bufs.put(c.in)
		c.in, c.read = nil, 0
	}
}

// SetTimeout calls the Handler's Timeout once after d, instead of at any
// earlier set time; d <= 0 means never.
func (c *Conn) SetTimeout(d time.Duration) {
	if c.closed || c.closing {
		return // Close has its own
	}
	if d <= 0 {
		c.loop.StopTimer(&c.timeout)
		return
	}
	c.timeout.Owner = c
	c.loop.AfterFunc(&c.timeout, d, connTimeout)
}

func connTimeout(t *Timer) {
	c := t.Owner.(*Conn)
	if c.closing {
		c.drop(nil)
		return
	}
	c.handler.Timeout(c)
}

// Close sends what was written, then the end of the stream, and swallows a
// bounded amount of input for a moment, so that a peer that is still sending
// reads the answer instead of a reset (RFC 9112 section 9.6).
func (c *Conn) Close() {
	if c.closed || c.closing {
		return
	}
	c.closing = true
	c.loop.StopTimer(&c.timeout)
	if !c.dirty {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// closeAbruptly is Close without swallowing what the peer still sends.
func (c *Conn) closeAbruptly() {
	c.abrupt = true
	c.Close()
}

// shut ends the stream's write side after the last byte, and lingers.
func (c *Conn) shut() {
	if c.abrupt {
		c.drop(nil)
		return
	}
	c.linger = lingerBytes
	if err := c.transport.CloseWrite(); err != nil {
		c.drop(nil)
		return
	}
	c.timeout.Owner = c
	c.loop.AfterFunc(&c.timeout, lingerTime, connTimeout)
}

// swallow discards what a peer sends to a connection that is being closed.
func (c *Conn) swallow(n int) {
	if c.linger > 0 {
		if c.linger -= n; c.linger <= 0 {
			c.drop(nil)
		}
	}
}

// Abort drops the connection at once; the Handler's Closed gets err. Safe to
// call from a task: it happens when the slice ends.
func (c *Conn) Abort(err error) {
	if c.closed {
		return
	}
	c.closing = true
	c.cause = err
	c.loop.Post(func() { c.drop(err) })
}

// drop closes at once, without sending what is left; err goes to Closed.
func (c *Conn) drop(err error) {
	if c.closed {
		return
	}
	c.cause = err
	_ = c.transport.Close() // the driver calls Hangup
	if !c.closed {
		c.Hangup(err)
	}
}

// Hangup tells the connection that its stream is gone. Its driver calls it on
// the loop, once.
func (c *Conn) Hangup(err error) {
	if c.closed {
		return
	}
	l := c.loop
	l.enter()
	if c.cause != nil {
		err = c.cause
	}
	c.closed = true
	l.conns--
	l.wheel.remove(&c.timeout)
	l.wheel.remove(&c.sendTime)
	c.wakeDrained(0)
	c.handler.Closed(c, err)
	c.pinned = c.pinned && len(c.in) > 0
	if !c.dirty && c.out != nil {
		l.bufs.put(c.out)
		c.out = nil
	}
	if !c.pinned && c.in != nil {
		l.bufs.put(c.in)
		c.in, c.read = nil, 0
	}
	l.leave()
}
