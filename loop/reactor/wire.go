package reactor

// wire is the net.Conn under a TLS session. Reads go to the socket, without a
// buffer in between; where nothing is there, the task of a handshake waits, and
// an open session is told so by an error. Writes are gathered in the tlsStream.

import (
	"net"
	"time"

	"tafe/loop"
)

type wire struct {
	stream        *tlsStream
	early         []byte // received before crypto/tls asked for it
	empty         bool   // the last read was short: the next one need not ask the kernel
	handshakeRead int    // bytes of the handshake
	remote, local net.Addr
}

// noBytes is a net.Error that crypto/tls does not keep: the next Read tries again.
type noBytes struct{}

func (noBytes) Error() string   { return "reactor: no bytes yet" }
func (noBytes) Timeout() bool   { return true }
func (noBytes) Temporary() bool { return true }

var errNoBytes net.Error = noBytes{}

// Read implements net.Conn, for the loop and the task of the handshake.
func (w *wire) Read(p []byte) (int, error) {
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

// read returns 0 and no error when nothing is there.
func (w *wire) read(p []byte) (int, error) {
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
		w.empty = false // should there be more by now, an event is on its way
		return 0, nil
	}
	n, err := s.below.Read(p, nil)
	w.empty = n > 0 && n < len(p)
	return n, err
}

// Write implements net.Conn. What is written is sent by the tlsStream's Write.
func (w *wire) Write(p []byte) (int, error) {
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

// Close implements net.Conn: the Conn closes the stream.
func (w *wire) Close() error { return nil }

// LocalAddr implements net.Conn. Any goroutine: callbacks of tls.Config ask it.
func (w *wire) LocalAddr() net.Addr { return w.local }

// RemoteAddr implements net.Conn. Any goroutine.
func (w *wire) RemoteAddr() net.Addr { return w.remote }

// SetDeadline implements net.Conn: the Conn has timeouts of its own.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
