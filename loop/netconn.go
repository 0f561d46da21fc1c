package loop

// netConn: a Conn as a net.Conn. A task's Read and Write park it; any other
// goroutine that calls them blocks. It owns what was received and not yet read,
// bounded; it does not know who dialed, nor what the bytes mean.
//
// Events of the Conn come on its loop, calls from anywhere: what both touch is
// behind mu. Nobody waits while holding it.

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// writeAheadMax is how much a writer may be ahead of the socket.
	writeAheadMax = 256 << 10
	// keepBuffer is how large an empty output buffer may be to be kept.
	keepBuffer = 4 << 10
)

type netConn struct {
	loop          *Loop
	conn          *Conn // loop only; nil if bulk was all it ever had
	local, remote net.Addr

	mu      sync.Mutex
	closed  bool  // by Close
	keep    bool  // when a task that reads is cancelled
	ended   error // why nothing more comes
	bulk    *Bulk // once the stream has left the loop
	readBy  int64 // deadline on the loop clock; 0: none
	writeBy int64

	in     []byte // received, not read
	got    int    // of in: read
	reads  turns
	want   []byte // the waiting Read's buffer; its goroutine touches it after the wake only
	filled int
	reader waiter

	out    []byte // written off the loop, not yet taken there
	posted bool   // the taking of out is on its way
	behind int    // Conn.Unsent as of the last taking
	writes turns
	writer waiter // waits for room

	watching bool // whether somebody will call room
}

// NewNetConn makes a net.Conn of c, whose Handler it becomes; what c has
// received and not consumed is read first. Loop goroutine only; the net.Conn may
// be used by any goroutine. A task of any loop that waits in it gives its loop
// back, and when it is cancelled meanwhile the connection is closed: the state
// of its protocol is unknown then. (A method KeepOnCancel(bool) changes that for
// Read, whose caller then decides.) Deadlines do not close it. A peer that ends
// its direction of the stream ends both (see DESIGN: EOF is the peer leaving).
func NewNetConn(c *Conn) net.Conn {
	n := &netConn{loop: c.loop, conn: c, local: c.LocalAddr(), remote: c.RemoteAddr()}
	c.handler = n
	if len(c.Input()) > 0 {
		n.Data(c)
	}
	if c.Closed() {
		n.ended = net.ErrClosed
	}
	return n
}

// Data is the Handler's.
func (n *netConn) Data(c *Conn) {
	held := n.take(c.Input())
	c.Consume(len(c.Input())) // before the stream may leave, and take with it what is left here
	n.bound(held)
}

// take hands p to the Read that waits, and keeps what it has no room for: held is
// how much that is now, for bound. Loop goroutine.
func (n *netConn) take(p []byte) (held int) {
	n.mu.Lock()
	if n.want != nil {
		n.filled = copy(n.want, p)
		n.want, p = nil, p[n.filled:]
		n.reader.wake(n.loop)
	}
	if len(p) > 0 {
		n.in = append(n.loop.bufs.grow(n.in, len(p), false), p...)
	}
	held = len(n.in) - n.got
	n.mu.Unlock()
	return held
}

// bound keeps what is held by a connection that nobody reads bounded.
func (n *netConn) bound(held int) {
	if held > readAheadMax {
		n.leaveLoop(held)
	}
}

// Timeout is the Handler's; nobody sets one.
func (n *netConn) Timeout(c *Conn) { c.drop(os.ErrDeadlineExceeded) }

// Closed is the Handler's.
func (n *netConn) Closed(_ *Conn, err error) {
	switch {
	case err == nil:
		err = net.ErrClosed
	case errors.Is(err, io.EOF):
		err = io.EOF
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = err
	n.wakeAll(n.loop)
}

// wakeAll lets everybody who waits look again.
func (n *netConn) wakeAll(from *Loop) {
	n.reader.wake(from)
	n.writer.wake(from)
	n.reads.wakeAll(from)
	n.writes.wakeAll(from)
}

// Read implements net.Conn.
func (n *netConn) Read(p []byte) (int, error) {
	t, err := n.loop.caller()
	if err != nil {
		return 0, n.fail("read", err)
	}
	if len(p) == 0 {
		return 0, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.reads.take(t, n.loop, &n.mu, &n.readBy, n.mayRead); err != nil {
		return 0, n.fail("read", n.given(t, err, n.keep))
	}
	k, err := n.read(p, t)
	n.reads.release(t)
	return k, n.fail("read", err)
}

// mayRead is the error that ends a Read before it looks for bytes.
func (n *netConn) mayRead() error {
	switch {
	case n.closed:
		return net.ErrClosed
	case n.readBy != 0 && n.readBy <= n.loop.Clock():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (n *netConn) read(p []byte, t *Task) (int, error) {
	for look := stuckMin; ; look = min(2*look, stuckMax) {
		if err := n.mayRead(); err != nil {
			return 0, err
		}
		switch {
		case n.got < len(n.in):
			return n.takeInput(p, loopOf(t) == n.loop), nil
		case n.ended != nil:
			return 0, n.ended
		case n.bulk != nil:
			return n.unlocked(t, func() (int, error) { return n.bulk.Read(p) })
		}
		n.want, n.filled, n.reader = p, 0, waiterFor(t)
		err := n.wait(n.reader, n.lookUntil(t, n.readBy, look))
		n.want, n.reader = nil, waiter{}
		if n.filled > 0 {
			return n.filled, nil
		}
		if err != nil {
			return 0, n.given(t, err, n.keep)
		}
		if t == nil {
			if k, err := n.readBeside(p); k > 0 || err != nil {
				return k, err
			}
		}
	}
}

// takeInput reads what is held.
func (n *netConn) takeInput(p []byte, onLoop bool) int {
	k := copy(p, n.in[n.got:])
	if n.got += k; n.got == len(n.in) {
		if onLoop {
			n.loop.bufs.put(n.in)
		}
		n.in, n.got = nil, 0
	}
	return k
}

// wait waits without the lock.
func (n *netConn) wait(w waiter, until int64) error {
	n.mu.Unlock()
	defer n.mu.Lock() // also when the task is unwound
	return w.wait(n.loop, until)
}

// unlocked runs an operation of the bulk lane, which waits by itself.
func (n *netConn) unlocked(t *Task, op func() (int, error)) (int, error) {
	n.mu.Unlock()
	defer n.mu.Lock()
	k, err := op()
	if err != nil && t != nil && t.Err() != nil {
		_ = n.Close()
	}
	return k, err
}

// given closes the connection, unless keep, when a wait of t failed because t
// was cancelled.
func (n *netConn) given(t *Task, err error, keep bool) error {
	switch {
	case t == nil || t.Err() == nil || n.closed:
		return err
	case keep:
		return interrupted{err}
	}
	n.close(t)
	return err
}

// KeepOnCancel says whether the connection stays open when a task that waits in
// Read is cancelled. The Read's error is a net.Error that is Temporary then, so
// that crypto/tls, too, can be read again. Nothing that was received is lost. A
// Write that is cancelled always closes: who knows what of it has gone. So does a
// Read beyond a detached stream.
func (n *netConn) KeepOnCancel(keep bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keep = keep
}

// interrupted is the cause of a cancelled Read that another may follow.
type interrupted struct{ error }

func (e interrupted) Unwrap() error   { return e.error }
func (e interrupted) Timeout() bool   { return false }
func (e interrupted) Temporary() bool { return true }

// Write implements net.Conn. It returns when the bytes are on their way: an
// error of the socket is that of a later call.
func (n *netConn) Write(p []byte) (int, error) {
	t, err := n.loop.caller()
	if err != nil {
		return 0, n.fail("write", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writes.take(t, n.loop, &n.mu, &n.writeBy, n.mayWrite); err != nil {
		return 0, n.fail("write", n.given(t, err, false))
	}
	total := 0
	for total < len(p) && err == nil {
		var k int
		k, err = n.write(p[total:], t)
		total += k
	}
	n.writes.release(t)
	return total, n.fail("write", err)
}

// mayWrite is the error that ends a Write.
func (n *netConn) mayWrite() error {
	switch {
	case n.closed:
		return net.ErrClosed
	case n.writeBy != 0 && n.writeBy <= n.loop.Clock():
		return os.ErrDeadlineExceeded
	case n.ended == io.EOF:
		return syscall.EPIPE
	}
	return n.ended
}

// write takes what there is room for, or waits for some.
func (n *netConn) write(p []byte, t *Task) (int, error) {
	if err := n.mayWrite(); err != nil {
		return 0, err
	}
	if n.bulk != nil {
		return n.unlocked(t, func() (int, error) { return n.bulk.Write(p) })
	}
	onLoop := loopOf(t) == n.loop
	ahead := len(n.out) + n.behind
	if onLoop {
		ahead = len(n.out) + n.conn.Unsent()
	}
	if ahead < writeAheadMax {
		p = p[:min(len(p), writeAheadMax-ahead)]
		return len(p), n.put(p, onLoop)
	}
	n.writer = waiterFor(t)
	switch {
	case n.watching:
	case onLoop:
		n.watchRoom()
	case !n.loop.Post(n.watchRoomPosted):
		return 0, net.ErrClosed
	}
	n.watching = true
	err := n.wait(n.writer, n.lookUntil(t, n.writeBy, stuckMin))
	n.writer = waiter{}
	if err != nil {
		return 0, n.given(t, err, false)
	}
	if t == nil {
		n.writeBeside()
	}
	return 0, nil
}

// put hands p to the loop, in order.
func (n *netConn) put(p []byte, onLoop bool) error {
	if onLoop {
		n.takeOutput()
		n.conn.Write(p)
		return nil
	}
	n.out = append(n.out, p...)
	if !n.posted {
		n.posted = true
		if !n.loop.Post(n.takePosted) {
			return net.ErrClosed
		}
	}
	return nil
}

// takeOutput takes what was written off the loop. Loop goroutine, mu held.
func (n *netConn) takeOutput() {
	if len(n.out) == 0 {
		return
	}
	n.conn.Write(n.out)
	if n.out = n.out[:0]; cap(n.out) > keepBuffer {
		n.out = nil
	}
}

func (n *netConn) takePosted() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.posted = false
	n.takeOutput()
	n.behind = n.conn.Unsent()
}

// watchRoom wakes the writer when half the room is free. Loop goroutine.
func (n *netConn) watchRoom() { n.conn.whenDrained(writeAheadMax/2, n.room) }

func (n *netConn) watchRoomPosted() {
	if c := n.conn; c.closed || c.detached || c.Unsent() <= writeAheadMax/2 {
		n.room()
		return
	}
	n.watchRoom()
}

func (n *netConn) room() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.behind = n.conn.Unsent()
	n.watching = false
	n.writer.wake(n.loop)
}

// Close implements net.Conn: what was written is still sent.
func (n *netConn) Close() error {
	t, onLoop := n.loop.caller()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return n.fail("close", net.ErrClosed)
	}
	if onLoop != nil { // a callback of the loop
		n.closed = true
		n.wakeAll(n.loop)
		n.shut()
		return nil
	}
	n.close(t)
	return nil
}

// close ends the use of the connection. mu is held.
func (n *netConn) close(t *Task) {
	n.closed = true
	n.in, n.got = nil, 0
	n.wakeAll(loopOf(t))
	if loopOf(t) == n.loop || n.bulk != nil {
		n.shut()
		return
	}
	n.loop.Post(func() { // a loop that has stopped has closed it
		n.mu.Lock()
		defer n.mu.Unlock()
		n.shut()
	})
}

// shut ends the Conn after its output. Loop goroutine, mu held.
func (n *netConn) shut() {
	if n.bulk != nil {
		_ = n.bulk.Close()
		return
	}
	n.takeOutput()
	n.conn.closeAbruptly()
}

// LocalAddr implements net.Conn.
func (n *netConn) LocalAddr() net.Addr { return n.local }

// RemoteAddr implements net.Conn.
func (n *netConn) RemoteAddr() net.Addr { return n.remote }

// SetDeadline implements net.Conn.
func (n *netConn) SetDeadline(at time.Time) error { return n.setDeadline(at, true, true) }

// SetReadDeadline implements net.Conn.
func (n *netConn) SetReadDeadline(at time.Time) error { return n.setDeadline(at, true, false) }

// SetWriteDeadline implements net.Conn.
func (n *netConn) SetWriteDeadline(at time.Time) error { return n.setDeadline(at, false, true) }

func (n *netConn) setDeadline(at time.Time, read, write bool) error {
	due := int64(0)
	if !at.IsZero() {
		due = max(n.loop.Clock()+int64(time.Until(at)), 1)
	}
	t := n.loop.Current()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return n.fail("set", net.ErrClosed)
	}
	if read {
		n.readBy = due
		n.reader.wake(loopOf(t))
		n.reads.wakeAll(loopOf(t))
		if n.bulk != nil {
			_ = n.bulk.SetReadDeadline(at)
		}
	}
	if write {
		n.writeBy = due
		n.writer.wake(loopOf(t))
		n.writes.wakeAll(loopOf(t))
		if n.bulk != nil {
			_ = n.bulk.SetWriteDeadline(at)
		}
	}
	return nil
}

// wallClock is a time on the loop clock as others have it; zero for none.
func (n *netConn) wallClock(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(at - n.loop.Clock()))
}

// fail makes a net.Conn's error of err.
func (n *netConn) fail(op string, err error) error {
	if err == nil || err == io.EOF && op == "read" {
		return err
	}
	if already := (*net.OpError)(nil); errors.As(err, &already) {
		return err
	}
	e := &net.OpError{Op: op, Source: n.local, Addr: n.remote, Err: err}
	if n.remote != nil {
		e.Net = n.remote.Network()
	}
	return e
}
