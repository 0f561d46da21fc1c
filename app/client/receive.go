package client

// This file owns what comes back: the head, and the body to its last byte. It
// refuses to know what either means to the caller.

import (
	"io"
	"strings"
	"time"

	"tafe/httpparse"
)

const (
	interimBytesMax = 1 << 20 // of all interim responses before the final one; HeadTimeout bounds their time
	directBytesMin  = 512     // a read at least this large goes past the buffers
)

// framing is how the rest of a body is delimited.
type bodyFraming uint8

const (
	noBodyLeft bodyFraming = iota // there is none
	byLength
	byChunks
	untilClose // of the connection
)

// receiveHead reads until the final response's head is there. It stands at
// in[:x.r] then, and x.head has views into it.
func (x *call) receiveHead() error {
	if x.gotHead {
		return nil // it came while the request was being written
	}
	if x.rest != nil || x.stream != nil { // write has moved the deadline
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
		if x.r > 0 { // interim heads: nobody has views into them
			x.w = copy(x.in, x.in[x.r:x.w])
			x.r = 0
		} else {
			grown := make([]byte, 2*len(x.in)) // FindResponseHead bounds this
			copy(grown, x.in)
			x.in = grown
		}
		x.buf = x.in
	}
	n, err := x.readConn(x.in[x.w:])
	if n > 0 {
		x.gotBytes = true
		x.w += n
		return nil // an error comes again
	}
	return err
}

// parseHead looks for the final head in what has arrived.
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

// startBody finds out how the body is framed and takes from the buffer what is
// there of it: a response that has arrived as a whole sets its connection free
// before the caller reads a byte.
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

// askedFor tells whether a 101 names nothing but protocols that the request has named (RFC 9110 section 7.8).
func (x *call) requestedUpgrade(h *httpparse.Response) bool {
	named := false
	for value := range h.Values("Upgrade") {
		for protocol := range strings.SplitSeq(text(value), ",") {
			if protocol = strings.Trim(protocol, " \t"); protocol == "" {
				continue
			}
			if named = true; !lists(x.upgrade, protocol) {
				return false
			}
		}
	}
	return named
}

// lists tells whether a comma-separated list has a member.
func lists(list, member string) bool {
	for m := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(m, " \t"), member) {
			return true
		}
	}
	return false
}

// account takes the bytes raw in buf[d:w] for what they are.
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

// complete: the last byte of the body is here. clean: and not one more.
func (x *call) complete(clean bool) {
	x.end = io.EOF
	x.releaseConn(clean)
}

// fail: the body ends with err, and the connection with it.
func (x *call) fail(err error) {
	x.end = err
	x.closeConn()
}

// fillBody reads once, into the window.
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

// receive reads body bytes from the connection, never beyond the body where
// its length is known. When it cannot, x.end says why.
func (x *call) receive(p []byte) int {
	if x.body == byLength && int64(len(p)) > x.left {
		p = p[:x.left]
	}
	err := x.conn.SetReadDeadline(x.earlier(time.Now().Add(x.options().BodyTimeout)))
	n := 0
	if err == nil {
		n, err = x.readConn(p)
	}
	switch {
	case n > 0 || err == nil:
		return n // an error comes again
	case err == io.EOF && x.body == untilClose && !x.conn.truncated:
		x.complete(false)
	case err == io.EOF:
		x.fail(x.callError(StageBody, io.ErrUnexpectedEOF))
	default:
		x.fail(x.callError(StageBody, err))
	}
	return 0
}

// read is the body as an io.Reader.
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
		// The bytes are the caller's already: account for them as a window of no bytes.
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

// writeTo is the body as an io.WriterTo: whole buffers, at the writer's pace.
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
