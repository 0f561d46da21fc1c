package loop

// wire is the net.Conn under a TLS session: what arrived, and what is to leave.
// On the loop it has what it has, and a task may wait for more; off the loop it
// is the socket. It does not know what the bytes mean.

import (
	"net"
	"time"
)

type wire struct {
	stream    *TLSStream
	in        []byte // of the loop's pool
	got       int    // of in
	out       []byte
	gathering bool     // what is written waits in out
	raw       net.Conn // off the loop
	ahead     []byte   // received before that
}

// noBytes is a net.Error that crypto/tls does not keep.
type noBytes struct{}

func (noBytes) Error() string   { return "loop: no bytes yet" }
func (noBytes) Timeout() bool   { return true }
func (noBytes) Temporary() bool { return true }

var errNoBytes net.Error = noBytes{}

func (w *wire) unread() int { return len(w.in) - w.got }

func (w *wire) push(p []byte) {
	bufs := &w.stream.loop.bufs
	if w.in == nil {
		w.in = bufs.get(len(p))
	}
	if w.got > 0 && cap(w.in)-len(w.in) < len(p) {
		w.in = w.in[:copy(w.in, w.in[w.got:])]
		w.got = 0
	}
	w.in = append(bufs.grow(w.in, len(p), false), p...)
}

// drop gives the buffer back.
func (w *wire) drop() {
	if w.in != nil {
		w.stream.loop.bufs.put(w.in)
		w.in, w.got = nil, 0
	}
}

// leave takes the wire off the loop, with what is unread.
func (w *wire) leave(raw net.Conn) {
	w.ahead = append([]byte(nil), w.in[w.got:]...)
	w.drop()
	w.raw = raw
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.ahead) > 0 {
		n := copy(p, w.ahead)
		if w.ahead = w.ahead[n:]; len(w.ahead) == 0 {
			w.ahead = nil
		}
		return n, nil
	}
	if w.raw != nil {
		return w.raw.Read(p)
	}
	for {
		if n := copy(p, w.in[w.got:]); n > 0 {
			if w.got += n; w.got == len(w.in) {
				w.drop()
			}
			return n, nil
		}
		s := w.stream
		switch {
		case s.conn.closed:
			return 0, ErrClosed
		case s.state != tlsHandshaking:
			return 0, errNoBytes
		}
		t := s.loop.Current() // the handshake's task
		s.waker = t.Prepare()
		if err := t.Park(); err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	switch {
	case w.raw != nil:
		return w.raw.Write(p)
	case w.gathering:
		w.out = append(w.stream.loop.bufs.grow(w.out, len(p), false), p...)
		return len(p), nil
	}
	return w.stream.under.Write(p)
}

// Close implements net.Conn.
func (w *wire) Close() error {
	if w.raw != nil {
		return w.raw.Close()
	}
	return nil // the Conn's to do
}

// LocalAddr implements net.Conn.
func (w *wire) LocalAddr() net.Addr { return w.stream.under.LocalAddr() }

// RemoteAddr implements net.Conn.
func (w *wire) RemoteAddr() net.Addr { return w.stream.under.RemoteAddr() }

// SetDeadline implements net.Conn. On the loop the Conn has its own timeouts.
func (w *wire) SetDeadline(at time.Time) error {
	if w.raw != nil {
		return w.raw.SetDeadline(at)
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(at time.Time) error {
	if w.raw != nil {
		return w.raw.SetReadDeadline(at)
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(at time.Time) error {
	if w.raw != nil {
		return w.raw.SetWriteDeadline(at)
	}
	return nil
}
