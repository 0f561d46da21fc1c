// This file has Read of a netConn. A task of the Conn's own loop copies from the
// Conn's input, or lets the kernel write into its buffer while it waits. Other
// readers receive bytes that the loop has put into detached.

package reactor

import (
	"io"
	"net"
	"os"

	"tafe/loop"
)

// readAheadMax is how many unread bytes the Conn of a netConn holds before it stops
// reading.
const readAheadMax = 256 << 10

// Read implements net.Conn.
func (n *netConn) Read(p []byte) (int, error) {
	t, err := n.conn.r.caller()
	if err != nil {
		return 0, n.opError("read", err)
	}
	if len(p) == 0 {
		return 0, nil
	}
	defer t.Leave(t.Enter())
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.readLock.lock(t, n.loop, &n.mu, &n.readBy, n.mayRead); err != nil {
		return 0, n.opError("read", n.cancelled(t, err, n.keepOnCancel))
	}
	defer n.readLock.unlock()
	k, err := n.read(p, t)
	return k, n.opError("read", err)
}

// mayRead returns the error that ends a Read before it looks for bytes.
func (n *netConn) mayRead() error {
	switch {
	case n.closed:
		return net.ErrClosed
	case n.deadlinePassed(n.readBy):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (n *netConn) read(p []byte, t *loop.Task) (int, error) {
	onLoop := n.isOn(t)
	for {
		if err := n.mayRead(); err != nil {
			return 0, err
		}
		switch {
		case n.detachedRead < len(n.detached):
			return n.readDetached(p, onLoop), nil
		case n.arrived && onLoop:
			return n.readInput(p), nil
		case n.arrived:
		case n.inEnded:
			return 0, io.EOF
		case n.ended != nil:
			return 0, n.ended
		}
		if k, err := n.awaitInput(p, t, onLoop); k > 0 || err != nil {
			return k, err
		}
	}
}

// readDetached copies from detached.
func (n *netConn) readDetached(p []byte, onLoop bool) int {
	k := copy(p, n.detached[n.detachedRead:])
	if n.detachedRead += k; n.detachedRead == len(n.detached) {
		if onLoop {
			n.conn.r.bufs.putBuffer(n.detached)
		}
		n.detached, n.detachedRead = nil, 0
	}
	return k
}

// readInput copies from the Conn's input. It runs on the loop.
func (n *netConn) readInput(p []byte) int {
	k := copy(p, n.conn.Input())
	n.conn.Consume(k)
	n.arrived = len(n.conn.Input()) > 0
	return k
}

// awaitInput waits for bytes, the deadline, or another change of the state.
func (n *netConn) awaitInput(p []byte, t *loop.Task, onLoop bool) (int, error) {
	n.reader = loop.WaiterFor(t)
	n.readBuf, n.filled, n.onLoop = p, 0, onLoop
	defer func() { n.readBuf, n.filled, n.reader = nil, 0, loop.Waiter{} }()
	if n.arrived && !n.deliverPosted {
		if !n.loop.PostUnbounded(n.deliverOffLoop) {
			return 0, net.ErrClosed
		}
		n.deliverPosted = true
	}
	err := n.wait(n.reader, n.readBy)
	switch {
	case n.filled > 0:
		return n.filled, nil
	case err != nil:
		return 0, n.cancelled(t, err, n.keepOnCancel)
	}
	return 0, nil
}

// deliverOffLoop delivers the Conn's input to a reader outside the loop, which
// posts it.
func (n *netConn) deliverOffLoop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deliverPosted = false
	if n.deliver(); n.filled > 0 {
		n.reader.Wake()
	}
}

// deliver copies input into the buffer of the waiting Read. If that is outside the
// loop, it also moves the rest to detached, for the next Read. It runs on the loop;
// mu is held.
func (n *netConn) deliver() {
	c := n.conn
	if n.readBuf != nil && len(c.Input()) > 0 {
		n.filled = copy(n.readBuf, c.Input())
		n.readBuf = nil
		c.Consume(n.filled)
		if len(c.Input()) > 0 && !n.onLoop && n.detachedRead == len(n.detached) {
			n.detached, n.detachedRead = c.takeInput()
		}
	}
	n.arrived = len(c.Input()) > 0
}

// keepInput moves the input of a Conn that has ended to detached. It runs on the
// loop; mu is held.
func (n *netConn) keepInput() {
	n.deliver()
	if n.arrived {
		n.detached = append(n.detached, n.conn.Input()...)
		n.arrived = false
	}
}

// InputBuffer implements InputReceiver with the buffer of a parked Read. The Read's
// task runs on this loop, so it does not withdraw the buffer before InputTaken.
func (n *netConn) InputBuffer() []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.onLoop {
		return nil
	}
	return n.readBuf
}

// InputTaken implements InputReceiver. Data follows and wakes the reader.
func (n *netConn) InputTaken(k int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filled, n.readBuf = k, nil
}

// Arrived reports, without waiting, whether Read would return at once with bytes,
// the end of the stream or an error. Called on the Conn's loop, it also looks into
// the socket.
func (n *netConn) Arrived() bool {
	t, entered, onLoop := n.enter()
	defer t.Leave(entered)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.ended != nil || n.inEnded || n.arrived || n.detachedRead < len(n.detached) {
		return true
	}
	fd := -1
	if onLoop {
		fd = n.conn.transport.FD()
	}
	return fd >= 0 && Arrived(fd)
}
