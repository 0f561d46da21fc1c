package loop

// Conn: one stream as its loop sees it. It owns what was received and not yet
// consumed, and what was written and not yet sent, both bounded; it knows
// timeouts and closing, and nothing about what the bytes mean.

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
	writeStep   = 16 << 10 // progress that earns another WriteTimeout
	drainCheck  = 500 * time.Microsecond
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

// drainWait is somebody who waits for the unsent bytes to fall to a bound.
type drainWait struct {
	below int
	wake  func()
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

// Write appends p to the output; it is sent when the running slice ends.
func (c *Conn) Write(p []byte) {
	c.SetOutput(append(c.Output(len(p)), p...))
}

// Output returns the output that is not yet handed to the transport, with room
// for n more bytes: append to it and give it back with SetOutput.
func (c *Conn) Output(n int) []byte {
	if c.out == nil {
		c.out = c.loop.bufs.get(max(n, outputMin))
		return c.out
	}
	c.out = c.loop.bufs.grow(c.out, n, false)
	return c.out
}

// SetOutput takes back what Output returned, appended to.
func (c *Conn) SetOutput(b []byte) {
	c.out = b
	if !c.dirty && len(b) > 0 {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// Unsent is how many bytes were written and have not left this process.
func (c *Conn) Unsent() int {
	if c.closed {
		return 0
	}
	return len(c.out) + c.transport.Unsent()
}

// flushDirty hands every connection's output to its transport, once a turn.
func (l *Loop) flushDirty() {
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		l.dirty[i] = nil
		c.dirty = false
		c.flush()
	}
	l.dirty = l.dirty[:0]
}

func (c *Conn) flush() {
	if c.detached {
		if c.closing {
			c.drop(nil)
		}
		return // what was written waits for Attach
	}
	out := c.out
	if len(out) > 0 {
		c.out = nil
		if !c.closed {
			c.loop.stats.BytesOut += uint64(len(out))
			// An error closes the connection; the driver has called Hangup by then.
			_, _ = c.transport.Write(out)
		}
		c.loop.bufs.put(out)
	}
	if len(c.drained) > 0 && !c.closed {
		c.wakeDrained(c.transport.Unsent())
	}
	switch {
	case c.closed:
	case c.transport.Unsent() > 0:
		c.watchSending()
	case c.closing && c.linger == 0:
		c.shut()
	}
}

// watchSending looks at the unsent bytes again and again: there is no event
// for what the peer has taken.
func (c *Conn) watchSending() {
	if c.sendTime.Armed() {
		return
	}
	c.unsent, c.since = c.transport.Unsent(), c.loop.now
	c.armCheck()
}

func (c *Conn) armCheck() {
	switch {
	case len(c.drained) == 0 && !c.closing:
		c.check = c.loop.limits.WriteTimeout / 4
	case c.check == 0 || c.check > 64*drainCheck:
		c.check = drainCheck
	default:
		c.check = min(2*c.check, 64*drainCheck)
	}
	c.sendTime.Owner = c
	c.loop.AfterFunc(&c.sendTime, c.check, checkSending)
}

func checkSending(t *Timer) {
	c := t.Owner.(*Conn)
	unsent := c.transport.Unsent()
	if unsent == 0 || c.unsent-unsent >= writeStep || unsent > c.unsent {
		c.unsent, c.since = unsent, c.loop.now
	}
	if unsent > 0 && c.loop.now-c.since >= int64(c.loop.limits.WriteTimeout) {
		c.loop.stats.ClosedWrite++
		c.drop(ErrWriteTimeout)
		return
	}
	c.wakeDrained(unsent)
	switch {
	case unsent > 0:
		c.armCheck()
	case c.closing && c.linger == 0:
		c.check = 0
		c.shut()
	default:
		c.check = 0
	}
}

// wakeDrained wakes those whose bound is reached.
func (c *Conn) wakeDrained(unsent int) {
	waiting := c.drained[:0]
	for _, d := range c.drained {
		if unsent > d.below {
			waiting = append(waiting, d)
			continue
		}
		d.wake()
	}
	clear(c.drained[len(waiting):])
	c.drained = waiting
}

// whenDrained calls wake on the loop once at most below bytes are unsent or the
// connection is gone.
func (c *Conn) whenDrained(below int, wake func()) {
	c.drained = append(c.drained, drainWait{below, wake})
	if c.sendTime.Armed() && c.check > 64*drainCheck {
		c.loop.StopTimer(&c.sendTime)
		c.armCheck()
	}
}

// Drain waits until the connection can take more output: at once below
// Limits.OutboundMax unsent bytes, otherwise until half of that is left. It is
// how a task that streams is held back by its reader. The error is ErrClosed or
// the task's cause.
func (t *Task) Drain(c *Conn) error {
	for {
		if c.Closed() {
			return ErrClosed
		}
		if c.Unsent() < c.loop.limits.OutboundMax {
			return t.Err()
		}
		c.whenDrained(c.loop.limits.OutboundMax/2, t.Prepare().Wake)
		if err := t.Park(); err != nil {
			return err
		}
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
