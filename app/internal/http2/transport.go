// A Stream as the transport of a reactor.Conn, so that what works on connections works on a tunnel (RFC 9113 section
// 8.5): backpressure, deadlines, net.Conn.

package http2

import (
	"io"
	"net"

	xhttp2 "golang.org/x/net/http2"

	"tafe/loop/reactor"
)

// tunnel is the reactor.Transport of a stream, and its StreamHandler.
type tunnel struct {
	s          *Stream
	conn       *reactor.Conn
	open       func(p []byte) (n int, err error) // until the head was sent
	head       []byte                            // what was written so far then
	left       func()
	remote     net.Addr
	local      net.Addr
	read, poll bool // input is wanted; Readable is posted
	write      bool // Writable is wanted
	released   bool
	ended      error
}

// Tunnel returns a Conn whose bytes are the stream's DATA. The caller sets its Handler. If open is not nil, the first bytes
// written are an HTTP/1 response head. open gets all bytes written so far, sends the head once it is complete, and returns
// its length, 0 while it is incomplete. ended is called after s was released.
func (s *Stream) Tunnel(open func(p []byte) (n int, err error), ended func()) *reactor.Conn {
	t := &tunnel{s: s, read: true, open: open, left: ended, remote: s.conn.rc.RemoteAddr(), local: s.conn.rc.LocalAddr()}
	s.SetTimeout(0)
	s.handler = t
	t.conn = s.conn.rc.Stack(t, nil)
	t.Want(true, false)
	return t.conn
}

// Read implements reactor.Transport.
func (t *tunnel) Read(first, then []byte) (n int, err error) {
	if t.ended != nil {
		return 0, t.ended
	}
	for _, p := range [...][]byte{first, then} {
		k := copy(p, t.s.Input())
		t.s.Consume(k)
		n += k
	}
	if n == 0 && t.s.InputEnded() {
		return 0, io.EOF
	}
	t.Want(t.read, t.write) // more may be there, and no frame would tell
	return n, nil
}

// Write implements reactor.Transport.
func (t *tunnel) Write(p []byte) (int, error) {
	if t.ended != nil {
		return 0, t.ended
	}
	p = p[:max(min(len(p), queueMax-t.s.Queued()), 0)]
	body := p
	if t.open != nil && len(p) > 0 {
		t.head = append(t.head, p...)
		n, err := t.open(t.head)
		if n == 0 || err != nil {
			return len(p), err
		}
		body = t.head[n:]
		t.open, t.head = nil, nil
	}
	if len(body) > 0 {
		Write(t.s, body, false)
	}
	return len(p), nil
}

// Unsent implements reactor.Transport.
func (t *tunnel) Unsent() int {
	if t.released {
		return 0
	}
	return t.s.Queued()
}

// Want implements reactor.Transport.
func (t *tunnel) Want(read, write bool) {
	t.read, t.write = read, write
	if t.released || t.ended != nil {
		return
	}
	if write {
		t.s.WantRoom()
	}
	if read && !t.poll && (len(t.s.Input()) > 0 || t.s.InputEnded()) {
		t.poll = true
		t.s.conn.rc.Loop().PostUnbounded(func() {
			t.poll = false
			t.Arrived(t.s)
		})
	}
}

// CloseWrite implements reactor.Transport.
func (t *tunnel) CloseWrite() error {
	if t.ended == nil {
		Write(t.s, "", true)
	}
	return t.ended
}

// Close implements reactor.Transport.
func (t *tunnel) Close(abort bool) {
	if t.released {
		return
	}
	t.released = true
	defer t.left()
	if t.ended == nil && abort {
		t.s.Reset(xhttp2.ErrCodeCancel)
	} else if t.ended == nil {
		Write(t.s, "", true)
		t.s.Finish()
	}
	t.s.Release()
}

// RemoteAddr implements reactor.Transport.
func (t *tunnel) RemoteAddr() net.Addr { return t.remote }

// LocalAddr implements reactor.Transport.
func (t *tunnel) LocalAddr() net.Addr { return t.local }

// FD implements reactor.Transport.
func (t *tunnel) FD() int { return -1 }

// Section implements StreamHandler. Trailers of a tunnel are ignored.
func (t *tunnel) Section(s *Stream, _ Section) { t.Arrived(s) }

// Arrived implements StreamHandler.
func (t *tunnel) Arrived(*Stream) {
	if t.read && !t.released {
		t.conn.Readable()
	}
}

// Room implements StreamHandler.
func (t *tunnel) Room(*Stream) {
	t.conn.Writable()
	t.Want(t.read, t.write)
}

// TimedOut implements StreamHandler. No timeout is set.
func (t *tunnel) TimedOut(*Stream) {}

// Broken implements StreamHandler.
func (t *tunnel) Broken(_ *Stream, err error) {
	t.ended = err
	t.conn.Abort(err)
}
