// This file has tlsBelow, the net.Conn below a TLS session. Reads go directly to the
// socket; without input, the task of a handshake waits, and an open session gets a
// temporary error. Writes are collected in the tlsStream.

package reactor

import (
	"net"
	"time"

	"tafe/loop"
)

// tlsBelow is the net.Conn of a tls.Conn.
type tlsBelow struct {
	stream        *tlsStream
	early         []byte // received before the session read it
	empty         bool   // the last read was short, so the next one can skip the system call
	handshakeRead int    // bytes read during the handshake
	remote, local net.Addr
}

// noBytes is a temporary net.Error. crypto/tls does not keep it, so the next Read
// tries again.
type noBytes struct{}

func (noBytes) Error() string   { return "reactor: no bytes yet" }
func (noBytes) Timeout() bool   { return true }
func (noBytes) Temporary() bool { return true }

var errNoBytes net.Error = noBytes{}

// Read implements net.Conn, for the loop and for the task of the handshake.
func (w *tlsBelow) Read(p []byte) (int, error) {
	s := w.stream
	t := s.task
	defer t.Leave(t.Enter())
	for {
		n, err := w.read(p)
		switch {
		case n > 0 || err != nil:
			if t == nil {
				return n, err
			}
			if w.handshakeRead += n; w.handshakeRead > handshakeBytesMax {
				return 0, errHandshakeBytes
			}
			return n, err
		case t == nil:
			return 0, errNoBytes
		}
		s.resumeReadEvents()
		s.waker, s.parked = t.Prepare(), true
		err = t.Park()
		s.parked = false
		if err != nil {
			return 0, err
		}
	}
}

// read returns 0 without an error if no bytes have arrived.
func (w *tlsBelow) read(p []byte) (int, error) {
	s := w.stream
	switch {
	case len(w.early) > 0:
		n := copy(p, w.early)
		if w.early = w.early[n:]; len(w.early) == 0 {
			w.early = nil
		}
		return n, nil
	case s.conn.state == connEnded:
		return 0, loop.ErrClosed
	case w.empty:
		w.empty = false // bytes that arrived since then cause an event
		return 0, nil
	}
	n, err := s.below.Read(p, nil)
	w.empty = n > 0 && n < len(p)
	return n, err
}

// Write implements net.Conn. Write or flush of the tlsStream sends what it queues.
func (w *tlsBelow) Write(p []byte) (int, error) {
	s := w.stream
	t := s.task
	defer t.Leave(t.Enter())
	switch {
	case s.conn.state == connEnded || s.state == tlsFailed:
		return 0, loop.ErrClosed
	case s.Unsent() > sealedMax:
		return 0, errUnreadAnswers
	}
	s.queue(p)
	if t != nil {
		s.conn.markDirty() // sent when the task waits or ends
	}
	return len(p), nil
}

// Close implements net.Conn. It does nothing: the Conn closes the stream.
func (w *tlsBelow) Close() error { return nil }

// LocalAddr implements net.Conn. Any goroutine: callbacks of tls.Config call it.
func (w *tlsBelow) LocalAddr() net.Addr { return w.local }

// RemoteAddr implements net.Conn. Any goroutine.
func (w *tlsBelow) RemoteAddr() net.Addr { return w.remote }

// SetDeadline implements net.Conn. It does nothing: the Conn has its own timeouts.
func (w *tlsBelow) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (w *tlsBelow) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (w *tlsBelow) SetWriteDeadline(time.Time) error { return nil }
