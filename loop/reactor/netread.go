package reactor

// Reading from a netConn. A task of the Conn's own loop copies from the Conn's
// input, or has the kernel read into its buffer while it waits. Other readers get
// bytes handed over under the lock.

import (
	"io"
	"net"
	"os"

	"tafe/loop"
)

// readAheadMax is how many bytes the Conn of a netConn holds unread before its
// peer is not read any more.
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
	if err := n.readTurn.lock(t, n.loop, &n.mu, &n.readBy, n.mayRead); err != nil {
		return 0, n.opError("read", n.cancelled(t, err, n.keepOnCancel))
	}
	defer n.readTurn.unlock()
	k, err := n.read(p, t)
	return k, n.opError("read", err)
}

// mayRead is the error that ends a Read before it looks for bytes.
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
			return n.readHanded(p, onLoop), nil
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

// readHanded reads what was handed over.
func (n *netConn) readHanded(p []byte, onLoop bool) int {
	k := copy(p, n.detached[n.detachedRead:])
	if n.detachedRead += k; n.detachedRead == len(n.detached) {
		if onLoop {
			n.conn.r.bufs.putBuffer(n.detached)
		}
		n.detached, n.detachedRead = nil, 0
	}
	return k
}

// readInput reads from the Conn. On the loop.
func (n *netConn) readInput(p []byte) int {
	k := copy(p, n.conn.Input())
	n.conn.Consume(k)
	n.arrived = len(n.conn.Input()) > 0
	return k
}

// awaitInput waits for bytes, the deadline, or another reason to look again.
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

// handOver gives a reader that is not on the loop what the Conn holds. Posted.
func (n *netConn) deliverOffLoop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deliverPosted = false
	if n.deliver(); n.filled > 0 {
		n.reader.Wake()
	}
}

// deliver copies input into the buffer of the Read that waits. If that is not on
// the loop, the rest is handed over too: the next Read finds it there. On the loop,
// mu held.
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

// rescue keeps the input of a Conn that has ended. On the loop, mu held.
func (n *netConn) keepInput() {
	n.deliver()
	if n.arrived {
		n.detached = append(n.detached, n.conn.Input()...)
		n.arrived = false
	}
}

// inputBuffer is the inputTaker's: the buffer of a parked Read. Its task runs on
// this loop, so it does not withdraw the buffer before inputTaken.
func (n *netConn) inputBuffer() []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.onLoop {
		return nil
	}
	return n.readBuf
}

// inputTaken is the inputTaker's; Data follows, and wakes the reader.
func (n *netConn) inputTaken(k int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filled, n.readBuf = k, nil
}

// Arrived tells, without waiting, whether a Read would find anything: bytes, the
// end of the stream or an error, here or, for a caller on the Conn's loop, still
// in the socket.
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
	return fd >= 0 && rawPeek(fd)
}
