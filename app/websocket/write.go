// Frames to the client. Every message is one frame, so that messages of several writers do not mix.

package websocket

import (
	"errors"
	"sync"

	"github.com/gobwas/ws"

	"tafe/loop"
	"tafe/loop/reactor"
)

const (
	frameHeadMax = 10       // bytes of a header without a mask
	throughMin   = 32 << 10 // bytes from which a payload is sent without copying it to the output
)

// Write sends a message. It returns when the message is queued, and waits before while reactor.Limits.OutboundMax bytes are unsent. p may be
// reused then. The error is a *CloseError once the connection is closed, or the cause with which the calling task was cancelled. Any
// goroutine may call Write; goroutines that are not tasks block.
func (c *Conn) Write(kind Kind, p []byte) error {
	l := c.set.config.Loop
	t, err := l.Caller()
	if err != nil {
		return err
	}
	payload, rsv := p, byte(0)
	if c.deflate && len(p) >= int(c.compressMin) {
		if small, ok := c.set.codecs.deflate(p); ok {
			payload, rsv = small, rsvDeflate
		}
	}
	if t == nil || t.Loop() != l {
		return c.writeFrom(t, kind, rsv, payload)
	}
	defer t.Leave(t.Enter())
	for {
		if err := c.mayWrite(); err != nil {
			return err
		}
		if c.conn.Unsent() < c.conn.Limits().OutboundMax {
			break
		}
		if err := reactor.Drain(t, c.conn); err != nil && !errors.Is(err, loop.ErrClosed) {
			return err
		}
	}
	c.set.stats.Out++
	c.appendFrame(ws.OpCode(kind), rsv, payload)
	return nil
}

// mayWrite returns the error that ends a Write.
func (c *Conn) mayWrite() error {
	switch {
	case c.err != nil:
		return c.err
	case c.conn.Closed():
		return &CloseError{Code: Abnormal}
	}
	return nil
}

// writeFrom is Write for a goroutine that is not a task of the connection's loop.
func (c *Conn) writeFrom(t *loop.Task, kind Kind, rsv byte, p []byte) error {
	p = append([]byte(nil), p...) // a cancelled caller returns before it is sent
	var result error
	w := loop.WaiterFor(t)
	posted := c.set.config.Loop.PostUnbounded(func() {
		c.conn.WhenDrained(c.conn.Limits().OutboundMax/2, func() {
			if result = c.mayWrite(); result == nil {
				c.set.stats.Out++
				c.appendFrame(ws.OpCode(kind), rsv, p)
			}
			w.Wake()
		})
	})
	if !posted {
		return &CloseError{Code: Abnormal, Err: loop.ErrClosed}
	}
	if err := w.Wait(nil, 0); err != nil {
		return err
	}
	return result
}

// appendFrame queues a frame. On the loop.
func (c *Conn) appendFrame(op ws.OpCode, rsv byte, payload []byte) {
	through := len(payload) >= throughMin
	room := frameHeadMax
	if !through {
		room += len(payload)
	}
	out := &c.set.out
	out.b = c.conn.Output(room)
	_ = ws.WriteHeader(out, ws.Header{Fin: true, OpCode: op, Rsv: rsv, Length: int64(len(payload))}) // an appender does not fail
	if !through {
		out.b = append(out.b, payload...)
	}
	c.conn.SetOutput(out.b)
	out.b = nil
	if through {
		c.conn.WriteThrough(payload)
	}
}

// Encoded is a message for many connections: each form of it is encoded once. Its methods may be called by any goroutine.
type Encoded struct {
	kind    Kind
	payload []byte
	plain   frame
	deflate frame
}

// frame is one form of an Encoded.
type frame struct {
	once sync.Once
	b    []byte
}

// Encode returns a message for Conn.Send. p must not change afterwards.
func Encode(kind Kind, p []byte) *Encoded { return &Encoded{kind: kind, payload: p} }

// frameFor returns the frame for c.
func (e *Encoded) frameFor(c *Conn) []byte {
	if c.deflate && len(e.payload) >= int(c.compressMin) {
		e.deflate.once.Do(func() {
			if small, ok := c.set.codecs.deflate(e.payload); ok {
				e.deflate.b = encodeFrame(e.kind, rsvDeflate, small)
			}
		})
		if e.deflate.b != nil {
			return e.deflate.b
		}
	}
	e.plain.once.Do(func() { e.plain.b = encodeFrame(e.kind, 0, e.payload) })
	return e.plain.b
}

func encodeFrame(kind Kind, rsv byte, payload []byte) []byte {
	out := appender{make([]byte, 0, frameHeadMax+len(payload))}
	_ = ws.WriteHeader(&out, ws.Header{Fin: true, OpCode: ws.OpCode(kind), Rsv: rsv, Length: int64(len(payload))})
	return append(out.b, payload...)
}

// Send sends a message without waiting and without copying what the socket accepts at once. It reports false, and sends nothing, if the
// connection is closed. The caller bounds what is unsent by Unsent and WhenDrained. On the loop of the connection.
func (c *Conn) Send(e *Encoded) bool {
	if c.mayWrite() != nil {
		return false
	}
	c.set.stats.Out++
	c.conn.WriteThrough(e.frameFor(c))
	return true
}

// Unsent returns how many bytes were written and not yet sent. On the loop of the connection.
func (c *Conn) Unsent() int { return c.conn.Unsent() }

// WhenDrained calls f on the loop, once, when at most below bytes are unsent or the connection has ended. On the loop of the connection.
func (c *Conn) WhenDrained(below int, f func()) { c.conn.WhenDrained(below, f) }

// WhenClosed calls f on the loop when the connection has ended, or at once if it has. f must not wait. On the loop of the connection.
func (c *Conn) WhenClosed(f func()) {
	if c.ended {
		f()
		return
	}
	c.whenClosed = append(c.whenClosed, f)
}
