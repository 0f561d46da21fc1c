// Frames of the client. The loop parses them as their bytes arrive: it assembles one message ahead of the handler, and answers control
// frames at once. While a complete message waits, the rest stays in the connection's input, so that TCP slows the client down. A close frame,
// or a violation of the protocol, waits until the handler is done with the message before it.

package websocket

import (
	"errors"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"

	"tafe/loop/reactor"
)

var (
	errNotUTF8   = errors.New("text that is not UTF-8")
	errTooBig    = errors.New("the message is too big")
	errLongForm  = errors.New("the length of a frame is not in its shortest form")
	errEndOfFile = errors.New("the client has ended its stream without a close frame")
)

func validText(b []byte) bool { return utf8.Valid(b) }

// Data implements reactor.Handler.
func (c *Conn) Data(*reactor.Conn) {
	c.heard = c.set.config.Loop.Now()
	c.receive()
}

// receive parses what has arrived until a message is ready, and delivers it. On the loop.
func (c *Conn) receive() {
	for !c.ready && !c.gotClose && !c.ended && c.step() {
	}
	switch {
	case c.gotClose:
		c.conn.Consume(len(c.conn.Input()))
	case c.conn.InputEnded() && !c.ended && !c.ready && !c.deferred:
		c.settle(&CloseError{Code: Abnormal, Err: errEndOfFile})
		c.gotClose = true
		c.conn.Close()
	}
	c.deliver()
}

// step handles the next frame, or the next part of its payload. It reports false if more input is needed.
func (c *Conn) step() bool {
	in := c.conn.Input()
	if c.inFrame {
		return c.payload(in)
	}
	h, n, err := c.set.readHeader(in)
	if n == 0 && err == nil {
		return false
	}
	if err == nil {
		h, err = c.check(h)
	}
	tooBig := err == nil && !h.OpCode.IsControl() && !c.sentClose && h.Length > int64(c.messageMax)-int64(len(c.msg))
	c.deferred = c.handed && !c.sentClose && (err != nil || tooBig || h.OpCode == ws.OpClose)
	switch {
	case c.deferred:
		return false
	case err != nil:
		c.fail(ProtocolError, err.Error(), ReasonProtocol)
		return false
	case tooBig:
		c.fail(TooBig, errTooBig.Error(), ReasonTooBig)
		return false
	}
	if h.OpCode.IsControl() {
		if int64(len(in)-n) < h.Length {
			return false
		}
		end := n + int(h.Length)
		ws.Cipher(in[n:end], h.Mask, 0)
		c.control(h.OpCode, in[n:end])
		if !c.gotClose { // fail has consumed the input
			c.conn.Consume(end)
		}
		return true
	}
	if h.OpCode != ws.OpContinuation {
		c.kind = Kind(h.OpCode)
	}
	c.fragmented = !h.Fin
	c.inFrame, c.remaining, c.mask, c.masked = true, h.Length, h.Mask, 0
	c.conn.Consume(n)
	return true
}

// readHeader parses the frame header at the start of in, of n bytes. n is 0 if it is not complete.
func (s *Set) readHeader(in []byte) (h ws.Header, n int, err error) {
	s.in.Reset(in)
	h, err = ws.ReadHeader(&s.in)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return h, 0, nil
	}
	n = len(in) - s.in.Len()
	s.in.Reset(nil)
	if err == nil && ws.HeaderSize(h) != n {
		err = errLongForm
	}
	return h, n, err
}

// check checks a header against the state of the connection, and removes the bit of compression.
func (c *Conn) check(h ws.Header) (ws.Header, error) {
	state := ws.StateServerSide
	if c.fragmented {
		state = state.Set(ws.StateFragmented)
	}
	if c.deflate {
		var compressed bool
		var err error
		if h, compressed, err = wsflate.UnsetBit(h); err != nil {
			return h, err
		}
		if h.OpCode.IsData() && h.OpCode != ws.OpContinuation && !c.fragmented {
			c.compressed = compressed
		}
	}
	return h, ws.CheckHeader(h, state)
}

// payload moves a part of the frame's payload to the message.
func (c *Conn) payload(in []byte) bool {
	n := int(min(c.remaining, int64(len(in))))
	if n > 0 && !c.sentClose {
		c.msg = append(c.conn.GrowBuffer(c.msg, n), in[:n]...)
		ws.Cipher(c.msg[len(c.msg)-n:], c.mask, c.masked%4)
	}
	c.masked += n
	c.remaining -= int64(n)
	c.conn.Consume(n)
	if c.remaining > 0 {
		return false
	}
	c.inFrame = false
	if !c.fragmented && !c.sentClose {
		c.set.stats.In++
		if c.ready = true; c.writeOnly {
			c.dropInput()
		}
	}
	return true
}

// control handles a control frame.
func (c *Conn) control(op ws.OpCode, payload []byte) {
	switch op {
	case ws.OpPing:
		// A client that does not read its pongs does not get more of them.
		if !c.sentClose && c.conn.Unsent() < pongsMax {
			c.appendFrame(ws.OpPong, 0, payload)
		}
	case ws.OpClose:
		c.closeReceived(payload)
	}
}

// recycleHeld releases the message that the handler had.
func (c *Conn) recycleHeld() {
	if c.held != nil {
		c.conn.RecycleBuffer(c.held)
		c.held = nil
	}
}

// dropInput releases the message that is being received or waits.
func (c *Conn) dropInput() {
	if c.msg != nil {
		c.conn.RecycleBuffer(c.msg)
		c.msg = nil
	}
	c.ready = false
}

// releaseInput releases all messages, once no task uses them.
func (c *Conn) releaseInput() {
	c.dropInput()
	if c.task == nil {
		c.recycleHeld()
	}
}
