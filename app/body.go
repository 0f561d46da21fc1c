// The request body: read whole, streamed, or discarded. json.go and form.go decode it.

package app

import (
	"io"

	"tafe/httpparse"
	"tafe/loop"
)

const (
	bodyStep   = 16 << 10 // bytes that are read, or allocated, at a time
	bodyGrowth = 8        // the buffer is at most this many times as large as the received part of a body
	discardMax = 64 << 10 // bytes of an unread body that are discarded to keep the connection
)

var errUnread = &httpparse.Error{Status: 413, Reason: "unread-body", Detail: "the unread rest of the body is too long"}

// body is the state of a request body.
type body struct {
	whole []byte // the part in memory: a view of the input, or own
	read  int    // bytes of whole that BodyReader has returned
	own   []byte // buffer from the loop
	done  bool   // all of it has been taken from the connection
	err   error

	arrives   bool // it was not complete with the head; the fields below are used only then
	decoder   httpparse.Body
	decoded   int64 // bytes that were read
	discarded int

	rate bodyRate

	wants100 bool // the client expects 100 Continue
	waiting  bool
	into     []byte // buffer that the connection fills while the handler waits; nil: none
	filled   int    // bytes that it has read into that buffer
	late     bool   // BodyTimeout has passed, or the rate is too low
	waker    loop.Waker
	notify   func() // in place of waker; see bodyReader.TryRead
}

// reset prepares b for the next request.
func (b *body) reset() {
	b.whole, b.read, b.done, b.err = nil, 0, false, nil
	if !b.arrives {
		return
	}
	b.decoder.Reset()
	*b = body{decoder: b.decoder}
}

// begin sets a body that is complete in the input.
func (b *body) begin(whole []byte) { b.whole, b.done = whole, true }

// expect sets a body that is still arriving.
func (b *body) expect(c *Context) {
	b.arrives = true
	b.rate.begin(c)
	b.wants100 = c.req.Expect100
	b.decoder.BeginRequest(&c.req, &c.app.parseLimits)
}

// bodyArrived handles input, or its end, while the handler runs. If the handler does not wait for the body, the input stays in the
// connection, which stops reading when its buffer is full.
func (c *Context) bodyArrived() {
	if c.body.waiting {
		c.body.wake()
	}
}

func (b *body) timeOut() {
	if b.waiting {
		b.late = true
		b.wake()
	}
}

// wake ends the wait for input.
func (b *body) wake() {
	if notify := b.notify; notify != nil {
		b.notify = nil
		notify()
		return
	}
	b.waker.Wake()
}

// Body returns the whole request body, and waits for it if necessary. The result is a view that is valid until the handler returns. Errors
// are those of the body, which a handler should return unchanged (they answer 400, 408 or 413), and those of Err.
func (c *Context) Body() ([]byte, error) {
	b := &c.body
	if b.done && b.err == nil {
		return b.whole[b.read:], nil
	}
	defer c.task.Leave(c.task.Enter())
	b.own = append(c.wire.reactorConn().GrowBuffer(b.own[:0], len(b.whole)-b.read), b.whole[b.read:]...)
	b.whole, b.read = nil, 0
	for {
		c.growBody()
		n, err := c.readBody(b.own[len(b.own):cap(b.own)])
		b.own = b.own[:len(b.own)+n]
		switch {
		case err == io.EOF:
			b.whole = b.own
			return b.whole, nil
		case err != nil:
			return nil, err
		}
	}
}

// growBody grows the buffer for more of the body. It is bounded by bodyGrowth times the received part, so that a large Content-Length
// alone does not allocate memory.
func (c *Context) growBody() {
	b := &c.body
	room := bodyStep
	if left := b.decoder.Left(); left > 0 {
		room = int(max(min(left, int64(bodyGrowth*len(b.own))), min(left, bodyStep)))
	}
	b.own = c.wire.reactorConn().GrowBuffer(b.own, room)
}

// BodyReader returns a reader of the request body. Read waits for input; its errors are those of Body. Bytes that were read are not returned
// by Body. The server buffers a bounded part of the body; TCP flow control holds the client back.
func (c *Context) BodyReader() io.Reader { return (*bodyReader)(c) }

type bodyReader Context

func (r *bodyReader) Read(p []byte) (int, error) {
	c := (*Context)(r)
	defer c.task.Leave(c.task.Enter())
	return c.readBody(p)
}

// TryRead implements client.Source: it reads the part of the body that has arrived, while the handler's task does something else. If nothing
// has, wake is called on the loop when there is more, or when the body has failed. On the loop only.
func (r *bodyReader) TryRead(p []byte, wake func()) (int, error) {
	c := (*Context)(r)
	n, err, ok := c.tryBody(p)
	if ok {
		return n, err
	}
	c.expectInput(loop.Waker{})
	c.body.notify = func() {
		_ = c.inputAwaited(nil) // the next TryRead returns the error
		wake()
	}
	return 0, nil
}

// Forget implements client.Source: the last wake is not called.
func (r *bodyReader) Forget() {
	if c := (*Context)(r); c.body.notify != nil {
		c.body.notify = nil
		_ = c.inputAwaited(nil)
	}
}

// readBody reads at least one byte of the body, and waits for it if necessary.
func (c *Context) readBody(p []byte) (int, error) {
	for {
		if n, err, ok := c.tryBody(p); ok {
			return n, err
		}
		if n, err := c.awaitBody(p); n > 0 {
			n, _, err = c.decodeBody(p, p[:n])
			return n, err
		} else if err != nil {
			return 0, err
		}
	}
}

// takeBuffered reads from whole.
func (b *body) takeBuffered(p []byte) int {
	n := copy(p, b.whole[b.read:])
	b.read += n
	return n
}

// tryBody reads the part of the body that has arrived, or returns io.EOF at its end. ok is false if nothing has arrived.
func (c *Context) tryBody(p []byte) (n int, err error, ok bool) {
	b := &c.body
	if b.read < len(b.whole) {
		return b.takeBuffered(p), nil, true
	}
	for {
		if b.err != nil {
			return 0, b.err, true
		}
		if b.done {
			return 0, io.EOF, true
		}
		n, err := c.takeBody(p)
		if n > 0 || len(p) == 0 {
			return n, nil, true // the next call returns the error
		}
		if err == nil && !b.done && len(c.wire.input()) == 0 {
			if !c.wire.inputEnded() {
				return 0, nil, false
			}
			if b.done = c.req.Framing == httpparse.FramingClose; !b.done {
				b.err = refusedCut
			}
		}
	}
}

// takeBody reads body bytes from the input, without waiting.
func (c *Context) takeBody(p []byte) (n int, err error) {
	in := c.wire.input()
	if len(in) == 0 {
		return 0, nil
	}
	n, used, err := c.decodeBody(p, in[:min(len(in), len(p))])
	c.wire.consume(used)
	return n, err
}

// decodeBody decodes in into p. in may be the beginning of p.
func (c *Context) decodeBody(p, in []byte) (n, used int, err error) {
	b := &c.body
	b.wants100 = false // the client has not waited for it
	out, used, err := b.decoder.Decode(p[:0], in)
	b.rate.came(c, used)
	b.done = b.decoder.Done()
	b.decoded += int64(len(out))
	if err == nil && b.decoded > c.bodyMax {
		err = refusedBody
	}
	if err != nil {
		b.err, out = err, nil
	}
	return len(out), used, err
}

// awaitBody waits for input. n bytes of it were read into p, and are not decoded; more may be in the connection. The bytes of a chunked
// body, whose end is not known, are not read into p.
func (c *Context) awaitBody(p []byte) (n int, err error) {
	if err := c.task.Err(); err != nil {
		return 0, err
	}
	b := &c.body
	c.expectInput(c.task.Prepare())
	b.into = p[:min(int64(len(p)), max(b.decoder.Left(), 0))]
	err = c.inputAwaited(c.task.Park())
	n, b.into, b.filled = b.filled, nil, 0
	return n, err
}

// expectInput arranges for w to be woken when input arrives, BodyTimeout has passed, or the body is slower than BodyRateMin.
func (c *Context) expectInput(w loop.Waker) {
	c.send100Continue()
	c.body.waker, c.body.waiting = w, true
	c.wire.setTimeout(c.body.rate.wait(c))
}

// inputAwaited ends the wait that expectInput began.
func (c *Context) inputAwaited(err error) error {
	b := &c.body
	b.waiting = false
	b.rate.waited(c)
	c.wire.setTimeout(0)
	if b.late {
		b.err = ErrBodyTimeout
		return b.err
	}
	return err
}

// send100Continue sends 100 Continue if the client expects it and has not begun to send the body (RFC 9110 section 10.1.1).
func (c *Context) send100Continue() {
	if b := &c.body; b.wants100 && !c.resp.sent && len(c.wire.input()) == 0 {
		b.wants100 = false
		c.wire.interim(c, 100, nil)
	}
}

// Trailers returns the trailer fields of the request after Body or BodyReader has returned all of the body. They are views like those of
// Headers. Fields that frame or route a message are left out.
func (c *Context) Trailers() []httpparse.Header {
	if !c.body.done {
		return nil
	}
	if c.req.Major == 2 {
		return c.http2.trailers
	}
	return c.body.decoder.Trailers()
}

// discard drops the received part of a body that the handler did not read.
func (c *Context) discard() error {
	b := &c.body
	for !b.done {
		in := c.wire.input()
		if len(in) == 0 {
			return nil
		}
		_, used, err := b.decoder.Next(in)
		if err != nil {
			return err
		}
		b.done = b.decoder.Done()
		b.rate.came(c, used)
		c.wire.consume(used)
		if b.discarded += used; b.discarded > discardMax {
			return errUnread
		}
	}
	return nil
}

// worthDiscarding reports whether the connection can be kept by discarding the rest of the body.
func (c *Context) worthDiscarding() bool {
	b := &c.body
	switch {
	case b.err != nil:
		return false
	case b.done:
		return true
	case b.wants100 && len(c.wire.input()) == 0:
		return false // the client may send the body or not (RFC 9110 section 10.1.1)
	}
	return b.decoder.Left() <= discardMax // -1 if chunked
}
