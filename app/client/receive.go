// Reading of a response: the head, and the body to its end.

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

// bodyFraming is how the rest of a body is delimited.
type bodyFraming uint8

const (
	noBodyLeft bodyFraming = iota // no body
	byLength
	byChunks
	untilClose // the body ends with the connection
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
			x.callInterim()
		}
	}
	return nil
}

func (x *call) protocolError(stage Stage, err error) error {
	f := x.callError(stage, err).(*Error)
	f.Kind = KindProtocol
	return f
}

// startBody determines the framing of the body and decodes the part of it that is in the buffer. A response that has
// arrived completely releases its connection before the caller reads a byte.
func (x *call) startBody() error {
	x.d = x.r
	switch h := &x.head; {
	case h.Upgrade:
		if !x.requestedUpgrade(h) {
			return x.protocolError(StageHead, ErrSwitch)
		}
		x.body, x.end = noBodyLeft, io.EOF
		return nil // the connection is kept for Upgrade
	case h.NoBody:
		x.body = noBodyLeft
		x.complete(x.r == x.w)
	case h.Chunked:
		x.body = byChunks
		x.chunked.ResetResponse(&x.options().Limits)
		x.decode()
	case h.UntilClose:
		x.body, x.seen = untilClose, 0
		x.decode()
	default:
		x.body, x.left = byLength, h.ContentLength
		x.decode()
	}
	return nil
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
func (x *call) decode() {
	raw := x.buf[x.d:x.w]
	switch x.body {
	case byLength:
		n := int(min(int64(len(raw)), x.left))
		x.d += n
		if x.left -= int64(n); x.left == 0 {
			x.complete(n == len(raw))
		}
	case untilClose:
		x.d = x.w
		if x.seen += int64(len(raw)); x.seen > x.options().Limits.BodyBytesMax {
			x.fail(x.protocolError(StageBody, ErrBodyTooLarge))
		}
	case byChunks:
		out, n, done, err := x.chunked.Decode(raw[:0], raw)
		x.d += len(out)
		switch {
		case err != nil:
			x.fail(x.callError(StageBody, err))
		case done:
			x.complete(n == len(raw))
		}
	}
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
	if x.body == byLength && int64(len(p)) > x.left {
		p = p[:x.left]
	}
	err := x.conn.SetReadDeadline(x.earlier(time.Now().Add(x.bodyTimeout)))
	n := 0
	if err == nil {
		n, err = x.readConn(p)
	}
	switch {
	case n > 0 || err == nil:
		return n // the next read returns the error again
	case err == io.EOF && x.body == untilClose && !x.conn.truncated:
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
		if x.body == byChunks || len(p) < directBytesMin {
			x.fillBody()
			continue
		}
		n := x.receive(p)
		if n == 0 {
			continue
		}
		// The bytes are already in p.
		if x.body == byLength {
			if x.left -= int64(n); x.left == 0 {
				x.complete(true)
			}
			return n, nil
		}
		if x.seen += int64(n); x.seen > x.options().Limits.BodyBytesMax {
			x.fail(x.protocolError(StageBody, ErrBodyTooLarge))
			return 0, x.end
		}
		return n, nil
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
		x.fillBody()
	}
}
