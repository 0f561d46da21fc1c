// Delayed sending of the pieces of a streamed body that the handler has not flushed.

package app

import (
	"time"

	"tafe/loop"
)

// pushAfter is the time after which a piece is sent without Flush. A Coder codes the pieces within this time together.
const pushAfter = 2 * time.Millisecond

// pushSoon arms a timer that sends what was written even if the task does something else: it flushes the Coder, and since the timer is due,
// the loop of a handler that blocks is handed over. On the loop.
func (s *Stream) pushSoon() {
	c := s.c
	if c.push.Armed() {
		return
	}
	c.push.Owner = c
	c.state.loop.AfterFunc(&c.push, pushAfter, func(t *loop.Timer) { t.Owner.(*Context).pushed() })
}

// pushed flushes the Coder, unless the task is using it. The loop sends the output after its timers.
func (c *Context) pushed() {
	s, r := &c.stream, &c.resp
	if c.diverted != nil { // each piece was flushed
		return
	}
	if s.coding || !s.held || c.wire.closed() {
		return
	}
	s.held = false
	coded, err := r.coder.Code(c, c.coded[:0], nil, CodeFlush)
	if err != nil {
		c.wire.abort(err)
		return
	}
	c.coded = coded
	r.bytes += int64(len(coded))
	c.put(coded)
}

// setCoding sets whether the task is using the Coder.
func (s *Stream) setCoding(on bool) {
	defer s.c.task.Leave(s.c.task.Enter())
	if s.coding = on; !on && s.held {
		s.pushSoon()
	}
}
