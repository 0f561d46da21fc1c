// The exchange of HTTP/1: one connection at a time. send.go writes the request and receive.go reads the response.

package client

import (
	"net"
	"time"

	"tafe/httpparse"
)

// http1 is a call as an exchange.
type http1 call

func (h *http1) prepare(req *Request, d destination, length int64, traceparent string) (err error) {
	x := (*call)(h)
	if x.out, err = req.appendHead(x.out[:0], d, length, traceparent); err != nil {
		return err
	}
	if x.trailerFields = nil; length == chunkedBody {
		x.trailerFields = req.Trailers
	}
	return nil
}

func (h *http1) copyRequest(exchange) {}

func (h *http1) start(fresh bool) error {
	x, now := (*call)(h), (*call)(h).begun
	dialled, err := x.connect(fresh)
	if err != nil {
		return err
	}
	if dialled {
		now = time.Now()
	}
	if err := x.conn.SetDeadline(x.earlier(now.Add(x.options().HeadTimeout))); err != nil {
		return x.callError(StageWrite, err)
	}
	if err := x.send(); err != nil {
		return err
	}
	if err := x.receiveHead(); err != nil {
		return err
	}
	x.recordLatency()
	return x.startBody()
}

func (h *http1) direct(n int) bool {
	return h.head.Framing != httpparse.FramingChunked && n >= directBytesMin
}

func (h *http1) receive(p []byte) int {
	x := (*call)(h)
	return len(x.decodeIn(p[:x.receive(p)]))
}

func (h *http1) fill()                        { (*call)(h).fillBody() }
func (h *http1) left() int64                  { return h.body.Left() }
func (h *http1) trailers() []httpparse.Header { return h.body.Trailers() }
func (h *http1) abandon(reason error)         { (*call)(h).abandonConn(reason) }

func (h *http1) release() (complete bool) {
	complete = h.conn == nil
	(*call)(h).closeConn()
	return complete
}

func (h *http1) switched() (net.Conn, error) {
	x := (*call)(h)
	if !x.head.Upgrade || x.conn == nil {
		return nil, ErrNoUpgrade
	}
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
