package client

// This file owns the response as its caller sees it. It refuses to read from
// connections itself.

import (
	"errors"
	"io"
	"iter"
	"net"
	"time"

	"tafe/httpparse"
)

// Response is the answer to a request. The zero value is ready for Do; reuse it
// to save its allocation. It belongs to the task or goroutine that called Do.
//
// Close it. Until then it holds its buffers, and its connection too unless the
// body has been read to its end.
type Response struct {
	Status        int
	Minor         uint8              // of HTTP/1.x
	Headers       []httpparse.Header // in the order they came; views that are valid until Close
	ContentLength int64              // of the body in bytes, or of the body described if none is sent (HEAD, 304); -1 if unknown
	Reused        bool               // the connection had carried another request before
	Hedged        bool               // it is the second request that was answered first
	Tries         int                // 1 unless the request was sent again

	x   *call
	gen uint64 // of x: a copy of the struct must not close another's response
}

func (r *Response) fill(x *call) {
	*r = Response{
		Status: x.head.Status, Minor: x.head.Minor, Headers: x.head.Headers, ContentLength: x.head.ContentLength,
		Reused: x.reused, Hedged: x.hedged, Tries: x.tries, x: x, gen: x.gen.Load(),
	}
}

func (r *Response) current() *call {
	if r.x == nil || r.x.gen.Load() != r.gen {
		return nil
	}
	return r.x
}

// Header returns the first value of a field, in any case of its letters: nil if
// there is none. Valid until Close.
func (r *Response) Header(name string) []byte {
	if x := r.current(); x != nil {
		return x.head.Header(name)
	}
	return nil
}

// Values yields every value of a field, in order.
func (r *Response) Values(name string) iter.Seq[[]byte] {
	if x := r.current(); x != nil {
		return x.head.Values(name)
	}
	return func(func([]byte) bool) {}
}

// Trailers are the fields after a chunked body, once Read has returned io.EOF.
// Valid until Close.
func (r *Response) Trailers() []httpparse.Header {
	if x := r.current(); x != nil && x.body == byChunks && x.end == io.EOF {
		return x.chunked.Trailers()
	}
	return nil
}

// Read reads the body. It waits for the peer as long as Options.BodyTimeout and
// Request.Timeout allow. A body that ends too early is an *Error, not io.EOF.
func (r *Response) Read(p []byte) (int, error) {
	x := r.current()
	if x == nil {
		return 0, ErrClosed
	}
	defer x.task.Leave(x.task.Enter())
	return x.read(p)
}

// WriteTo writes the body to w as it comes, no faster than w takes it. In a task,
// w's Write is user code: it may take its time, and the loop is handed over.
func (r *Response) WriteTo(w io.Writer) (int64, error) {
	x := r.current()
	if x == nil {
		return 0, ErrClosed
	}
	entered := x.task.Enter()
	defer x.task.Leave(entered)
	x.entered = entered
	return x.writeTo(w)
}

// ReadAll returns the whole rest of the body. One of more than bodyMax bytes is
// ErrBodyTooLarge, as early as that is known.
func (r *Response) ReadAll(bodyMax int64) ([]byte, error) { return r.AppendBody(nil, bodyMax) }

// AppendBody is ReadAll into a buffer of the caller's: the body is appended to b.
// On an error, what had arrived is.
func (r *Response) AppendBody(b []byte, bodyMax int64) ([]byte, error) {
	x := r.current()
	if x == nil {
		return b, ErrClosed
	}
	defer x.task.Leave(x.task.Enter())
	tooLarge := func() error { return x.protocolError(StageBody, ErrBodyTooLarge) }
	if x.body == byLength && x.left+int64(x.d-x.r) > bodyMax {
		return b, tooLarge()
	}
	start := len(b)
	if need := int(x.left) + x.d - x.r; x.body == byLength && cap(b)-len(b) < need {
		b = append(make([]byte, 0, len(b)+need), b...)
	}
	for {
		if x.r < x.d {
			b = append(b, x.buf[x.r:x.d]...)
			x.r = x.d
		}
		if int64(len(b)-start) > bodyMax {
			return b[:start+int(bodyMax)], tooLarge()
		}
		switch {
		case x.end == io.EOF:
			return b, nil
		case x.end != nil:
			return b, x.end
		case x.body != byLength:
			x.fillBody()
		default:
			n := x.receive(b[len(b):cap(b)])
			b = b[:len(b)+n]
			if x.left -= int64(n); x.left == 0 && x.end == nil {
				x.complete(true)
			}
		}
	}
}

// Close ends the response. Its connection goes back to the pool if the body had
// arrived to its end and nothing after it; otherwise it is closed. Closing twice
// does nothing. Views into the response must not be used any more.
func (r *Response) Close() {
	if x := r.current(); x != nil {
		t := x.task
		defer t.Leave(t.Enter())
		if x.conn != nil {
			x.pool.count.unfinished.Add(1)
		}
		x.recycle()
	}
	*r = Response{}
}

// Upgrade hands out the connection of a 101 response: it speaks what the
// Upgrade field names from here on, beginning with what was received already.
// The caller closes it. It counts no more towards any bound of the Client and
// has no deadline. The response may be closed before or after.
func (r *Response) Upgrade() (net.Conn, error) {
	x := r.current()
	if x == nil {
		return nil, ErrClosed
	}
	if !x.head.Upgrade || x.conn == nil {
		return nil, ErrNoUpgrade
	}
	defer x.task.Leave(x.task.Enter())
	early := append(append([]byte(nil), x.in[x.r:x.w]...), x.undelivered...)
	c, intact := x.detach()
	if !intact {
		x.pool.retire(c)
		return nil, ErrClosed
	}
	x.pool.freeSlot(c.host)
	c.keepOnCancel(false)
	if err := c.SetDeadline(time.Time{}); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &upgraded{Conn: c.Conn, raw: c.raw, early: early}, nil
}

// upgraded is a connection whose first bytes came with the response head.
type upgraded struct {
	net.Conn
	raw   net.Conn // below TLS
	early []byte
}

func (u *upgraded) Read(p []byte) (int, error) {
	if len(u.early) > 0 {
		n := copy(p, u.early)
		u.early = u.early[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// SetWriteTimeout is that of a reactor's connections.
func (u *upgraded) SetWriteTimeout(d time.Duration) error {
	if w, ok := u.raw.(interface{ SetWriteTimeout(time.Duration) error }); ok {
		return w.SetWriteTimeout(d)
	}
	return errors.ErrUnsupported
}

// CloseWrite ends the direction to the peer; reading goes on.
func (u *upgraded) CloseWrite() error {
	if w, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
