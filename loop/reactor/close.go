package reactor

// How a Conn ends: see the table in conn.go.

import (
	"io"

	"tafe/loop"
)

// swallow discards what a peer sends to a connection that is being closed. While
// output is unsent it is not read beyond a bound; after that, the bound ends it.
func (c *Conn) swallow() {
	n, err := c.transport.Read(nil, c.r.spill)
	c.swallowed += n
	switch {
	case err != nil && err != io.EOF:
		c.end(err)
	case c.state == connFlushing:
		c.inputEnded = err == io.EOF
		c.full = c.swallowed >= lingerBytes
		c.updateWant()
	case err == io.EOF || c.swallowed >= lingerBytes:
		c.end(nil)
	}
}

// Close sends what was written and then the end of the stream; see the table in
// conn.go.
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

// CloseWrite ends this direction of the stream after what was written; reading
// goes on. What is written later is dropped.
func (c *Conn) CloseWrite() {
	if !c.Closed() && !c.outEnding {
		c.outEnding = true
		c.markDirty()
	}
}

// NoLinger has Close end the connection as soon as everything was sent. It is for
// peers that send nothing more: those that were dialed, and those that have said
// so. Bytes of the peer that are not read by then make the kernel reset the
// connection.
func (c *Conn) NoLinger() { c.noLinger = true }

// Abort ends the connection without sending what is left; the Handler's Closed
// gets err. It happens at the end of the slice or turn.
func (c *Conn) Abort(err error) {
	if c.state == connEnded || c.aborting {
		return
	}
	c.aborting, c.cause = true, err
	c.markDirty()
}

// shut ends the stream's write side after the last byte, and lingers.
func (c *Conn) shut() {
	if c.noLinger {
		c.end(nil)
		return
	}
	if !c.outEnded && c.transport.CloseWrite() != nil || c.inputEnded && c.transport.Unsent() == 0 {
		c.end(nil)
		return
	}
	c.state = connLingering
	c.full, c.swallowed = false, 0
	c.timeout.Owner = c
	c.r.loop.AfterFunc(&c.timeout, lingerTime, connTimeout)
	c.updateWant()
}

// endsPlainly reports whether the peer may read the end of the stream although the loop ends: the protocol of a NetConn has an end
// of its own, and nothing is half sent.
func (c *Conn) endsPlainly(err error) bool {
	_, taken := c.handler.(*netConn)
	return taken && err == loop.ErrShutdown && c.transport.Unsent() == 0
}

// end closes the descriptor and tells the Handler, once.
func (c *Conn) end(err error) {
	if c.state == connEnded {
		return
	}
	c.state = connEnded
	r := c.r
	r.conns--
	r.loop.StopTimer(&c.timeout)
	r.loop.StopTimer(&c.stallTime)
	c.transport.Close(err != nil && !c.endsPlainly(err))
	if c.release != nil {
		c.release(c)
	}
	c.dropOutput()
	c.wakeDrained(0)
	if c.file != nil {
		c.file.wake()
	}
	c.handler.Closed(c, err)
	c.pinned = c.pinned && len(c.in) > 0
	if !c.pinned && c.in != nil {
		r.bufs.put(c.in)
		c.in, c.read = nil, 0
	}
}
