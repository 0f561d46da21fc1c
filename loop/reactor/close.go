// This file closes Conns. The table of states is in conn.go.

package reactor

import (
	"io"

	"tafe/loop"
)

// discardInput reads and drops what the peer sends to a connection that is being
// closed, up to lingerBytes. Beyond that it stops reading while output is unsent,
// and ends the connection otherwise.
func (c *Conn) discardInput() {
	n, err := c.transport.Read(nil, c.r.sharedBuf)
	c.discarded += n
	switch {
	case err != nil && err != io.EOF:
		c.end(err)
	case c.state == connFlushing:
		c.inputEnded = err == io.EOF
		c.full = c.discarded >= lingerBytes
		c.updateWant()
	case err == io.EOF || c.discarded >= lingerBytes:
		c.end(nil)
	}
}

// Close sends the queued output, then FIN, and closes the descriptor after the
// peer's FIN or 2 seconds. See the table in conn.go.
func (c *Conn) Close() {
	if c.Closed() {
		return
	}
	c.state = connFlushing
	c.paused, c.full = false, false
	c.r.loop.StopTimer(&c.timeout)
	c.markDirty()
	if c.file != nil {
		c.file.wake()
	}
}

// CloseWrite sends FIN after the queued output; reading continues. Later writes are
// dropped.
func (c *Conn) CloseWrite() {
	if !c.Closed() && !c.outEnding {
		c.outEnding = true
		c.markDirty()
	}
}

// NoLinger makes Close end the connection as soon as its output is sent. It is for
// peers that send nothing more, such as servers that were dialed. If the socket
// still has unread bytes then, the kernel resets the connection.
func (c *Conn) NoLinger() { c.noLinger = true }

// Abort ends the connection without sending the queued output, at the end of the
// slice or turn. Handler.Closed receives err. If err is not nil, the peer receives
// a reset.
func (c *Conn) Abort(err error) {
	if c.state == connEnded || c.aborting {
		return
	}
	c.aborting, c.cause = true, err
	c.markDirty()
}

// startLinger sends FIN after the last byte and discards input for lingerTime (RFC
// 9112 section 9.6). With NoLinger it ends the connection.
func (c *Conn) startLinger() {
	if c.noLinger {
		c.end(nil)
		return
	}
	if !c.outEnded && c.transport.CloseWrite() != nil || c.inputEnded && c.transport.Unsent() == 0 {
		c.end(nil)
		return
	}
	c.state = connLingering
	c.full, c.discarded = false, 0
	c.timeout.Owner = c
	c.r.loop.AfterFunc(&c.timeout, lingerTime, connTimeout)
	c.updateWant()
}

// endsWithFIN reports whether the peer of a connection that was taken gets a FIN
// although the loop ends: its protocol marks its own end, and no byte of this side
// is lost.
func (c *Conn) endsWithFIN(err error) bool {
	return c.taken && err == loop.ErrShutdown && c.transport.Unsent() == 0
}

// end closes the descriptor, releases what the connection holds and calls
// Handler.Closed, once.
func (c *Conn) end(err error) {
	if c.state == connEnded {
		return
	}
	c.state = connEnded
	r := c.r
	r.conns--
	r.loop.StopTimer(&c.timeout)
	r.loop.StopTimer(&c.stallTimer)
	c.transport.Close(err != nil && !c.endsWithFIN(err))
	if c.release != nil {
		c.release(c)
	}
	c.dropOutput()
	c.wakeDrainWaits(0)
	if c.file != nil {
		c.file.wake()
	}
	c.handler.Closed(c, err)
	c.pinned = c.pinned && len(c.in) > 0
	if !c.pinned && c.in != nil {
		r.bufs.putBuffer(c.in)
		c.in, c.read = nil, 0
	}
}
