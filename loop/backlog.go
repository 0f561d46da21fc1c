package loop

// A netConn that nobody reads: when it has received much, its stream leaves the
// loop for the bulk lane, and what comes more waits at the peer.

import "errors"

// readAheadMax is how much a connection that nobody reads may hold before it
// leaves its loop for the bulk lane, where the socket's own window holds the
// peer back. While output stands in the way of that, Limits.InboundMax is the
// bound, and ErrInboundFull the end.
const readAheadMax = 2 * readBytesMax

// leaveLoop moves the stream to the bulk lane, once nothing is unsent.
func (n *netConn) leaveLoop(held int) {
	c := n.conn
	n.mu.Lock()
	n.takeOutput()
	n.mu.Unlock()
	c.flush()
	if c.Closed() {
		return
	}
	err := n.detach()
	switch {
	case err == nil:
	case errors.Is(err, errStays) && held <= n.loop.limits.InboundMax:
	default:
		n.loop.stats.ClosedInbound++
		c.drop(ErrInboundFull)
	}
}

// errStays: the stream cannot leave its loop now.
var errStays = errors.New("loop: unsent output")

// detach makes the bulk lane what Read and Write use.
func (n *netConn) detach() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.out)+n.conn.Unsent() > 0 {
		return errStays
	}
	b, err := n.conn.detach()
	if errors.Is(err, errors.ErrUnsupported) { // a test's
		return errStays
	}
	if err != nil {
		return err
	}
	n.bulk = b
	_ = b.SetReadDeadline(n.wallClock(n.readBy))
	_ = b.SetWriteDeadline(n.wallClock(n.writeBy))
	n.reader.wake(n.loop)
	n.writer.wake(n.loop)
	return nil
}
