// HTTP/1: reading of a response, the head and the body to its end.

package client

import (
	"io"
	"time"

	"tafe/httpparse"
)

const (
	interimBytesMax = 1 << 20 // of all interim responses to a request; HeadTimeout bounds their time
	directBytesMin  = 512     // a read of at least this size bypasses the buffers
)

// receiveHead reads until the head of the final response is complete. x.head then has views into x.in[:x.r].
func (x *call) receiveHead() error {
	if x.gotHead {
		return nil // it arrived while the request was being written
	}
	if x.rest != nil || x.stream != nil { // write has changed the deadline
		limit := time.Now().Add(x.options().HeadTimeout)
		if err := x.conn.SetReadDeadline(x.earlier(limit)); err != nil {
			return x.callError(StageHead, err)
		}
	}
	x.keepOnInterrupt(true)
	var err error
	for !x.gotHead && err == nil {
		if err = x.fillHead(); err == nil {
			err = x.parseHead()
		}
	}
	if !x.keepOnInterrupt(false) && err == nil {
		err = ErrClosed
	}
	if err != nil {
		return x.callError(StageHead, err)
	}
	return nil
}

// fillHead reads once.
func (x *call) fillHead() error {
	if x.w == len(x.in) {
		if x.r > 0 { // interim heads, which are no longer used
			x.w = copy(x.in, x.in[x.r:x.w])
			x.r = 0
		} else {
			grown := make([]byte, 2*len(x.in)) // FindResponseHead bounds its size
			copy(grown, x.in)
			x.in = grown
		}
		x.buf = x.in
	}
	n, err := x.readConn(x.in[x.w:])
	if n > 0 {
		x.gotBytes = true
		x.w += n
		return nil // the next read returns the error again
	}
	return err
}

// parseHead looks for the final head in the received bytes.
func (x *call) parseHead() error {
	limits := &x.options().Limits
	for x.r < x.w {
		_, end, resume, err := httpparse.FindResponseHead(x.in[x.r:x.w], x.resume, limits)
		if err != nil {
			return err
		}
		if x.resume = resume; end == 0 {
			return nil
		}
		if err := x.head.Parse(x.in[x.r:x.r+end], x.method, limits); err != nil {
			return err
		}
		x.r += end
		x.resume = 0
		if s := x.head.Status; s >= 200 || s == 101 {
			x.gotHead = true
			return nil
		}
		if x.interim += end; x.interim > interimBytesMax {
			return x.protocolError(StageHead, ErrInterim)
		}
		if x.onInterim != nil {
			x.callInterim(x.head.Status, x.head.Headers)
		}
	}
	return nil
}

func (x *call) protocolError(stage Stage, err error) error {
	f := x.callError(stage, err).(*Error)
	f.Kind = KindProtocol
	return f
}

// startBody begins the body and decodes the part of it that is in the buffer. A response that has arrived completely
// releases its connection before the caller reads a byte.
func (x *call) startBody() error {
	x.d = x.r
	x.body.BeginResponse(&x.head, &x.options().Limits)
	if !x.head.Upgrade {
		x.decode()
		return nil
	}
	if !x.requestedUpgrade(&x.head) {
		return x.protocolError(StageHead, ErrSwitch)
	}
	x.end = io.EOF
	return nil // the connection is kept for Upgrade
}

// requestedUpgrade reports whether every protocol in the Upgrade field of a 101 was requested (RFC 9110 section 7.8).
func (x *call) requestedUpgrade(h *httpparse.Response) bool {
	named := false
	for protocol := range httpparse.Members(httpparse.ListOf(h.Headers, "Upgrade")) {
		if named = true; !httpparse.HasMember(x.upgrade, protocol) {
			return false
		}
	}
	return named
}

// decode decodes the raw bytes in buf[d:w].
func (x *call) decode() { x.d += len(x.decodeIn(x.buf[x.d:x.w])) }

// decodeIn decodes raw in place.
func (x *call) decodeIn(raw []byte) (data []byte) {
	data, n, err := x.body.Decode(raw[:0], raw)
	switch {
	case err != nil && x.head.Framing == httpparse.FramingClose:
		x.fail(x.protocolError(StageBody, ErrBodyTooLarge))
	case err != nil:
		x.fail(x.callError(StageBody, err))
	case x.body.Done():
		x.complete(n == len(raw))
	}
	return data
}

// complete ends the body after its last byte. clean means that no byte follows it.
func (x *call) complete(clean bool) {
	x.end = io.EOF
	x.releaseConn(clean)
}

// fail ends the body with err and closes the connection.
func (x *call) fail(err error) {
	x.end = err
	x.closeConn()
}

// fillBody reads once into the window and decodes.
func (x *call) fillBody() {
	if x.window == nil {
		x.window = make([]byte, windowBytes)
	}
	x.buf, x.r, x.d = x.window, 0, 0
	x.w = x.receive(x.window)
	if x.end == nil {
		x.decode()
	}
}

// receive reads raw body bytes, but none after the end of a body of known length. If it returns 0, x.end is set or a
// call may be repeated.
func (x *call) receive(p []byte) int {
	if left := x.body.Left(); left >= 0 && int64(len(p)) > left {
		p = p[:left]
	}
	err := x.conn.SetReadDeadline(x.earlier(time.Now().Add(x.bodyTimeout)))
	n := 0
	if err == nil {
		n, err = x.readConn(p)
	}
	switch {
	case n > 0 || err == nil:
		return n // the next read returns the error again
	case err == io.EOF && x.head.Framing == httpparse.FramingClose && !x.conn.truncated:
		x.complete(false)
	case err == io.EOF:
		x.fail(x.callError(StageBody, io.ErrUnexpectedEOF))
	default:
		x.fail(x.callError(StageBody, err))
	}
	return 0
}

// read implements io.Reader for the body.
func (x *call) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if x.r < x.d {
			n := copy(p, x.buf[x.r:x.d])
			x.r += n
			return n, nil
		}
		if x.end != nil {
			return 0, x.end
		}
		if !x.exchange.direct(len(p)) {
			x.exchange.fill()
			continue
		}
		if n := x.exchange.receive(p); n > 0 {
			return n, nil // the next read returns the end
		}
	}
}

// writeTo implements io.WriterTo for the body: it writes whole buffers, at the pace of w.
func (x *call) writeTo(w io.Writer) (total int64, err error) {
	write := w.Write
	if t, ok := w.(interface{ WriteThrough([]byte) (int, error) }); ok { // app.Stream's
		write = t.WriteThrough
	}
	for {
		if x.r < x.d {
			n, err := x.callWrite(write, x.buf[x.r:x.d])
			x.r += n
			total += int64(n)
			if err != nil {
				return total, err
			}
			continue
		}
		if x.end == io.EOF {
			return total, nil
		}
		if x.end != nil {
			return total, x.end
		}
		x.exchange.fill()
	}
}
