// This file has netConn, which makes a net.Conn of a Conn: its events, deadlines
// and closing. netread.go and netwrite.go have the two directions. Read and Write
// park a calling task, and block any other goroutine.
//
// The Conn and its events belong to its loop; the methods are called by any
// goroutine. mu guards what both use. No goroutine waits while it holds mu. A task
// passes Task.Enter before it locks mu if it may wait or touch the Conn.

package reactor

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"tafe/loop"
)

// netConn is the Handler and the net.Conn that NewNetConn makes.
type netConn struct {
	loop          *loop.Loop
	conn          *Conn // on its loop only
	local, remote net.Addr

	mu           sync.Mutex
	closed       bool  // Close was called
	outEnded     bool  // CloseWrite was called
	inEnded      bool  // the peer sent FIN
	keepOnCancel bool  // stay open when a task is cancelled in Read
	ended        error // the error of the Conn once it has ended
	readBy       int64 // deadline on the loop clock; 0: none
	writeBy      int64

	// Unread bytes are first in detached, which readers outside the loop may touch,
	// then in the Conn's input.
	arrived       bool // the Conn's input is not empty
	detached      []byte
	detachedRead  int // bytes of detached that were read
	readLock      parkMutex
	reader        loop.Waiter
	readBuf       []byte // buffer of the waiting Read, until filled
	filled        int    // bytes in that buffer
	onLoop        bool   // the waiting Read is a task of the Conn's loop
	deliverPosted bool   // deliverOffLoop is posted

	out         []byte // written outside the loop, not yet in the Conn
	writePosted bool   // takePosted is posted
	loopUnsent  int    // Conn.Unsent when the loop last took out
	writeLock   parkMutex
	writer      loop.Waiter // the Write that waits for room
	roomWatched bool        // room will be called
}

// NewNetConn makes a net.Conn of c and becomes its Handler. Bytes that c has
// received and not consumed are read first. NewNetConn is for the loop of c, and its
// tasks after Task.Enter. Any goroutine may use the net.Conn, except that Read and
// Write fail with loop.ErrOnLoop on a goroutine that owns a loop. A waiting task of
// any loop is parked.
//
// If a task is cancelled while it waits, the connection is closed, because the
// state of its protocol is unknown then. The method KeepOnCancel(bool) changes that
// for Read. A deadline that passes does not close the connection.
//
// The two directions end separately: after the peer's FIN, Read returns io.EOF and
// Write still sends; the method CloseWrite() error sends FIN after what was
// written. At most 256 KiB are held unread in the Conn, and as much again for
// readers outside its loop; beyond that, reading from the peer stops.
func NewNetConn(c *Conn) net.Conn {
	n := &netConn{loop: c.r.loop, conn: c, local: c.LocalAddr(), remote: c.RemoteAddr()}
	c.handler, c.taken = n, true
	c.inMax = min(c.inMax, readAheadMax)
	if c.pinned { // a pinned buffer would grow without bound
		n.detached, n.detachedRead = c.takeInput()
	}
	c.SetTimeout(0)
	c.Resume()
	n.arrived, n.inEnded = len(c.Input()) > 0, c.InputEnded()
	if c.Closed() {
		n.ended = net.ErrClosed
	}
	return n
}

// Data implements Handler.
func (n *netConn) Data(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed { // the loop refused the posted closeConn
		n.closeConn()
		return
	}
	n.inEnded = c.InputEnded()
	n.deliver()
	if n.filled > 0 || n.inEnded {
		n.reader.Wake()
	}
}

// Timeout implements Handler. No timeout is set.
func (n *netConn) Timeout(c *Conn) { c.Abort(os.ErrDeadlineExceeded) }

// Closed implements Handler.
func (n *netConn) Closed(c *Conn, err error) {
	if err == nil {
		err = net.ErrClosed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = err
	if !n.closed {
		n.keepInput()
	}
	n.wakeAll()
}

// wakeAll wakes all waiting callers, which check the state again.
func (n *netConn) wakeAll() {
	n.reader.Wake()
	n.writer.Wake()
	n.readLock.waitQueue.Broadcast()
	n.writeLock.waitQueue.Broadcast()
}

// isOn reports whether the calling task t is on the Conn's loop and may touch the
// Conn.
func (n *netConn) isOn(t *loop.Task) bool { return t != nil && t.Loop() == n.loop }

// enter begins a method that does not wait. onLoop reports whether it may touch the
// Conn. The caller defers Leave.
func (n *netConn) enter() (t *loop.Task, entered loop.Crossing, onLoop bool) {
	t = n.conn.r.Current()
	entered = t.Enter()
	return t, entered, n.loop.Drive().Owned()
}

// wait releases mu and waits until w is woken, or until the loop clock time until.
func (n *netConn) wait(w loop.Waiter, until int64) error {
	n.mu.Unlock()
	defer n.mu.Lock() // also when the task is unwound
	return w.Wait(n.loop, until)
}

// Close implements net.Conn. What was written is still sent.
func (n *netConn) Close() error {
	t, entered, onLoop := n.enter()
	defer t.Leave(entered)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return n.opError("close", net.ErrClosed)
	}
	n.close(onLoop)
	return nil
}

// close ends the use of the connection. mu is held.
func (n *netConn) close(onLoop bool) {
	n.closed = true
	n.detached, n.detachedRead = nil, 0
	n.wakeAll()
	if onLoop {
		n.closeConn()
		return
	}
	n.loop.PostUnbounded(func() { // if the loop has stopped, the Conn is closed
		n.mu.Lock()
		defer n.mu.Unlock()
		n.closeConn()
	})
}

// closeConn closes the Conn after its output. It runs on the loop; mu is held.
func (n *netConn) closeConn() {
	n.takeOutput()
	n.conn.NoLinger()
	n.conn.Close()
}

// CloseWrite sends FIN after what was written; Read continues. Later Writes fail
// with EPIPE. Any goroutine; it does not wait.
func (n *netConn) CloseWrite() error {
	t, entered, onLoop := n.enter()
	defer t.Leave(entered)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return n.opError("close", net.ErrClosed)
	case n.ended != nil:
		return n.opError("close", n.ended)
	case n.outEnded:
		return nil
	}
	n.outEnded = true
	n.writer.Wake()
	n.writeLock.waitQueue.Broadcast()
	if onLoop {
		n.closeConnWrite()
		return nil
	}
	if !n.loop.PostUnbounded(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.closeConnWrite()
	}) {
		return n.opError("close", net.ErrClosed)
	}
	return nil
}

// closeConnWrite ends the Conn's output. It runs on the loop; mu is held.
func (n *netConn) closeConnWrite() {
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
		return n.opError("set", net.ErrClosed)
	}
	if read {
		n.readBy = due
		n.reader.Wake()
		n.readLock.waitQueue.Broadcast()
	}
	if write {
		n.writeBy = due
		n.writer.Wake()
		n.writeLock.waitQueue.Broadcast()
	}
	return nil
}

// deadlinePassed reports whether the deadline by has passed.
func (n *netConn) deadlinePassed(by int64) bool { return by != 0 && by <= n.loop.Clock() }

// KeepOnCancel sets whether the connection stays open when a task is cancelled
// while it waits in Read. The error of that Read is a net.Error with Temporary
// true, so that a crypto/tls session on the connection can be read again, too. No
// received byte is lost. A cancelled Write always closes the connection, because it
// is unknown how much of it was sent.
func (n *netConn) KeepOnCancel(keep bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keepOnCancel = keep
}

// cancelled closes the connection, unless keep, if the wait of t failed with err
// because t was cancelled. It returns the error for the caller. mu is held.
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

// interrupted is the error of a cancelled Read after which the connection stays
// open.
type interrupted struct{ error }

func (e interrupted) Unwrap() error   { return e.error }
func (e interrupted) Timeout() bool   { return false }
func (e interrupted) Temporary() bool { return true }

// opError wraps err in a *net.OpError, except io.EOF of a Read.
func (n *netConn) opError(op string, err error) error {
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

// parkMutex is a mutex that parks waiting tasks, with a deadline. The owner's mutex
// guards its fields.
type parkMutex struct {
	waitQueue loop.Cond
	locked    bool
}

// lock waits for the lock; the parameters are those of Cond.Wait, and until is read
// anew for each wait. It fails, without the lock, when stop returns an error or the
// wait does.
func (u *parkMutex) lock(t *loop.Task, l *loop.Loop, mu sync.Locker, until *int64, stop func() error) error {
	for {
		err := stop()
		if err == nil && !u.locked {
			u.locked = true
			return nil
		}
		if err == nil {
			err = u.waitQueue.Wait(t, l, mu, *until)
		}
		if err != nil {
			u.signal()
			return err
		}
	}
}

// unlock releases the lock.
func (u *parkMutex) unlock() {
	u.locked = false
	u.signal()
}

// signal wakes the next waiting caller if the lock is free.
func (u *parkMutex) signal() {
	if !u.locked {
		u.waitQueue.Signal()
	}
}
