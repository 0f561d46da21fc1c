// Conn: the frames of one connection, its settings, and its end. receive.go handles each type of frame.
//
// A Conn is in one of these states:
//
//	opening   the preface or the first SETTINGS of the peer is missing     HeadTimeout, then GOAWAY if anything has arrived
//	open      streams come and go                                          IdleTimeout without streams, then GOAWAY
//	leaving   server: Shutdown has sent GOAWAY without a last stream       a round trip, 1 s at most
//	last call GOAWAY with the last stream was sent                         closed when the last stream has ended
//	closed    by an error, or the end of the stream below                  every stream has ended

package http2

import (
	"time"

	xhttp2 "golang.org/x/net/http2"

	"tafe/loop"
	"tafe/loop/reactor"
)

const (
	windowInitial = 256 << 10     // of a new connection, if LoopWindowMax allows it
	streamWindow  = windowDefault // of a new stream
	leaveTime     = time.Second   // between the two GOAWAY of Shutdown, at most
	closedKept    = 64            // closed streams that a Conn can tell from others
	pingMark      = "tafe:bye"    // payload of the PING of Shutdown
	streamsMost   = 1 << 30       // of a peer that has set no limit
	outputMax     = 128 << 10     // unsent bytes of the connection beyond which streams queue their output
	headRoom      = 512           // bytes of a field section, usually
)

// Handler is told of what happens on a Conn. Its methods run on the loop, outside of tasks.
type Handler interface {
	// Begin is called for a stream that the peer has opened. The handler sets the Handler of s, and Release ends its use
	// of s. head.Fields is reused after Begin has returned; its names and values may be kept.
	Begin(s *Stream, head Section)
	// Progress is called when a stream has left the connection, when queued output has become less, and after SETTINGS
	// of the peer.
	Progress(c *Conn)
	// Failed is called for each error of the peer, before the stream or connection ends.
	Failed(c *Conn, e *Error)
	// GoingAway is called when the peer opens, or takes, no further streams.
	GoingAway(c *Conn)
	// Closed is called when the connection has ended. It is the last call, made once.
	Closed(c *Conn, err error)
}

// Conn is one connection, and the reactor.Handler of its reactor.Conn.
type Conn struct {
	shared  *Shared
	rc      *reactor.Conn
	handler Handler
	client  bool

	streamsMax int // Limits.StreamsMax as it was announced

	prefaced  bool // server: the preface has arrived
	settled   bool // the peer's SETTINGS have arrived
	leaving   bool // Shutdown was called
	lastCall  bool // the second GOAWAY was sent
	peerGone  bool // the peer has sent GOAWAY
	closed    bool
	waiting   bool // drained will be called
	connects  bool // the peer allows extended CONNECT
	awaitsAck bool // SETTINGS were not acknowledged

	emptiesTable bool // the next section that is sent begins with tableOfNothing

	heard    int64 // see Heard
	streams  map[uint32]*Stream
	lastPeer uint32 // highest stream that the peer has opened
	nextID   uint32 // next stream of this side
	ended    [closedKept]closedStream
	endedAt  int

	window  inputWindow
	granted int // bytes of Shared.granted
	room    int // bytes of DATA that the peer takes
	queued  int // bytes in the queues of streams

	peerWindow  int // of new streams
	peerFrame   int
	peerStreams int

	decoder  decoder
	section  section
	controls rateLimit
	empties  rateLimit
	resets   rateLimit

	frameAt int // of the frame of Room, in the output

	ready []*Stream // that have output and window
	early []early
	turn  uint64 // counts frames of schedule.go

	timer    loop.Timer // acknowledgement of SETTINGS, or Shutdown
	probe    loop.Timer // of Probe
	probedAt int64
}

// closedStream is a stream that has left the connection.
type closedStream struct {
	id    uint32
	reset bool // this side has reset it, so the peer may not know yet
}

// NewServer makes a Conn of the client's connection rc, whose Handler it becomes, and sends SETTINGS. Input that has
// arrived is handled by the next call of Data.
func NewServer(rc *reactor.Conn, shared *Shared, h Handler) *Conn {
	c := newConn(rc, shared, h)
	c.streamsMax = shared.Limits.StreamsMax
	c.begin(xhttp2.Setting{ID: xhttp2.SettingEnableConnectProtocol, Val: 1},
		xhttp2.Setting{ID: xhttp2.SettingNoRFC7540Priorities, Val: 1},
		xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: uint32(c.streamsMax)})
	return c
}

// NewClient makes a Conn of a connection to a server and sends preface and SETTINGS.
func NewClient(rc *reactor.Conn, shared *Shared, h Handler) *Conn {
	c := newConn(rc, shared, h)
	c.client, c.prefaced, c.nextID = true, true, 1
	rc.SetOutput(append(rc.Output(len(Preface)+128), Preface...))
	c.begin(xhttp2.Setting{ID: xhttp2.SettingEnablePush, Val: 0})
	return c
}

func newConn(rc *reactor.Conn, shared *Shared, h Handler) *Conn {
	c := &Conn{
		shared: shared, rc: rc, handler: h, streams: map[uint32]*Stream{},
		window: inputWindow{size: windowDefault, left: windowDefault}, room: windowDefault,
		peerWindow: windowDefault, peerFrame: frameBytesMax, peerStreams: streamsMost,
	}
	c.decoder.shared, c.decoder.headBytesMax = shared, shared.Limits.HeadBytesMax
	rc.SetHandler(c)
	rc.NeedInput(frameHeadBytes + frameBytesMax)
	rc.Batch()
	return c
}

// begin sends SETTINGS and opens the window of the connection.
func (c *Conn) begin(settings ...xhttp2.Setting) {
	l := c.shared.Limits
	settings = append(settings, xhttp2.Setting{ID: xhttp2.SettingMaxHeaderListSize, Val: uint32(c.decoder.headBytesMax)})
	c.rc.SetOutput(appendSettings(c.rc.Output(headRoom), settings...))
	if n := c.growWindow(windowInitial - windowDefault); n > 0 {
		c.sendUpdate(0, n)
	}
	c.awaitsAck = true
	c.rc.SetTimeout(l.HeadTimeout)
}

// Ended reports whether the connection has ended or is closing.
func (c *Conn) Ended() bool { return c.closed }

// Heard returns the time, on the loop clock, at which input has arrived last; 0 if none has.
func (c *Conn) Heard() int64 { return c.heard }

// StreamsMax returns how many streams the peer may have open at once: the limit that a server has announced.
func (c *Conn) StreamsMax() int { return c.streamsMax }

// Streams returns the number of streams that have not ended.
func (c *Conn) Streams() int { return len(c.streams) }

// Unsent returns how many bytes of output wait: in the queues of streams, and in the connection below.
func (c *Conn) Unsent() int { return c.queued + c.rc.Unsent() }

// Data implements reactor.Handler.
func (c *Conn) Data(*reactor.Conn) {
	c.heard = c.rc.Loop().Now()
	for !c.closed {
		in := c.rc.Input()
		if !c.prefaced {
			if len(in) < len(Preface) && string(in) == Preface[:len(in)] {
				break
			}
			if len(in) < len(Preface) || string(in[:len(Preface)]) != Preface {
				c.fail(errPreface)
				return
			}
			c.prefaced = true
			c.rc.Consume(len(Preface))
			continue
		}
		if len(in) < frameHeadBytes {
			break
		}
		h := parseFrameHead(in)
		if h.bytes > frameBytesMax {
			c.fail(errFrameSize)
			return
		}
		whole := frameHeadBytes + h.bytes
		if len(in) < whole {
			break
		}
		e := c.receive(h, in[frameHeadBytes:whole])
		c.rc.Consume(whole)
		if e != nil {
			c.failed(h.stream, e)
		}
	}
	if c.closed {
		return
	}
	if c.rc.InputEnded() {
		c.inputEnded()
	}
	c.pump()
}

// inputEnded ends what cannot complete after the peer has closed its direction, because nothing will open a window any
// more. Other complete requests are still answered.
func (c *Conn) inputEnded() {
	c.lastCall = true
	for _, s := range c.streams {
		if !s.inEnded || s.Queued() > max(min(s.room, c.room), 0) {
			s.breakOff(ErrClosed)
		}
	}
	c.closeIfDone()
}

// Timeout implements reactor.Handler.
func (c *Conn) Timeout(*reactor.Conn) {
	switch {
	case c.closed:
	case !c.settled && len(c.rc.Input()) == 0 && !c.prefaced:
		c.close(ErrClosed)
	case !c.settled || c.section.stream != 0:
		c.fail(errHeadLate)
	case len(c.streams) == 0:
		c.sendGoAway(c.lastPeer, xhttp2.ErrCodeNo, "")
		c.close(ErrClosed)
	}
}

// idle starts the idle timeout if there are no streams.
func (c *Conn) idle() {
	if len(c.streams) == 0 && c.settled && c.section.stream == 0 && !c.closed {
		c.rc.SetTimeout(c.shared.Limits.IdleTimeout)
	}
}

// startTimer starts the timer of SETTINGS and Shutdown.
func (c *Conn) startTimer(d time.Duration) {
	c.timer.Owner = c
	c.rc.Loop().AfterFunc(&c.timer, d, func(t *loop.Timer) { t.Owner.(*Conn).timedOut() })
}

func (c *Conn) timedOut() {
	switch {
	case c.closed:
	case c.leaving:
		c.callLast()
	case c.awaitsAck:
		c.fail(errSettingsLate)
	}
}

// Shutdown ends the connection gracefully (RFC 9113 section 6.8). Streams that the peer opens within a round trip are
// still handled.
func (c *Conn) Shutdown() {
	if c.closed || c.leaving {
		return
	}
	c.leaving = true
	if c.client {
		c.lastCall = true
		c.sendGoAway(0, xhttp2.ErrCodeNo, "")
		c.closeIfDone()
		return
	}
	c.sendGoAway(streamIDMax, xhttp2.ErrCodeNo, "")
	c.rc.SetOutput(appendPing(c.rc.Output(frameHeadBytes+8), 0, []byte(pingMark)))
	c.startTimer(leaveTime)
}

// callLast sends the second GOAWAY of Shutdown.
func (c *Conn) callLast() {
	if c.lastCall {
		return
	}
	c.lastCall = true
	c.sendGoAway(c.lastPeer, xhttp2.ErrCodeNo, "")
	c.closeIfDone()
}

func (c *Conn) sendGoAway(last uint32, code xhttp2.ErrCode, reason string) {
	c.rc.SetOutput(appendGoAway(c.rc.Output(frameHeadBytes+8+len(reason)), last, code, reason))
}

// closeIfDone closes the connection after its last stream.
func (c *Conn) closeIfDone() {
	if c.lastCall && len(c.streams) == 0 {
		c.close(ErrClosed)
	}
}

// failed ends a stream, or the connection, for an error of the peer.
func (c *Conn) failed(stream uint32, e *Error) {
	if !e.Stream {
		c.fail(e)
		return
	}
	c.handler.Failed(c, e)
	if s := c.streams[stream]; s != nil {
		s.breakOff(e)
	}
	c.sendReset(stream, e.Code)
	if e := c.reset(); e != nil {
		c.fail(e)
	}
}

// sendReset sends RST_STREAM for a stream that has left the connection, or was never taken.
func (c *Conn) sendReset(stream uint32, code xhttp2.ErrCode) {
	c.rc.SetOutput(appendReset(c.rc.Output(frameHeadBytes+4), stream, code))
	for i := range c.ended {
		if c.ended[i].id == stream {
			c.ended[i].reset = true
			return
		}
	}
	c.remember(stream, true)
}

// remember records a stream that has left the connection, in place of the oldest one.
func (c *Conn) remember(stream uint32, reset bool) {
	c.ended[c.endedAt] = closedStream{stream, reset}
	c.endedAt = (c.endedAt + 1) % closedKept
}

// acknowledged records that the peer knows the end of a stream, so that it may send nothing more on it.
func (c *Conn) acknowledged(stream uint32) {
	for i := range c.ended {
		if c.ended[i].id == stream {
			c.ended[i].reset = false
		}
	}
}

// recall finds a stream among those that left the connection last.
func (c *Conn) recall(stream uint32) (known, reset bool) {
	for i := range c.ended {
		if c.ended[i].id == stream {
			return true, c.ended[i].reset
		}
	}
	return false, false
}

// Fail ends the connection with an error: GOAWAY has its code and reason.
func (c *Conn) Fail(e *Error) { c.fail(e) }

func (c *Conn) fail(e *Error) {
	if c.closed {
		return
	}
	c.sendGoAway(c.lastPeer, e.Code, e.Reason)
	c.handler.Failed(c, e)
	c.close(e)
}

// Abort ends the connection at once.
func (c *Conn) Abort(err error) {
	c.rc.Abort(err)
	c.end(err)
}

// close ends all streams and closes the connection after its output.
func (c *Conn) close(err error) {
	c.end(err)
	c.rc.Consume(len(c.rc.Input()))
	c.rc.Close()
}

// end ends all streams.
func (c *Conn) end(err error) {
	if c.closed {
		return
	}
	c.closed = true
	c.rc.Loop().StopTimer(&c.timer)
	c.rc.Loop().StopTimer(&c.probe)
	c.shared.granted -= c.granted
	c.granted = 0
	for _, s := range c.streams {
		s.breakOff(err)
	}
	c.section = section{}
}

// Closed implements reactor.Handler.
func (c *Conn) Closed(_ *reactor.Conn, err error) {
	cause := err
	if cause == nil {
		cause = ErrClosed
	}
	c.end(cause)
	c.handler.Closed(c, err)
}
