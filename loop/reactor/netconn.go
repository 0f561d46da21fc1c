package reactor

// netConn: a Conn as a net.Conn. A task's Read and Write park the task, those of
// any other goroutine block it. This file has its events, deadlines and closing;
// netread.go and netwrite.go have the two directions.
//
// Events of the Conn come on its loop, calls from any goroutine: mu guards what
// both touch. The Conn itself is touched on its loop only. No goroutine waits
// while it holds mu; a task that may wait, or touch the Conn, passes the gate
// (Task.Enter) before it locks mu.

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"tafe/loop"
)

type netConn struct {
	loop          *loop.Loop
	conn          *Conn // on its loop only
	local, remote net.Addr

	mu       sync.Mutex
	closed   bool  // by Close
	outEnded bool  // by CloseWrite
	inEnded  bool  // by the peer
	keep     bool  // when a task is cancelled in Read
	ended    error // why the Conn has ended
	readBy   int64 // deadline on the loop clock; 0: none
	writeBy  int64

	// Unread bytes are in the Conn's input, and before those in handed: what was
	// given to goroutines that are not on the loop.
	arrived bool // the Conn's input is not empty
	handed  []byte
	got     int // of handed: read
	reads   turns
	reader  loop.Waiter
	want    []byte // the waiting Read's buffer, until filled
	filled  int    // bytes put into it
	onLoop  bool   // the waiting Read is of a task of the Conn's loop
	asked   bool   // handOver is posted

	out    []byte // written off the loop, not yet taken there
	posted bool   // takePosted is
	behind int    // Conn.Unsent as of the last taking
	writes turns
	writer loop.Waiter // waits for room
	asking bool        // room will be called
}

// NewNetConn makes a net.Conn of c, whose Handler it becomes; what c has
// received and not consumed is read first. It is for the goroutine of c's loop; the
// net.Conn may be used by any goroutine, except that Read and Write fail with
// loop.ErrOnLoop on a loop's own. A task of any loop that waits in it gives its
// loop back. When the task is cancelled meanwhile, the connection is closed,
// because the state of its protocol is unknown then; the method KeepOnCancel(bool)
// changes that for Read. A deadline that passes does not close it.
//
// The directions end separately: after the peer's FIN, Read returns io.EOF and
// Write still sends; CloseWrite() error sends the own FIN after what was written.
// At most 256 KiB are held unread in the Conn, and as much again for readers that
// are not on its loop; beyond that the peer is not read.
func NewNetConn(c *Conn) net.Conn {
	n := &netConn{loop: c.r.loop, conn: c, local: c.LocalAddr(), remote: c.RemoteAddr()}
	c.handler = n
	c.inMax = min(c.inMax, readAheadMax)
	if c.pinned { // or its buffer would grow for as long as it is
		n.handed, n.got = c.takeInput()
	}
	c.SetTimeout(0)
	c.Resume()
	n.arrived, n.inEnded = len(c.Input()) > 0, c.InputEnded()
	if c.Closed() {
		n.ended = net.ErrClosed
	}
	return n
}

// Data is the Handler's.
func (n *netConn) Data(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed { // its posted closing was refused
		n.shut()
		return
	}
	n.inEnded = c.InputEnded()
	n.deliver()
	if n.filled > 0 || n.inEnded {
		n.reader.Wake()
	}
}

// Timeout is the Handler's; nothing sets one.
func (n *netConn) Timeout(c *Conn) { c.Abort(os.ErrDeadlineExceeded) }

// Closed is the Handler's.
func (n *netConn) Closed(c *Conn, err error) {
	if err == nil {
		err = net.ErrClosed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = err
	if !n.closed {
		n.rescue()
	}
	n.wakeAll()
}

// wakeAll has everyone who waits look again.
func (n *netConn) wakeAll() {
	n.reader.Wake()
	n.writer.Wake()
	n.reads.line.Broadcast()
	n.writes.line.Broadcast()
}

// isOn tells whether the calling task t is on the Conn's loop and may touch it.
func (n *netConn) isOn(t *loop.Task) bool { return t != nil && t.Loop() == n.loop }

// enter begins a method that never waits for the peer and may touch the Conn:
// onLoop tells whether it may at once. Its caller defers Leave.
func (n *netConn) enter() (t *loop.Task, entered loop.Crossing, onLoop bool) {
	t = n.conn.r.Current()
	entered = t.Enter()
	return t, entered, n.loop.Drive().Owned()
}

// wait waits without the lock until w is woken or until has come on the loop clock.
func (n *netConn) wait(w loop.Waiter, until int64) error {
	n.mu.Unlock()
	defer n.mu.Lock() // also when the task is unwound
	return w.Wait(n.loop, until)
}

// Close implements net.Conn: what was written is still sent.
func (n *netConn) Close() error {
	t, entered, onLoop := n.enter()
	defer t.Leave(entered)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return n.fail("close", net.ErrClosed)
	}
	n.close(onLoop)
	return nil
}

// close ends the use of the connection. mu is held.
func (n *netConn) close(onLoop bool) {
	n.closed = true
	n.handed, n.got = nil, 0
	n.wakeAll()
	if onLoop {
		n.shut()
		return
	}
	n.loop.PostUnbounded(func() { // a loop that has stopped has closed it
		n.mu.Lock()
		defer n.mu.Unlock()
		n.shut()
	})
}

// shut closes the Conn after its output. On the loop, mu held.
func (n *netConn) shut() {
	n.takeOutput()
	n.conn.NoLinger()
	n.conn.Close()
}

// CloseWrite ends this direction of the stream after what was written; Read goes
// on. Later Writes fail with EPIPE. Any goroutine; it does not wait.
func (n *netConn) CloseWrite() error {
	t, entered, onLoop := n.enter()
	defer t.Leave(entered)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return n.fail("close", net.ErrClosed)
	case n.ended != nil:
		return n.fail("close", n.ended)
	case n.outEnded:
		return nil
	}
	n.outEnded = true
	n.writer.Wake()
	n.writes.line.Broadcast()
	if onLoop {
		n.shutWrite()
		return nil
	}
	if !n.loop.PostUnbounded(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.shutWrite()
	}) {
		return n.fail("close", net.ErrClosed)
	}
	return nil
}

// shutWrite ends the Conn's output. On the loop, mu held.
func (n *netConn) shutWrite() {
	n.takeOutput()
	n.conn.CloseWrite()
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
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return n.fail("set", net.ErrClosed)
	}
	if read {
		n.readBy = due
		n.reader.Wake()
		n.reads.line.Broadcast()
	}
	if write {
		n.writeBy = due
		n.writer.Wake()
		n.writes.line.Broadcast()
	}
	return nil
}

// passed tells whether a deadline has.
func (n *netConn) passed(by int64) bool { return by != 0 && by <= n.loop.Clock() }

// KeepOnCancel says whether the connection stays open when a task that waits in
// Read is cancelled. The Read's error is a net.Error that is Temporary then, so
// that crypto/tls, too, can be read again. Nothing that was received is lost. A
// Write that is cancelled always closes: how much of it was sent is unknown.
func (n *netConn) KeepOnCancel(keep bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keep = keep
}

// cancelled closes the connection, unless keep, when a wait of t failed with err
// because t was cancelled. mu is held.
func (n *netConn) cancelled(t *loop.Task, err error, keep bool) error {
	switch {
	case t == nil || t.Err() == nil || n.closed:
		return err
	case keep:
		return interrupted{err}
	}
	n.close(n.isOn(t))
	return err
}

// interrupted is the cause of a cancelled Read that another may follow.
type interrupted struct{ error }

func (e interrupted) Unwrap() error   { return e.error }
func (e interrupted) Timeout() bool   { return false }
func (e interrupted) Temporary() bool { return true }

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

// turns lets one user at a time through. Guarded by its owner's mutex.
type turns struct {
	line  loop.Cond
	taken bool
}

// take waits for the turn; the parameters are those of Cond.Wait, until is read
// anew for each wait. It fails with stop's error as soon as there is one, and then
// the turn was not taken.
func (u *turns) take(t *loop.Task, l *loop.Loop, mu sync.Locker, until *int64, stop func() error) error {
	for {
		err := stop()
		if err == nil && !u.taken {
			u.taken = true
			return nil
		}
		if err == nil {
			err = u.line.Wait(t, l, mu, *until)
		}
		if err != nil {
			u.pass()
			return err
		}
	}
}

// release ends the caller's turn.
func (u *turns) release() {
	u.taken = false
	u.pass()
}

// pass wakes the next in line if the turn is free.
func (u *turns) pass() {
	if !u.taken {
		u.line.Signal()
	}
}
