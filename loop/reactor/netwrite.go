// This file has Write of a netConn. A task of the Conn's own loop writes to the
// Conn; other writers append to a buffer that the loop takes.

package reactor

import (
	"net"
	"os"
	"syscall"
	"time"

	"tafe/loop"
)

const (
	// writeAheadMax is how many unsent bytes make Write wait.
	writeAheadMax = 256 << 10
	// throughMin is the length from which Conn.WriteThrough is used, which saves
	// copying.
	throughMin = 16 << 10
	// writeBufKeepMax is the largest capacity of an empty out that is kept.
	writeBufKeepMax = 4 << 10
)

// Write implements net.Conn. It returns when the bytes are queued or sent; an error
// of the socket is returned by a later call.
func (n *netConn) Write(p []byte) (int, error) {
	t, err := n.conn.r.caller()
	if err != nil {
		return 0, n.opError("write", err)
	}
	defer t.Leave(t.Enter())
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writeLock.lock(t, n.loop, &n.mu, &n.writeBy, n.mayWrite); err != nil {
		return 0, n.opError("write", n.cancelled(t, err, false))
	}
	defer n.writeLock.unlock()
	total := 0
	for total < len(p) && err == nil {
		var k int
		k, err = n.write(p[total:], t)
		total += k
	}
	return total, n.opError("write", err)
}

// mayWrite returns the error that ends a Write.
func (n *netConn) mayWrite() error {
	switch {
	case n.closed:
		return net.ErrClosed
	case n.deadlinePassed(n.writeBy):
		return os.ErrDeadlineExceeded
	case n.outEnded:
		return syscall.EPIPE
	}
	return n.ended
}

// write queues as much of p as there is room for, or waits for room.
func (n *netConn) write(p []byte, t *loop.Task) (int, error) {
	if err := n.mayWrite(); err != nil {
		return 0, err
	}
	onLoop := n.isOn(t)
	ahead := len(n.out) + n.loopUnsent
	if onLoop {
		ahead = len(n.out) + n.conn.Unsent()
	}
	if ahead < writeAheadMax {
		p = p[:min(len(p), writeAheadMax-ahead)]
		if err := n.queueWrite(p, onLoop); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return 0, n.awaitRoom(t, onLoop)
}

// SetWriteTimeout replaces Limits.WriteTimeout for this connection. It is for
// tunnels, whose peers may pause for longer than a client that reads a response.
// Any goroutine; it does not wait.
func (n *netConn) SetWriteTimeout(d time.Duration) error {
	t, entered, onLoop := n.enter()
	defer t.Leave(entered)
	if onLoop {
		n.conn.stallMax = d
		return nil
	}
	if !n.loop.PostUnbounded(func() { n.conn.stallMax = d }) {
		return n.opError("set", net.ErrClosed)
	}
	return nil
}

// awaitRoom waits until at most half of writeAheadMax is unsent, for the deadline,
// or for another change of the state.
func (n *netConn) awaitRoom(t *loop.Task, onLoop bool) error {
	n.writer = loop.WaiterFor(t)
	defer func() { n.writer = loop.Waiter{} }()
	switch {
	case n.roomWatched:
	case onLoop:
		n.watchRoom()
	case !n.loop.PostUnbounded(n.watchRoomPosted):
		return net.ErrClosed
	}
	n.roomWatched = true
	if err := n.wait(n.writer, n.writeBy); err != nil {
		return n.cancelled(t, err, false)
	}
	return nil
}

// queueWrite queues p behind earlier writes.
func (n *netConn) queueWrite(p []byte, onLoop bool) error {
	if onLoop {
		n.takeOutput()
		if len(p) >= throughMin {
			n.conn.WriteThrough(p)
		} else {
			n.conn.Write(p)
		}
		return nil
	}
	if !n.writePosted {
		if !n.loop.PostUnbounded(n.takePosted) { // it locks mu, and so runs after this append
			return net.ErrClosed
		}
		n.writePosted = true
	}
	n.out = append(n.out, p...)
	return nil
}

// takeOutput moves what was written outside the loop to the Conn. It runs on the
// loop; mu is held.
func (n *netConn) takeOutput() {
	if len(n.out) == 0 {
		return
	}
	n.conn.Write(n.out)
	if n.out = n.out[:0]; cap(n.out) > writeBufKeepMax {
		n.out = nil
	}
}

// takePosted calls takeOutput. queueWrite posts it.
func (n *netConn) takePosted() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.writePosted = false
	n.takeOutput()
	n.loopUnsent = n.conn.Unsent()
}

// watchRoom makes the Conn call room once at most half of writeAheadMax is unsent.
// It runs on the loop.
func (n *netConn) watchRoom() { n.conn.WhenDrained(writeAheadMax/2, n.room) }

// watchRoomPosted is watchRoom for a writer outside the loop.
func (n *netConn) watchRoomPosted() {
	if c := n.conn; c.Closed() || c.Unsent() <= writeAheadMax/2 {
		n.room()
		return
	}
	n.watchRoom()
}

// room wakes the Write that waits for room.
func (n *netConn) room() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loopUnsent = n.conn.Unsent()
	n.roomWatched = false
	n.writer.Wake()
}
