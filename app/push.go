// This file owns when pieces of a streamed body leave though nobody has called Flush: soon after the last of them.

package app

import (
	"time"

	"tafe/httpparse"
	"tafe/loop"
)

// pushAfter is how long a piece waits for the next one. A Coder codes what comes within that time together.
const pushAfter = 2 * time.Millisecond

// pushSoon has what was written reach the client although its task goes on to something else: a Coder is flushed, and a handler
// that blocks is released from the loop, because a timer is due there. On the loop.
func (s *Stream) pushSoon() {
	c := s.c
	if c.push.Armed() {
		return
	}
	c.push.Owner = c
	c.state.loop.AfterFunc(&c.push, pushAfter, func(t *loop.Timer) { t.Owner.(*Context).pushed() })
}

// pushed flushes the Coder, unless the task uses it at the moment. The loop sends the output after its timers.
func (c *Context) pushed() {
	s, r := &c.stream, &c.resp
	if s.coding || !s.held || c.http1.conn.Closed() {
		return
	}
	s.held = false
	coded, err := r.coder.Code(c, c.coded[:0], nil, CodeFlush)
	if err != nil {
		c.http1.conn.Abort(err)
		return
	}
	c.coded = coded
	conn := c.http1.conn
	if r.bytes += int64(len(coded)); r.framing == byChunks {
		conn.SetOutput(httpparse.AppendChunk(conn.Output(len(coded)+32), coded))
	} else {
		conn.Write(coded)
	}
}

// setCoding says whether the task uses the Coder.
func (s *Stream) setCoding(on bool) {
	defer s.c.task.Leave(s.c.task.Enter())
	if s.coding = on; !on && s.held {
		s.pushSoon()
	}
}
