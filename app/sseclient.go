// EventClient: an event stream that outlives its handler. It has no task and no Context, so that an idle client costs little.

package app

import (
	"errors"
	"time"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

// EventClient is a client of server-sent events whose handler returns. It is for package hub. Only the goroutine of its loop may use it.
type EventClient struct {
	state     *loopState
	conn      *reactor.Conn
	closed    func()
	heartbeat time.Duration
	sent      int64 // loop time of the last event
	pos       int   // in loopState.streams
	chunked   bool
	halfOpen  bool // the client has ended its sending side with the request, as HTTP/2 does
	ended     bool
}

// DetachEvents begins an event stream like Context.SSE, and detaches it from its handler, which should return. SSEOptions.Slow
// and QueueBytesMax are the caller's to apply. closed is called once on the loop when the stream has ended. The access log has its entry when the
// handler returns.
//
// The error is errors.ErrUnsupported, and nothing was written, for a HEAD request and where a connection cannot be detached.
func DetachEvents(c *Context, o SSEOptions, closed func()) (*EventClient, error) {
	if c.state.bridged || c.resp.bodiless {
		return nil, errors.ErrUnsupported
	}
	o = o.withDefaults()
	c.resp.keepAlive = false
	if err := c.beginEvents(&o); err != nil {
		return nil, err
	}
	defer c.task.Leave(c.task.Enter())
	conn, err := c.takeConn()
	if err != nil {
		return nil, err
	}
	e := &EventClient{
		state: c.state, conn: conn, closed: closed, heartbeat: o.Heartbeat, sent: c.state.loop.Now(), chunked: c.resp.framing == httpparse.FramingChunked,
		halfOpen: c.req.Major == 2,
	}
	c.stream.open = false
	conn.Take(e, eventInputMax)
	conn.Consume(len(conn.Input()))
	c.state.addStream(e)
	e.awaitBeat(e.heartbeat)
	return e, nil
}

// eventInputMax is how many bytes the client of an event stream may send unread. They are discarded.
const eventInputMax = 4 << 10

// EncodedEvent is an event for many clients: it is encoded once.
type EncodedEvent struct{ plain, chunk []byte }

// EncodeEvent encodes e. The errors are those of AppendEvent.
func EncodeEvent(e *Event) (*EncodedEvent, error) {
	plain, err := AppendEvent(nil, e)
	if err != nil {
		return nil, err
	}
	chunk := httpparse.AppendChunk(make([]byte, 0, len(plain)+16), plain)
	return &EncodedEvent{plain, chunk}, nil
}

// Send sends an event without waiting and without copying what the socket accepts at once. It reports false, and sends nothing, if the
// stream has ended. The caller bounds what is unsent by Unsent and WhenDrained.
func (e *EventClient) Send(event *EncodedEvent) bool {
	if e.ended || e.conn.Closed() {
		return false
	}
	e.sent = e.state.loop.Now()
	if e.chunked {
		e.conn.WriteThrough(event.chunk)
	} else {
		e.conn.WriteThrough(event.plain)
	}
	return true
}

// Unsent returns how many bytes were written and not yet sent.
func (e *EventClient) Unsent() int { return e.conn.Unsent() }

// WhenDrained calls f on the loop, once, when at most below bytes are unsent or the connection has ended.
func (e *EventClient) WhenDrained(below int, f func()) { e.conn.WhenDrained(below, f) }

// End ends the stream after what was written.
func (e *EventClient) End() {
	if e.chunked && !e.conn.Closed() {
		e.conn.SetOutput(httpparse.AppendLastChunk(e.conn.Output(8)))
	}
	e.conn.Close()
}

// CloseSlow ends the stream of a client that does not read, and counts it.
func (e *EventClient) CloseSlow() {
	if !e.ended {
		e.state.reasons.count(reasonSlow)
		e.conn.Abort(ErrSlowClient)
	}
}

// Data implements reactor.Handler. It discards the input.
func (e *EventClient) Data(conn *reactor.Conn) {
	conn.Consume(len(conn.Input()))
	if conn.InputEnded() && !e.halfOpen {
		conn.NoLinger()
		conn.Close()
	}
}

// Timeout implements reactor.Handler. It sends a heartbeat if no event was sent lately.
func (e *EventClient) Timeout(*reactor.Conn) {
	if quiet := time.Duration(e.state.loop.Now() - e.sent); quiet < e.heartbeat {
		e.awaitBeat(e.heartbeat - quiet)
		return
	}
	if e.conn.Unsent() == 0 {
		e.Send(&EncodedEvent{heartbeat, heartbeatChunk})
	}
	e.awaitBeat(e.heartbeat)
}

var heartbeatChunk = httpparse.AppendChunk(nil, heartbeat)

func (e *EventClient) awaitBeat(d time.Duration) {
	if e.heartbeat > 0 {
		e.conn.SetTimeout(d)
	}
}

// Closed implements reactor.Handler.
func (e *EventClient) Closed(_ *reactor.Conn, err error) {
	e.ended = true
	if errors.Is(err, reactor.ErrWriteTimeout) {
		e.state.reasons.count(reasonSlow)
	}
	e.state.removeStream(e.pos)
	e.closed()
}

// goAway implements openStream.
func (e *EventClient) goAway() { e.End() }

func (e *EventClient) place(pos int) { e.pos = pos }
