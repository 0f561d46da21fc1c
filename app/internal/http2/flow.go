// Flow control (RFC 9113 section 5.2). A window of input bounds what a peer can make this side hold. It begins small,
// and doubles while its reader is faster than the peer, so that a fast upload over a long path is not held back, and a
// slow reader pins little memory.

package http2

// inputWindow is a window that this side gives to the peer. Its size is the sum of three: what the peer may still send,
// what it sent and was not read, and what was read and is owed.
type inputWindow struct {
	size int // in bytes
	left int // that the peer may still send
	owed int // that were read, and for which no WINDOW_UPDATE was sent
}

// take counts n bytes that have arrived. It reports false if the peer has exceeded the window.
func (w *inputWindow) take(n int) bool {
	if n > w.left {
		return false
	}
	w.left -= n
	return true
}

// give counts n bytes that were read, and returns by how much to open the window; 0 until half of it is owed.
func (w *inputWindow) give(n int) int {
	w.owed += n
	if w.owed < w.size/2 {
		return 0
	}
	n = w.owed
	w.owed = 0
	w.left += n
	return n
}

// grow enlarges the window.
func (w *inputWindow) grow(n int) {
	w.size += n
	w.left += n
}

// unread returns how many bytes have arrived and were not read.
func (w *inputWindow) unread() int { return w.size - w.left - w.owed }

// read counts n bytes of s that were read or dropped, and sends the updates that are due.
func (c *Conn) read(s *Stream, n int) {
	if c.closed || n == 0 {
		return
	}
	if s != nil && !s.inEnded && !s.dead {
		if update := s.window.give(n); update > 0 {
			if s.window.unread() == 0 && s.window.size < c.shared.Limits.StreamWindowMax {
				more := min(s.window.size, c.shared.Limits.StreamWindowMax-s.window.size)
				s.window.grow(more)
				update += more
			}
			c.sendUpdate(s.id, update)
		}
	}
	if update := c.window.give(n); update > 0 {
		if c.window.unread() <= c.window.size/4 {
			update += c.growWindow(c.window.size)
		}
		c.sendUpdate(0, update)
	}
}

// growWindow enlarges the window of the connection by up to n bytes, and returns by how many.
func (c *Conn) growWindow(n int) int {
	n = c.shared.grant(max(min(n, c.shared.Limits.ConnWindowMax-c.window.size), 0))
	c.window.grow(n)
	c.granted += n
	return n
}

func (c *Conn) sendUpdate(stream uint32, n int) {
	c.rc.SetOutput(appendWindowUpdate(c.rc.Output(frameHeadBytes+4), stream, int32(n)))
}
