// The output of a stream. It goes to the output of the connection at once while that is short and the windows are
// open. Otherwise it is queued, and the connection sends the queues in the order of schedule.go.

package http2

import (
	"slices"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"tafe/loop"
)

const (
	queueMax  = 64 << 10 // queued bytes at which Drain waits
	writeStep = 16 << 10 // bytes that the peer must take in a write timeout

	lingerTime  = 2 * time.Second // how long a stream waits for the end of its input after its output has ended
	lingerBytes = 8 << 20         // input that is discarded meanwhile
)

// OpenSection returns the output of the connection with room for a field section. The caller appends fields to it, and
// passes it with at to CloseSection.
func (s *Stream) OpenSection(room int) (b []byte, at int) {
	b = s.conn.rc.Output(frameHeadBytes + max(room, headRoom))
	at = len(b)
	return append(b, make([]byte, frameHeadBytes)...), at
}

// CloseSection sends the section, after what is queued. end says that the message has no more.
func (s *Stream) CloseSection(b []byte, at int, end bool) {
	c := s.conn
	switch {
	case s.dead || s.outEnded || s.ending:
		c.rc.SetOutput(b[:at])
	case len(s.queue) > 0:
		s.trailers = append([]byte(nil), b[at+frameHeadBytes:]...)
		s.ending = true
		c.rc.SetOutput(b[:at])
	default:
		c.rc.SetOutput(c.completeSection(b, at, s.id, end))
		if end {
			s.endOutput()
		}
	}
}

// completeSection is endSection for the next section on the wire.
func (c *Conn) completeSection(b []byte, at int, stream uint32, end bool) []byte {
	if c.emptiesTable {
		c.emptiesTable = false
		b = slices.Insert(b, at+frameHeadBytes, tableOfNothing)
	}
	return endSection(b, at, stream, end, c.peerFrame)
}

// Room returns a buffer to which the caller appends up to k of the next n bytes of the message, and then passes it to
// Commit. k is at least 1 if n is. The queue is not bounded; see Drain.
func (s *Stream) Room(n int) (b []byte, k int) {
	c := s.conn
	k = n
	if !s.dead && !s.outEnded {
		k = max(min(n, s.room, c.room, outputMax-c.rc.Unsent(), c.peerFrame), 0)
		if s.queues = len(s.queue) > 0 || n > 0 && (k == 0 || len(c.ready) > 0); s.queues { // others wait for the connection
			return s.roomInQueue(n), n
		}
	}
	b = c.rc.Output(frameHeadBytes + k)
	c.frameAt = len(b)
	return append(b, make([]byte, frameHeadBytes)...), k
}

// roomInQueue returns the queue with room for n bytes.
func (s *Stream) roomInQueue(n int) []byte {
	if len(s.queue) == 0 {
		s.watchStall()
	} else if s.sent > len(s.queue)/2 {
		s.queue = s.queue[:copy(s.queue, s.queue[s.sent:])]
		s.sent = 0
	}
	s.queue = s.conn.rc.GrowBuffer(s.queue, n)
	return s.queue
}

// Commit sends the n bytes that were appended to b, after what is queued. end says that the message has no more.
func (s *Stream) Commit(b []byte, n int, end bool) {
	c := s.conn
	switch {
	case s.dead || s.outEnded:
		c.rc.SetOutput(b[:c.frameAt])
	case s.queues:
		s.queue = b
		c.queued += n
		s.ending = s.ending || end
		s.setReady()
		c.awaitDrained()
	default:
		flags := xhttp2.Flags(0)
		if end {
			flags = xhttp2.FlagDataEndStream
		}
		appendFrameHead(b[:c.frameAt], n, xhttp2.FrameData, flags, s.id)
		s.room -= n
		c.room -= n
		c.useful()
		c.rc.SetOutput(b)
		if end {
			s.ending = true
			s.endOutput()
		}
	}
}

// Write sends p. If end is set, p ends the message.
func Write[T text](s *Stream, p T, end bool) {
	for {
		b, n := s.Room(len(p))
		last := n == len(p)
		s.Commit(append(b, p[:n]...), n, end && last)
		if last {
			return
		}
		p = p[n:]
	}
}

// Queued returns how many bytes of the stream wait for the peer, or for other streams.
func (s *Stream) Queued() int { return len(s.queue) - s.sent }

// sendFrame sends one frame of the queue. The stream is ready.
func (s *Stream) sendFrame() {
	c := s.conn
	n := min(s.Queued(), s.room, c.room, c.peerFrame)
	last := n == s.Queued()
	flags := xhttp2.Flags(0)
	if last && s.ending && s.trailers == nil {
		flags = xhttp2.FlagDataEndStream
	}
	b := appendFrameHead(c.rc.Output(frameHeadBytes+n), n, xhttp2.FrameData, flags, s.id)
	c.rc.SetOutput(append(b, s.queue[s.sent:s.sent+n]...))
	c.useful()
	s.sent += n
	s.progress += n
	s.room -= n
	c.room -= n
	c.queued -= n
	if !last {
		s.setReady()
	} else {
		s.dropQueue()
		if s.ending {
			s.sendEnd()
		}
	}
	if s.waiting && s.Queued() <= queueMax/2 {
		s.wake()
	}
	if s.wantsRoom && s.Queued() <= queueMax/2 {
		s.wantsRoom = false
		s.handler.Room(s)
	}
}

// sendEnd ends the message after its queue. Without trailers, the last frame has END_STREAM.
func (s *Stream) sendEnd() {
	c := s.conn
	if s.trailers != nil {
		b := c.rc.Output(2*frameHeadBytes + len(s.trailers))
		at := len(b)
		b = append(append(b, make([]byte, frameHeadBytes)...), s.trailers...)
		c.rc.SetOutput(c.completeSection(b, at, s.id, true))
		s.trailers = nil
	}
	s.endOutput()
}

// endOutput records that END_STREAM was sent.
func (s *Stream) endOutput() {
	s.outEnded = true
	if s.finished && !s.inEnded {
		s.linger()
		return
	}
	s.leaveIfEnded()
}

// Finish says that the handler writes no more, and does not want the rest of the input. Once the output has ended, input
// is discarded for lingerTime or lingerBytes. Then the peer is told to stop sending (RFC 9113 section 8.1).
func (s *Stream) Finish() {
	s.finished, s.expected = true, -1 // a client that reads the response may give up its body
	if s.outEnded && !s.inEnded && !s.gone {
		s.linger()
	}
}

// linger waits for the end of the input. Some clients, such as curl 7.88, drop a response with which RST_STREAM arrives.
func (s *Stream) linger() {
	s.timer.Owner = s
	s.conn.rc.Loop().AfterFunc(&s.timer, lingerTime, func(t *loop.Timer) { t.Owner.(*Stream).refuseRest() })
}

// discard counts n bytes of input that are not wanted.
func (s *Stream) discard(n int) {
	s.conn.read(s, n)
	if s.discarded += n; s.outEnded && s.discarded > lingerBytes {
		s.refuseRest()
	}
}

// refuseRest ends the stream before the end of its input.
func (s *Stream) refuseRest() {
	c, id := s.conn, s.id
	s.leave()
	if !c.closed {
		c.sendReset(id, xhttp2.ErrCodeNo)
	}
}

// dropQueue recycles the queue.
func (s *Stream) dropQueue() {
	c := s.conn
	c.queued -= s.Queued()
	if s.queue != nil {
		c.rc.RecycleBuffer(s.queue)
		s.queue, s.sent = nil, 0
	}
	s.setReady()
	if s.stallTimer.Armed() {
		c.rc.Loop().StopTimer(&s.stallTimer)
	}
}

// WantRoom has StreamHandler.Room called once, when little is queued.
func (s *Stream) WantRoom() { s.wantsRoom = true }

// Drain makes a task wait for the reader of the stream: it returns at once while less than queueMax bytes are queued,
// and waits until half of that is left otherwise. The error is ErrClosed or the cause of the task's cancellation.
func (s *Stream) Drain(t *loop.Task) error {
	defer t.Leave(t.Enter())
	for {
		switch {
		case s.dead:
			return ErrClosed
		case s.Queued() < queueMax:
			return t.Err()
		}
		s.waker, s.waiting = t.Prepare(), true
		err := t.Park()
		s.waiting = false
		if err != nil {
			return err
		}
	}
}

// wake wakes the task in Drain.
func (s *Stream) wake() {
	if s.waiting {
		s.waiting = false
		s.waker.Wake()
	}
}

// watchStall starts the write timeout of the queue. A peer that opens the window too slowly would pin the queue.
func (s *Stream) watchStall() {
	s.progress = 0
	s.stallTimer.Owner = s
	s.conn.rc.Loop().AfterFunc(&s.stallTimer, s.conn.shared.Limits.WriteTimeout, checkStall)
}

// checkStall ends the stream if the peer has not opened the window for writeStep bytes. If other streams were sent
// instead, or the connection below is full, it is not the window that is missing.
func checkStall(t *loop.Timer) {
	s := t.Owner.(*Stream)
	c := s.conn
	if s.progress >= writeStep || s.room > 0 && c.room > 0 {
		s.watchStall()
		return
	}
	id := s.id
	c.handler.Failed(c, ErrStalled)
	s.breakOff(ErrStalled)
	c.sendReset(id, ErrStalled.Code)
}
