// For client protocols driven by events: ConnOf unwraps a dialed net.Conn, and ClientTLS
// performs a TLS handshake.

package reactor

import (
	"crypto/tls"
	"net"
	"time"

	"tafe/loop"
)

// ConnOf returns the Conn of a net.Conn that a Dialer or NewNetConn has returned; nil for any
// other. The caller sets a Handler and does not use the net.Conn any more. It is for
// the goroutine of the Conn's loop and its running task.
func ConnOf(c net.Conn) *Conn {
	if n, ok := c.(*netConn); ok && n.loop.Drive().Owned() {
		return n.conn
	}
	return nil
}

// clientHandshake is the Handler of a Conn while a task performs the handshake of a TLS
// client.
type clientHandshake struct {
	stream *tlsStream
	late   bool
}

// ClientTLS makes c a TLS client connection. The task t, of the loop of c, performs the
// handshake, and waits for up to timeout. The caller then sets a Handler, and calls
// its Data for what is in Input. After an error c is closed.
func ClientTLS(t *loop.Task, c *Conn, config *tls.Config, timeout time.Duration) error {
	defer t.Leave(t.Enter())
	s := &tlsStream{conn: c, below: c.transport, config: &TLS{}, state: tlsHandshaking, task: t}
	s.tlsBelow.stream, s.tlsBelow.remote, s.tlsBelow.local = s, c.RemoteAddr(), c.LocalAddr()
	s.tlsBelow.early = append([]byte(nil), c.Input()...)
	c.Consume(len(s.tlsBelow.early))
	s.session = tls.Client(&s.tlsBelow, config)
	h := &clientHandshake{stream: s}
	c.transport, c.tls, c.handler = s, s, h
	c.SetTimeout(timeout)
	done := false
	defer func() {
		s.task = nil
		if !done { // it failed, or the task is unwound
			s.state = tlsFailed
			s.resumeReadEvents()
			c.NoLinger()
			c.Close() // after the alert of crypto/tls
		}
	}()
	var err error
	t.Outside(func() { err = s.session.Handshake() })
	switch {
	case h.late:
		return ErrHandshakeTimeout
	case err != nil:
		return err
	case c.Closed():
		return loop.ErrClosed
	}
	done = true
	s.state, s.freshlyOpen, s.more = tlsOpen, true, true
	s.resumeReadEvents()
	c.SetTimeout(0)
	c.readMore()
	return nil
}

// Data implements Handler. What arrives before the caller has set its Handler stays in the
// Input.
func (h *clientHandshake) Data(*Conn) {}

// Timeout implements Handler.
func (h *clientHandshake) Timeout(c *Conn) {
	h.late = true
	c.Abort(ErrHandshakeTimeout)
}

// Closed implements Handler: it wakes the task, whose read then fails.
func (h *clientHandshake) Closed(*Conn, error) {
	if s := h.stream; s.parked {
		s.parked = false
		s.waker.Wake()
	}
}
