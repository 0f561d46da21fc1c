// Stream: one request and its response (RFC 9113 section 5.1), its input and its end. output.go has its output.
//
// A stream is open in both directions at first. inEnded is "half-closed (remote)", outEnded "half-closed (local)". When
// both are set, or when the stream breaks off, it leaves its connection. It is recycled after that and Release.

package http2

import (
	"time"

	xhttp2 "golang.org/x/net/http2"

	"tafe/loop"
)

// StreamHandler receives the events of a Stream. Its methods run on the loop, outside of tasks, and must not wait.
type StreamHandler interface {
	// Section is called for the heads of a response, and for trailers. See Handler.Begin for its fields.
	Section(s *Stream, head Section)
	// Arrived is called when Input has grown or the input has ended.
	Arrived(s *Stream)
	// Room is called after WantRoom, when little output is queued.
	Room(s *Stream)
	// TimedOut is called when the time given to SetTimeout has passed.
	TimedOut(s *Stream)
	// Broken is called when the stream has ended before both messages were complete: by the peer, or with the
	// connection. It is the last call.
	Broken(s *Stream, err error)
}

// Stream is one stream of a Conn.
type Stream struct {
	conn    *Conn
	handler StreamHandler
	id      uint32

	headed   bool // client: the final head of the response has arrived
	inEnded  bool // END_STREAM has arrived
	outEnded bool // END_STREAM was sent
	ending   bool // END_STREAM follows the queue
	finished bool // the handler writes no more, and the rest of the input is not wanted
	dead     bool // it has ended before its messages
	gone     bool // it has left its connection
	released bool // the handler does not use it any more
	waiting  bool // a task waits for room

	wantsRoom bool // by WantRoom
	queues    bool // the buffer of Room is the queue

	incremental bool
	urgency     uint8
	served      uint64 // turn of its last frame
	readyAt     int    // 1 + its place in Conn.ready, or 0

	window   inputWindow
	in       []byte // input that has arrived
	inRead   int    // bytes of in that were consumed
	expected int64  // bytes of the body still to come; -1: unknown

	discarded int // bytes that have arrived after Finish

	room     int // bytes of DATA that the peer takes
	queue    []byte
	sent     int    // bytes of queue that were sent
	trailers []byte // field section after the queue
	waker    loop.Waker
	progress int // bytes sent since the stall timer was started
	err      error

	timer      loop.Timer // of SetTimeout
	stallTimer loop.Timer // runs while the queue is not empty
}

// newStream adds a stream to the connection.
func (c *Conn) newStream(id uint32) *Stream {
	s := c.shared.takeStream()
	s.conn, s.id, s.expected = c, id, -1
	s.urgency, s.incremental = urgencyDefault, true
	s.window = inputWindow{size: streamWindow, left: streamWindow}
	s.room = c.peerWindow
	c.streams[id] = s
	return s
}

// Open begins a stream of this side. The error is ErrClosed or ErrStreamsMax.
func (c *Conn) Open(h StreamHandler) (*Stream, error) {
	switch {
	case c.closed || c.lastCall || c.nextID > streamIDMax:
		return nil, ErrClosed
	case len(c.streams) >= c.peerStreams:
		return nil, ErrStreamsMax
	}
	s := c.newStream(c.nextID)
	s.handler = h
	c.nextID += 2
	return s, nil
}

// Capacity returns how many more streams this side may open now.
func (c *Conn) Capacity() int {
	if c.closed || c.lastCall || c.nextID > streamIDMax {
		return 0
	}
	return max(c.peerStreams-len(c.streams), 0)
}

// AssumePeerStreams sets PeerStreams until the first SETTINGS of the peer arrive.
func (c *Conn) AssumePeerStreams(streams int) { c.peerStreams = streams }

// PeerStreams returns how many streams the peer allows at once.
func (c *Conn) PeerStreams() int { return c.peerStreams }

// AllowsConnect reports whether the peer allows extended CONNECT (RFC 8441).
func (c *Conn) AllowsConnect() bool { return c.connects }

// ID returns the number of the stream.
func (s *Stream) ID() uint32 { return s.id }

// Conn returns the connection. It stays valid after the stream has ended, until Release.
func (s *Stream) Conn() *Conn { return s.conn }

// SetHandler sets the handler.
func (s *Stream) SetHandler(h StreamHandler) { s.handler = h }

// Expect sets the length of the body that arrives. A body of another length breaks the stream off (RFC 9113 section
// 8.1.1).
func (s *Stream) Expect(n int64) { s.expected = n }

// SetHeaded marks that the final head of the response has arrived: the next section is trailers.
func (s *Stream) SetHeaded() { s.headed = true }

// Broken reports whether the stream has ended before both messages were complete.
func (s *Stream) Broken() bool { return s.dead }

// Err returns why the stream is broken, or nil.
func (s *Stream) Err() error { return s.err }

// Input returns the bytes that have arrived and were not consumed. The view is valid until the next event of the
// stream.
func (s *Stream) Input() []byte { return s.in[s.inRead:] }

// InputEnded reports whether the peer has ended its message. Input may still hold some of it.
func (s *Stream) InputEnded() bool { return s.inEnded }

// Consume removes the first n bytes of Input, and opens the windows.
func (s *Stream) Consume(n int) {
	s.inRead += n
	if s.inRead == len(s.in) {
		s.dropInput()
	}
	s.conn.read(s, n)
}

func (s *Stream) dropInput() {
	if s.in != nil {
		s.conn.rc.RecycleBuffer(s.in)
		s.in, s.inRead = nil, 0
	}
}

// arrive takes the content of a DATA frame. It reports false if the body is not as long as expected.
func (s *Stream) arrive(p []byte, end bool) bool {
	if s.expected >= 0 {
		if s.expected -= int64(len(p)); s.expected < 0 || end && s.expected > 0 {
			return false
		}
	}
	switch {
	case s.finished && !end:
		s.discard(len(p))
		return true
	case s.finished:
		s.conn.read(nil, len(p))
	case len(p) > 0:
		if s.inRead > 0 && cap(s.in)-len(s.in) < len(p) {
			s.in = s.in[:copy(s.in, s.in[s.inRead:])]
			s.inRead = 0
		}
		s.in = append(s.conn.rc.GrowBuffer(s.in, len(p)), p...)
	}
	s.inEnded = s.inEnded || end
	if s.handler != nil {
		s.handler.Arrived(s)
	}
	s.leaveIfEnded()
	return true
}

// SetTimeout calls StreamHandler.TimedOut once after d. It replaces an earlier timeout; d <= 0 removes it.
func (s *Stream) SetTimeout(d time.Duration) {
	l := s.conn.rc.Loop()
	if d <= 0 || s.gone {
		l.StopTimer(&s.timer)
		return
	}
	s.timer.Owner = s
	l.AfterFunc(&s.timer, d, func(t *loop.Timer) {
		if s := t.Owner.(*Stream); s.handler != nil {
			s.handler.TimedOut(s)
		}
	})
}

// Reset ends the stream with RST_STREAM. Queued output is dropped. Broken is not called.
func (s *Stream) Reset(code xhttp2.ErrCode) {
	if s.gone {
		return
	}
	s.handler = nil
	c := s.conn
	id := s.id
	s.breakOff(ErrClosed)
	c.sendReset(id, code)
}

// Abort is Reset with INTERNAL_ERROR, for a message that cannot be completed.
func (s *Stream) Abort() { s.Reset(xhttp2.ErrCodeInternal) }

// Cancel is Reset by a client that does not want the response any more.
func (s *Stream) Cancel() { s.Reset(xhttp2.ErrCodeCancel) }

// Refuse ends a stream for an error of the peer, which is counted.
func (s *Stream) Refuse(e *Error) {
	s.handler = nil
	s.conn.failed(s.id, e)
}

// Release ends the handler's use of the stream. What was written is still sent.
func (s *Stream) Release() {
	c := s.conn
	s.handler, s.released, s.wantsRoom = nil, true, false
	if n := len(s.in) - s.inRead; n > 0 {
		c.read(s, n)
	}
	s.dropInput()
	if s.gone {
		c.shared.putStream(s)
	}
}

// breakOff ends the stream before its messages.
func (s *Stream) breakOff(err error) {
	if s.gone {
		return
	}
	s.dead, s.err = true, err
	h := s.handler
	s.leave()
	if h != nil {
		h.Broken(s, err)
	}
}

// leaveIfEnded removes the stream from its connection after both messages.
func (s *Stream) leaveIfEnded() {
	if s.inEnded && s.outEnded {
		s.leave()
	}
}

// leave removes the stream from its connection.
func (s *Stream) leave() {
	if s.gone {
		return
	}
	c := s.conn
	s.gone = true
	delete(c.streams, s.id)
	c.remember(s.id, false)
	l := c.rc.Loop()
	if s.timer.Armed() {
		l.StopTimer(&s.timer)
	}
	s.dropQueue()
	s.wake()
	if s.released {
		c.shared.putStream(s)
	}
	if c.closed {
		return
	}
	c.idle()
	c.closeIfDone()
	c.handler.Progress(c)
}
