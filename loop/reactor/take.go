// Take replaces the Handler of a Conn when it changes its protocol, for example to
// WebSocket. NewNetConn is for code that reads and writes instead.

package reactor

// Take makes h the Handler of a connection that changes its protocol. Existing views
// into Input stay valid. Unread bytes remain in Input; the caller handles them. The
// timeout is removed and reading continues. At most readAhead unread bytes are held.
//
// When the loop ends, the peer receives what was sent before and FIN, not a reset.
// Only the goroutine of the loop, and a task after Task.Enter, may call Take.
func (c *Conn) Take(h Handler, readAhead int) {
	c.handler, c.taken = h, true
	c.inMax = min(c.inMax, readAhead)
	if c.pinned {
		if unread, _ := c.takeInput(); len(unread) > 0 {
			c.in = unread
		}
	}
	c.SetTimeout(0)
	c.Resume()
}
