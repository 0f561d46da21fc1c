package loop

// The bulk lane: a connection whose messages are too large for memory leaves
// its loop. The bytes move on a goroutine of the call, with Go's netpoller:
// back-pressure, sendfile and splice come with it. It does not know what the
// bytes mean, nor when it is worth it (a call costs a goroutine and a Post,
// BenchmarkBulkRead).

import (
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// ErrAttached: the Bulk has given its stream back, or closed it.
var ErrAttached = errors.New("loop: the stream is no more in the bulk lane")

var longAgo = time.Unix(1, 0)

// Bulk is the stream of a Conn that is off its loop: a net.Conn for one reader
// and one writer at a time. Called by a task, of any loop, its methods move
// bytes on another goroutine while the task waits; the task's cancellation
// interrupts them, and what was moved by then is returned with the cause. Any
// other goroutine that calls them blocks. io.Copy finds ReadFrom and WriteTo:
// files and sockets are then copied by the kernel.
type Bulk struct {
	loop   *Loop
	conn   *Conn // loop only; nil for an outbound connection of no loop
	stream net.Conn
	lane   *detached

	mu   sync.Mutex
	rest []byte // received by the loop, not yet read
	cut  bool   // a task was cancelled in an operation: no more deadlines
	gone bool

	closed func() // of a Bulk without conn
}

// Detach takes c's stream off the task's loop, after everything written was
// sent. Until Attach gives it back, c gets no events but Timeout and Closed, its
// unread Input is the Bulk's, what is written to it waits, and Close and Abort
// drop the stream at once; it keeps its place in the limit of connections. A
// peer that leaves is noticed by the next operation only. The error is
// ErrClosed, the task's cause, or that of a system call, and then c is as
// before.
func (t *Task) Detach(c *Conn) (*Bulk, error) {
	if t.loop != c.loop {
		return nil, errors.New("loop: detach: the connection belongs to another loop")
	}
	for {
		if c.Closed() || c.detached {
			return nil, ErrClosed
		}
		if c.Unsent() == 0 {
			return c.detach()
		}
		c.whenDrained(0, t.Prepare().Wake)
		if err := t.Park(); err != nil {
			return nil, err
		}
	}
}

// detach is Detach for a Conn with nothing unsent.
func (c *Conn) detach() (*Bulk, error) {
	from, ok := c.transport.(detacher)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	d := &detached{inner: c.transport, local: c.transport.LocalAddr(), remote: c.transport.RemoteAddr()}
	stream, err := from.Detach()
	if err != nil {
		return nil, err
	}
	b := &Bulk{loop: c.loop, conn: c, stream: stream, lane: d, rest: append([]byte(nil), c.Input()...)}
	d.bulk = b
	c.Consume(len(b.rest))
	c.transport, c.detached = d, true
	if c.loop.detached == nil {
		c.loop.detached = map[*Bulk]struct{}{}
	}
	c.loop.detached[b] = struct{}{}
	return b, nil
}

// Attach gives the stream back to the Conn, with what was received and not
// read; the Handler's Data is called if there is any. For a task of the Conn's
// loop, whose cancellation does not stop it. After an error the connection is
// closed, which the Handler is told as ever.
func (b *Bulk) Attach() error {
	t := b.loop.Current()
	if t == nil {
		return ErrForeignGoroutine
	}
	driver, ok := b.loop.driver.(enroller)
	if err := t.mayPark(); err != nil || !ok {
		return errors.Join(err, errors.ErrUnsupported)
	}
	if !b.leave() {
		return ErrAttached
	}
	_ = b.stream.SetDeadline(time.Time{})
	w := t.Prepare()
	var err error
	go func() {
		err = driver.Enroll(b.stream, b.lane.inner, b.opened)
		w.Post()
	}()
	t.parkThrough(func(error) {})
	if err != nil {
		b.conn.Abort(err)
	}
	return err
}

// leave ends the use of the Bulk; once.
func (b *Bulk) leave() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.gone
	b.gone = true
	return !was
}

// opened is called when the loop has the stream again.
func (b *Bulk) opened(tr Transport) *Conn {
	c := b.conn
	if c.closed {
		return nil
	}
	delete(c.loop.detached, b)
	c.transport, c.detached = tr, false
	if (len(c.out) > 0 || c.closing) && !c.dirty {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
	if len(b.rest) > 0 {
		c.receive(b.rest)
		b.rest = nil
		c.handler.Data(c)
		c.release()
	}
	return c
}

// Do calls f off the loop, with this Bulk as a stream that blocks, and returns
// f's error: for more than one read or write at the price of one. A panic in f
// is the caller's. f must not outlast the stream's deadlines by waiting for
// anything else: a cancelled task waits for it.
func (b *Bulk) Do(f func(stream net.Conn) error) error {
	return b.do(func() error { return f(b) })
}

// do runs f where the caller may block. The cause of a cancelled task takes
// precedence over f's error.
func (b *Bulk) do(f func() error) error {
	t, err := b.loop.caller()
	switch {
	case err != nil:
		return err
	case t == nil:
		return f()
	}
	if err := t.mayPark(); err != nil {
		return err
	}
	w := t.Prepare()
	go guarded(f, func(ended error) {
		err = ended
		w.Post()
	})
	if cause := t.parkThrough(b.interrupt); cause != nil {
		return cause
	}
	rethrow(err)
	return err
}

// interrupt ends the operation that a cancelled task waits for, and all later
// ones.
func (b *Bulk) interrupt(error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = true
	if !b.gone {
		_ = b.stream.SetDeadline(longAgo)
	}
}

// takeRest reads what the loop had received before.
func (b *Bulk) takeRest(p []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		b.rest = nil
	}
	return n
}

// Read implements net.Conn.
func (b *Bulk) Read(p []byte) (n int, err error) {
	if n = b.takeRest(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	err = b.do(func() (err error) {
		n, err = b.stream.Read(p)
		return err
	})
	return n, err
}

// Write implements net.Conn.
func (b *Bulk) Write(p []byte) (n int, err error) {
	err = b.do(func() (err error) {
		n, err = b.stream.Write(p)
		return err
	})
	return n, err
}

// ReadFrom writes what r yields, until its end: by sendfile for a file, by
// splice for a socket.
func (b *Bulk) ReadFrom(r io.Reader) (n int64, err error) {
	err = b.do(func() (err error) {
		n, err = io.Copy(b.stream, r)
		return err
	})
	return n, err
}

// WriteTo writes everything that is received to w, until the peer ends the
// stream.
func (b *Bulk) WriteTo(w io.Writer) (n int64, err error) {
	err = b.do(func() error {
		for buf := make([]byte, 32<<10); ; {
			k := b.takeRest(buf)
			if k == 0 {
				break
			}
			k, err := w.Write(buf[:k])
			n += int64(k)
			if err != nil {
				return err
			}
		}
		k, err := io.Copy(w, b.stream)
		n += k
		return err
	})
	return n, err
}

// CloseWrite ends the stream in this direction and keeps the other.
func (b *Bulk) CloseWrite() error {
	if s, ok := b.stream.(interface{ CloseWrite() error }); ok {
		return s.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close drops the stream and with it the Conn. Any goroutine.
func (b *Bulk) Close() error {
	if !b.leave() {
		return ErrAttached
	}
	err := b.stream.Close()
	if b.conn == nil {
		b.closed()
		return err
	}
	b.loop.Post(func() { b.conn.drop(nil) })
	return err
}

// LocalAddr implements net.Conn.
func (b *Bulk) LocalAddr() net.Addr { return b.lane.local }

// RemoteAddr implements net.Conn.
func (b *Bulk) RemoteAddr() net.Addr { return b.lane.remote }

// SetDeadline implements net.Conn. Wall-clock time, on any loop.
func (b *Bulk) SetDeadline(at time.Time) error { return b.setDeadline(at, b.stream.SetDeadline) }

// SetReadDeadline implements net.Conn.
func (b *Bulk) SetReadDeadline(at time.Time) error {
	return b.setDeadline(at, b.stream.SetReadDeadline)
}

// SetWriteDeadline implements net.Conn.
func (b *Bulk) SetWriteDeadline(at time.Time) error {
	return b.setDeadline(at, b.stream.SetWriteDeadline)
}

func (b *Bulk) setDeadline(at time.Time, set func(time.Time) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cut {
		return nil
	}
	return set(at)
}

// detached is the Transport of a Conn whose stream is off the loop.
type detached struct {
	bulk          *Bulk
	inner         Transport // as it was
	local, remote net.Addr
}

func (d *detached) Write(p []byte) (int, error) { return 0, ErrClosed } // flush does not
func (d *detached) Unsent() int                 { return 0 }
func (d *detached) CloseWrite() error           { return d.bulk.CloseWrite() }
func (d *detached) RemoteAddr() net.Addr        { return d.remote }
func (d *detached) LocalAddr() net.Addr         { return d.local }
func (d *detached) Fd() int                     { return -1 }

func (d *detached) Close() error {
	b := d.bulk
	delete(b.loop.detached, b)
	b.leave()
	if s, ok := b.stream.(interface{ SetLinger(int) error }); ok && b.conn.cause != nil {
		_ = s.SetLinger(0) // as socket.Close
	}
	err := b.stream.Close()
	d.inner.(detacher).Release()
	return err
}

// parkThrough waits for the current wait's Waker alone: when the task is
// cancelled it calls interrupt, once, and waits on until what was interrupted
// has ended. It returns the cause, if any. The caller has asked mayPark.
func (t *Task) parkThrough(interrupt func(cause error)) error {
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

// guarded runs f as the body of a goroutine that works for a task, and tells
// done how it ended: f's error, a *PanicError or ErrGoexit.
func guarded(f func() error, done func(error)) {
	err := ErrGoexit
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
		done(err)
	}()
	err = f()
}

// panicError is the error of a recovered panic, which keeps the stack of one that
// has crossed from another goroutine.
func panicError(p any) *PanicError {
	if err, ok := p.(*PanicError); ok {
		return err
	}
	return &PanicError{Value: p, Stack: debug.Stack()}
}

// rethrow lets a panic of another goroutine go on in this one, with its stack.
func rethrow(err error) {
	if p, ok := err.(*PanicError); ok {
		panic(p)
	}
}
