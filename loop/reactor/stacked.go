// Support for protocols with several streams on a connection (HTTP/2): Stack, Protocol,
// NeedInput, Batch.

package reactor

// Stack opens a Conn on the same loop for a stream that c carries. The owner of tr
// calls its Readable and Writable.
func (c *Conn) Stack(tr Transport, h Handler) *Conn { return c.r.Open(tr, h) }

// Protocol returns the protocol that was negotiated by ALPN; "" without TLS.
func (c *Conn) Protocol() string {
	if c.tls == nil || c.tls.state != tlsOpen {
		return ""
	}
	return c.tls.session.ConnectionState().NegotiatedProtocol
}

// Batch has the output of the tasks of a turn sent together, if they take less than
// 100 us. Without it the output of a task is sent before the next task runs.
func (c *Conn) Batch() { c.batched = true }

// NeedInput makes the connection buffer up to twice n unread bytes, if it would buffer
// less, so that messages of n bytes arrive whole.
func (c *Conn) NeedInput(n int) { c.inMax = max(c.inMax, 2*n) }
