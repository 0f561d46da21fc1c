// This file owns the request body: there at once, waited for, streamed or dropped. How it is framed was decided by
// httpparse; what it means is the handler's.

package app

import (
	"io"

	"tafe/httpparse"
	"tafe/loop"
)

const (
	bodyStep     = 16 << 10 // how much is read, or made room for, at a time
	bodyGrowth   = 8        // room is made for this many times of what has come of a body, if it is to be so long
	discardMax   = 64 << 10 // bytes of an unread body that are worth a kept connection
	continueLine = "HTTP/1.1 100 Continue\r\n\r\n"
)

var errUnread = &httpparse.Error{Status: 413, Reason: "unread-body", Detail: "too much of the body was left unread"}

// body is the request body of one exchange.
type body struct {
	whole []byte // what is in memory, in the input or in own
	read  int    // of whole: by BodyReader
	own   []byte // recycled by the loop
	room  []byte // of own, while Body waits: the connection is read into it
	done  bool   // nothing of it is left in the connection
	err   error

	arrives   bool  // it was not there with its head: all below is in use
	left      int64 // bytes still to take from the connection, unless it is chunked
	isChunked bool
	chunked   httpparse.Chunked
	decoded   int64 // of a chunked body
	discarded int

	rate bodyRate

	wants100 bool // the client waits for 100 Continue
	waiting  bool
	late     bool // BodyTimeout has passed, or the rate is too low
	waker    loop.Waker
}

// reset is the request's end. Most had no body, or one that came with the head.
func (b *body) reset() {
	b.whole, b.read, b.done, b.err = nil, 0, false, nil
	if !b.arrives {
		return
	}
	b.chunked.Reset(nil) // drops the trailers
	*b = body{chunked: b.chunked}
}

// begin sets a body that arrived together with its head.
func (b *body) begin(whole []byte) { b.whole, b.done = whole, true }

// expect sets a body that is still arriving.
func (b *body) expect(c *Context) {
	b.arrives = true
	b.rate.begin(c)
	b.left, b.isChunked, b.wants100 = c.req.ContentLength, c.req.Chunked, c.req.Expect100
	if b.isChunked {
		b.chunked.Reset(&c.app.parseLimits)
	}
}

// bodyArrived is told of input, or of its end, while the handler runs. Where the handler waits for something else, the input is
// left where it is: the connection stops reading when it holds enough.
func (c *Context) bodyArrived() {
	if c.body.waiting {
		c.body.waker.Wake()
	}
}

func (b *body) timeOut() {
	if b.waiting {
		b.late = true
		b.waker.Wake()
	}
}

// Body is the whole request body, waiting for it if it has not arrived. It is a view like all others. Errors are those of
// the body itself, which a handler best returns as they are (413, 400, 408), and those of Err.
func (c *Context) Body() ([]byte, error) {
	b := &c.body
	if b.done && b.err == nil {
		return b.whole[b.read:], nil
	}
	defer c.task.Leave(c.task.Enter())
	b.own = append(c.http1.conn.GrowBuffer(b.own[:0], len(b.whole)-b.read), b.whole[b.read:]...)
	b.whole, b.read = nil, 0
	for {
		c.growBody()
		n, err, ok := c.tryBody(b.own[len(b.own):cap(b.own)])
		if !ok {
			if !b.isChunked {
				b.room = b.own[len(b.own):min(int64(cap(b.own)), int64(len(b.own))+b.left)]
			}
			err = c.awaitBody()
			b.room = nil
		}
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

// inputBuffer and inputTaken have the connection read straight into the memory of a Body that waits.
func (hc *http1Conn) inputBuffer() []byte {
	if hc.active == nil {
		return nil
	}
	return hc.active.body.room
}

func (hc *http1Conn) inputTaken(n int) {
	c := hc.active
	b := &c.body
	b.wants100 = false
	b.own, b.room = b.own[:len(b.own)+n], b.room[n:]
	b.left -= int64(n)
	b.done = b.left == 0
	b.rate.came(c, n)
}

// growBody makes room for more of the body: for all that is announced, as soon as a part of it has come. Who announces much
// and sends little takes little.
func (c *Context) growBody() {
	b := &c.body
	room := bodyStep
	if !b.isChunked && b.left > 0 {
		room = int(max(min(b.left, int64(bodyGrowth*len(b.own))), min(b.left, bodyStep)))
	}
	b.own = c.http1.conn.GrowBuffer(b.own, room)
}

// BodyReader reads the request body as it arrives; Read waits. Errors are those of Body. What it has returned, Body will not
// return again. Memory stays flat whatever the length: while nobody reads, the client is held back by its window.
func (c *Context) BodyReader() io.Reader { return (*bodyReader)(c) }

type bodyReader Context

func (r *bodyReader) Read(p []byte) (int, error) {
	c := (*Context)(r)
	defer c.task.Leave(c.task.Enter())
	return c.readBody(p)
}

// readBody takes the next bytes of the body, waiting for some.
func (c *Context) readBody(p []byte) (int, error) {
	for {
		if n, err, ok := c.tryBody(p); ok {
			return n, err
		}
		if err := c.awaitBody(); err != nil {
			return 0, err
		}
	}
}

// take takes what is in memory.
func (b *body) takeBuffered(p []byte) int {
	n := copy(p, b.whole[b.read:])
	b.read += n
	return n
}

// tryBody takes what is there of the body, or tells its end; ok is false if it has to be waited for.
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
			return n, nil, true // an error is reported by the next call
		}
		if err == nil && !b.done && len(c.http1.conn.Input()) == 0 {
			if !c.http1.conn.InputEnded() {
				return 0, nil, false
			}
			b.err = refusedCut
		}
	}
}

// takeBody takes what is there, without waiting.
func (c *Context) takeBody(p []byte) (n int, err error) {
	b, conn := &c.body, c.http1.conn
	in := conn.Input()
	if len(in) == 0 {
		return 0, nil
	}
	b.wants100 = false // it has not waited
	in = in[:min(len(in), len(p))]
	if !b.isChunked {
		n = copy(p, in[:min(int64(len(in)), b.left)])
		b.left -= int64(n)
		b.done = b.left == 0
		b.rate.came(c, n)
		conn.Consume(n)
		return n, nil
	}
	out, used, done, err := b.chunked.Decode(p[:0:len(p)], in)
	b.rate.came(c, used)
	conn.Consume(used)
	b.done = done
	b.decoded += int64(len(out))
	if err == nil && b.decoded > c.bodyMax {
		err = refusedBody
	}
	if err != nil {
		b.err, out = err, nil
	}
	return len(out), err
}

// awaitBody waits until there is more input.
func (c *Context) awaitBody() error {
	if err := c.task.Err(); err != nil {
		return err
	}
	c.expectInput(c.task.Prepare())
	return c.inputAwaited(c.task.Park())
}

// expectInput has w used when input arrives, or it has not come for BodyTimeout or at BodyRateMin.
func (c *Context) expectInput(w loop.Waker) {
	c.send100Continue()
	c.body.waker, c.body.waiting = w, true
	c.http1.conn.SetTimeout(c.body.rate.wait(c))
}

// inputAwaited is the end of what expectInput began.
func (c *Context) inputAwaited(err error) error {
	b := &c.body
	b.waiting = false
	b.rate.waited(c)
	c.http1.conn.SetTimeout(0)
	if b.late {
		b.err = ErrBodyTimeout
		return b.err
	}
	return err
}

// send100Continue calls for a body that the client holds back, unless it knows better by now.
func (c *Context) send100Continue() {
	b, conn := &c.body, c.http1.conn
	if b.wants100 && !c.resp.sent && len(conn.Input()) == 0 {
		b.wants100 = false
		conn.SetOutput(append(conn.Output(len(continueLine)), continueLine...))
	}
}

// discard drops what is there of a body that its handler did not read.
func (c *Context) discard() error {
	b, conn := &c.body, c.http1.conn
	for !b.done {
		in := conn.Input()
		if len(in) == 0 {
			return nil
		}
		used := int(min(int64(len(in)), b.left))
		if b.isChunked {
			var err error
			// In place: what was consumed is nobody's any more.
			if _, used, b.done, err = b.chunked.Decode(in[:0], in); err != nil {
				return err
			}
		} else {
			b.left -= int64(used)
			b.done = b.left == 0
		}
		b.rate.came(c, used)
		conn.Consume(used)
		if b.discarded += used; b.discarded > discardMax {
			return errUnread
		}
	}
	return nil
}

// worthDiscarding tells whether the connection can be kept although the body has not been read to its end.
func (c *Context) worthDiscarding() bool {
	b := &c.body
	switch {
	case b.err != nil:
		return false
	case b.done:
		return true
	case b.wants100 && len(c.http1.conn.Input()) == 0:
		return false // whether a body follows after all is the client's choice (RFC 9110 section 10.1.1)
	}
	return b.isChunked || b.left <= discardMax
}
