// The response as the caller sees it.

package client

import (
	"errors"
	"io"
	"iter"
	"net"
	"time"

	"tafe/httpparse"
)

// Response is the response to a request. The zero value is ready for Do. Reuse it to save the allocation. It belongs
// to the task or goroutine that called Do.
//
// The caller must close it. Until then it holds its buffers, and its connection unless the body has been read to its
// end.
type Response struct {
	Status        int
	Major, Minor  uint8              // version of HTTP: 1.0, 1.1 or 2.0
	Headers       []httpparse.Header // in the order received; valid until Close
	ContentLength int64              // body length in bytes, or that of the described body if none is sent (HEAD, 304); -1 if unknown
	Reused        bool               // the connection had carried an earlier request
	Hedged        bool               // this is the response to the second request of a hedge
	Tries         int                // number of tries

	x   *call
	gen uint64 // generation of x, so that a copy of the struct does not close a later response
}

func (r *Response) fill(x *call) {
	*r = Response{
		Status: x.head.Status, Major: x.major(), Minor: x.head.Minor, Headers: x.head.Headers, ContentLength: x.head.ContentLength,
		Reused: x.reused, Hedged: x.hedged, Tries: x.tries, x: x, gen: x.gen.Load(),
	}
}

// major returns the major version of HTTP.
func (x *call) major() uint8 {
	if x.options().Protocol.Multiplexed() {
		return 2
	}
	return 1
}

func (r *Response) current() *call {
	if r.x == nil || r.x.gen.Load() != r.gen {
		return nil
	}
	return r.x
}

// Header returns the value of the first field with this name, case-insensitively, or nil. It is valid until Close.
func (r *Response) Header(name string) []byte {
	if x := r.current(); x != nil {
		return x.head.Header(name)
	}
	return nil
}

// Values yields the value of each field with this name, in the order received. The values are valid until Close.
func (r *Response) Values(name string) iter.Seq[[]byte] {
	if x := r.current(); x != nil {
		return x.head.Values(name)
	}
	return func(func([]byte) bool) {}
}

// Complete reports whether all of the response was received and read, without waiting.
func (r *Response) Complete() bool {
	x := r.current()
	return x != nil && x.end == io.EOF && x.r == x.d
}

// Trailers returns the trailer fields after Read has returned io.EOF (RFC 9110 section 6.5). HTTP/1 has them after a
// chunked body only. They are valid until Close.
func (r *Response) Trailers() []httpparse.Header {
	if x := r.current(); x != nil && x.end == io.EOF {
		return x.exchange.trailers()
	}
	return nil
}

// SetBodyTimeout replaces Options.BodyTimeout for the body of this response.
func (r *Response) SetBodyTimeout(d time.Duration) {
	if x := r.current(); x != nil {
		x.bodyTimeout = d
	}
}

// Read reads the body. Options.BodyTimeout and Request.Timeout bound it. A truncated body is an *Error, not io.EOF.
func (r *Response) Read(p []byte) (int, error) {
	x := r.current()
	if x == nil {
		return 0, ErrClosed
	}
	defer x.task.Leave(x.task.Enter())
	return x.read(p)
}

// WriteTo writes the body to w as it arrives, at the pace of w. In a task w.Write is user code: it may block, and the
// loop is then handed off.
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

// ReadAll returns the rest of the body. If it is longer than bodyMax bytes, the error wraps ErrBodyTooLarge and is
// returned as early as the length is known.
func (r *Response) ReadAll(bodyMax int64) ([]byte, error) { return r.AppendBody(nil, bodyMax) }

// AppendBody is like ReadAll but appends the body to b. On error the returned slice holds the bytes received before
// it.
func (r *Response) AppendBody(b []byte, bodyMax int64) ([]byte, error) {
	x := r.current()
	if x == nil {
		return b, ErrClosed
	}
	defer x.task.Leave(x.task.Enter())
	tooLarge := func() error { return x.protocolError(StageBody, ErrBodyTooLarge) }
	start := len(b)
	if left := x.exchange.left(); left >= 0 {
		need := left + int64(x.d-x.r)
		if need > bodyMax {
			return b, tooLarge()
		}
		if int64(cap(b)-len(b)) < need {
			b = append(make([]byte, 0, len(b)+int(need)), b...)
		}
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
		case x.exchange.left() < 0:
			x.exchange.fill()
		default:
			b = b[:len(b)+x.exchange.receive(b[len(b):cap(b)])]
		}
	}
}

// Close releases the response. Its connection returns to the pool if the body has arrived completely and no byte
// follows it; otherwise the connection is closed, or the stream of HTTP/2 reset. Closing twice has no effect. Views into
// the response are invalid afterwards.
func (r *Response) Close() {
	if x := r.current(); x != nil {
		t := x.task
		defer t.Leave(t.Enter())
		if !x.exchange.release() {
			x.pool.count.unfinished.Add(1)
		}
		x.recycle()
	}
	*r = Response{}
}

// Upgrade returns the connection after a 101 response (RFC 9110 section 7.8). Reads return the bytes after the head
// first. The caller must close the connection. It has no deadline and counts towards no bound of the Client. The
// response may be closed before or after.
func (r *Response) Upgrade() (net.Conn, error) {
	x := r.current()
	if x == nil {
		return nil, ErrClosed
	}
	defer x.task.Leave(x.task.Enter())
	return x.exchange.switched()
}

// upgraded is a connection whose first bytes arrived with the response head.
type upgraded struct {
	net.Conn
	raw   net.Conn // the connection below TLS
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

// SetWriteTimeout sets the write timeout of a reactor's connection. Other connections return errors.ErrUnsupported.
func (u *upgraded) SetWriteTimeout(d time.Duration) error {
	if w, ok := u.raw.(interface{ SetWriteTimeout(time.Duration) error }); ok {
		return w.SetWriteTimeout(d)
	}
	return errors.ErrUnsupported
}

// CloseWrite closes the connection for writing.
func (u *upgraded) CloseWrite() error {
	if w, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
