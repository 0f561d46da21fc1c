// This file has Take, which gives a connection to a protocol that works on the
// events of its loop, without a task. NewNetConn gives it to code that reads and
// writes.

package reactor

// Take makes h the Handler of a connection that changes its protocol. Views into
// its input stay valid, as after Unpin of a buffer that is not reused, and the
// bytes that were not consumed remain its Input. The timeout is removed and reading
// continues. At most readAhead unread bytes are held.
//
// When the loop ends, the peer receives what was sent before and FIN, not a reset.
// Only the goroutine of the loop, and a task after Task.Enter, may call Take. The
// caller handles what is in Input already.
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
