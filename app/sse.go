// Server-sent events: a Stream in the format of the HTML standard (section 9.2), with heartbeats and backpressure. sseclient.go has
// streams that outlive their handlers.

package app

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tafe/loop"
)

// Event is a server-sent event. Fields that are empty are not sent.
type Event struct {
	ID   string // for Last-Event-ID; without NUL, CR and LF
	Name string // the type of the event, "message" if empty; without CR and LF
	// Data may have several lines, which end with LF, CR LF or CR. The client gets them joined by LF. An event with empty Data is not
	// dispatched by browsers.
	Data  string
	Retry time.Duration // time after which the client reconnects, in whole milliseconds
}

// AppendEvent appends the wire form of e. The error says which field is invalid.
func AppendEvent(b []byte, e *Event) ([]byte, error) {
	if strings.ContainsAny(e.ID, "\x00\r\n") || strings.ContainsAny(e.Name, "\r\n") {
		return b, fmt.Errorf("app: an event's ID or name has a line break or NUL: %q, %q", e.ID, e.Name)
	}
	if e.Name != "" {
		b = append(append(append(b, "event: "...), e.Name...), '\n')
	}
	if e.ID != "" {
		b = append(append(append(b, "id: "...), e.ID...), '\n')
	}
	if e.Retry > 0 {
		b = append(strconv.AppendInt(append(b, "retry: "...), e.Retry.Milliseconds(), 10), '\n')
	}
	for rest := e.Data; rest != ""; {
		line := rest
		if i := strings.IndexAny(rest, "\r\n"); i >= 0 {
			line, rest = rest[:i], rest[i:]
			if rest = rest[len(lineEnd(rest)):]; rest == "" { // Data ends with a line break
				b = append(append(append(b, "data: "...), line...), "\ndata: \n"...)
				break
			}
		} else {
			rest = ""
		}
		b = append(append(append(b, "data: "...), line...), '\n')
	}
	return append(b, '\n'), nil
}

// lineEnd returns the line break at the start of s.
func lineEnd(s string) string {
	if strings.HasPrefix(s, "\r\n") {
		return s[:2]
	}
	return s[:1]
}

// SlowPolicy says what happens to an event for a client that does not read fast enough.
type SlowPolicy uint8

// The policies for slow clients.
const (
	SlowWait  SlowPolicy = iota // Send waits
	SlowDrop                    // the event is dropped, and SSE.Dropped counts it
	SlowClose                   // the connection is closed, and Send returns ErrSlowClient
)

// SSEOptions configure an event stream. Zero fields take their defaults.
type SSEOptions struct {
	// Heartbeat is the time without an event after which a comment is sent, so that proxies keep the connection and a client that has left
	// is noticed. Default 15 s; a negative value sends none.
	Heartbeat time.Duration
	// Retry, if above 0, tells the client when to reconnect, at the start of the stream.
	Retry time.Duration
	// SlowDrop and SlowClose apply while QueueBytesMax bytes are unsent; default 64 KiB. SlowWait applies as for Stream.Write. Independent of
	// them, a client that takes nothing for reactor.Limits.WriteTimeout is disconnected.
	Slow          SlowPolicy
	QueueBytesMax int
}

func (o SSEOptions) withDefaults() SSEOptions {
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.QueueBytesMax <= 0 {
		o.QueueBytesMax = 64 << 10
	}
	return o
}

// Errors of event streams.
var (
	// ErrSlowClient ends an event stream whose client does not read fast enough; see SlowClose.
	ErrSlowClient = errors.New("app: the client does not read fast enough")
	// ErrDraining cancels the task of an event stream when the server drains. As the error of the handler it is no failure.
	ErrDraining = errors.New("app: the server drains")
)

var heartbeat = []byte(":\n\n")

// SSE is a stream of server-sent events. Like its Context, it is for the goroutine of the handler.
type SSE struct {
	c       *Context
	options SSEOptions
	stream  *Stream
	pos     int        // in loopState.streams
	timer   loop.Timer // of heartbeats
	sent    int64      // loop time of the last event
	sending bool       // the task is writing an event
	dropped uint64
	buf     []byte
}

// SSE begins a stream of server-sent events. The response head is sent when the handler waits. The limits on the time of a handler do not
// apply from here on, and the body is not compressed.
//
// The stream ends when the handler returns. If the client leaves, also if it only ends its sending side, the task is cancelled with
// ErrClientGone, and during a drain with ErrDraining; neither is a failure. While a server drains, SSE returns an error that answers 503.
// To send the same events to many clients, use package hub.
func (c *Context) SSE(o SSEOptions) (*SSE, error) {
	s := &SSE{c: c, options: o.withDefaults()}
	if err := c.beginEvents(&s.options); err != nil {
		return nil, err
	}
	s.stream = &c.stream
	defer c.task.Leave(c.task.Enter())
	c.events = s
	c.state.addStream(s)
	s.sent = c.state.loop.Now()
	s.armHeartbeat(s.options.Heartbeat)
	return s, nil
}

// beginEvents writes the response head of an event stream, and its retry field.
func (c *Context) beginEvents(o *SSEOptions) error {
	if c.state.draining {
		return errShuttingDown
	}
	c.resp.choose = nil
	for _, h := range [...][2]string{{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}} {
		if c.ResponseHeaderView(h[0]) == "" {
			c.SetHeader(h[0], h[1])
		}
	}
	stream := c.Stream(0, "text/event-stream")
	if err := stream.Begin(); err != nil {
		return err
	}
	for c.diverted != nil {
		if err := c.diverted.leave(c); err != nil {
			return err
		}
	}
	c.unlimitTime()
	if o.Retry <= 0 {
		return nil
	}
	b, _ := AppendEvent(nil, &Event{Retry: o.Retry})
	_, err := stream.Write(b)
	return err
}

// LastEventID returns the ID of the last event that the client has received before it reconnected; "" if none.
func (s *SSE) LastEventID() string { return LastEventID(s.c) }

// LastEventID returns what SSE.LastEventID returns, before the stream begins.
func LastEventID(c *Context) string { return c.Header("Last-Event-ID") }

// Send sends an event. It is queued when Send returns, and sent when the handler waits, or 2 ms later. SSEOptions.Slow says what happens
// while the client does not read. The other errors are those of Stream.Write.
func (s *SSE) Send(e Event) error {
	b, err := AppendEvent(s.buf[:0], &e)
	if err != nil {
		return err
	}
	s.buf = b
	return s.write(b)
}

// SendEncoded is Send for an event that is encoded already.
func (s *SSE) SendEncoded(e *EncodedEvent) error { return s.write(e.plain) }

// Comment sends a comment, which clients ignore.
func (s *SSE) Comment(text string) error {
	b := s.buf[:0]
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		b = append(append(append(b, ": "...), line...), '\n')
	}
	s.buf = append(b, '\n')
	return s.write(s.buf)
}

// Dropped returns how many events were dropped by SlowDrop.
func (s *SSE) Dropped() uint64 { return s.dropped }

// write sends b, which is one or more whole events.
func (s *SSE) write(b []byte) error {
	t := s.c.task
	defer t.Leave(t.Enter())
	if err := t.Err(); err != nil {
		return err
	}
	if s.c.wire.unsent() >= s.options.QueueBytesMax {
		switch s.options.Slow {
		case SlowDrop:
			s.dropped++
			return nil
		case SlowClose:
			s.c.state.reasons.count(reasonSlow)
			s.c.wire.abort(ErrSlowClient)
			return ErrSlowClient
		}
	}
	s.sending, s.sent = true, s.c.state.loop.Now()
	_, err := s.stream.Write(b)
	s.sending = false
	if cap(s.buf) > scratchKeptMax {
		s.buf = nil
	}
	return err
}

// reasonSlow counts clients that were disconnected because they did not read.
const reasonSlow = "slow-client"

// armHeartbeat makes the loop check in d whether a heartbeat is due.
func (s *SSE) armHeartbeat(d time.Duration) {
	if s.options.Heartbeat > 0 && !s.c.resp.bodiless {
		s.timer.Owner = s
		s.c.state.loop.AfterFunc(&s.timer, d, func(t *loop.Timer) { t.Owner.(*SSE).beat() })
	}
}

// beat sends a heartbeat if no event was sent lately. It runs on the loop, outside of the task.
func (s *SSE) beat() {
	now := s.c.state.loop.Now()
	if quiet := time.Duration(now - s.sent); quiet < s.options.Heartbeat {
		s.armHeartbeat(s.options.Heartbeat - quiet)
		return
	}
	if !s.sending && s.c.wire.unsent() == 0 && !s.c.wire.closed() {
		s.sent = now
		s.c.resp.bytes += int64(len(heartbeat))
		s.c.put(heartbeat)
	}
	s.armHeartbeat(s.options.Heartbeat)
}

// end releases the stream at the end of its handler, and returns the handler's error unless it is none of the handler. On the loop.
func (s *SSE) end(err error) error {
	s.c.state.loop.StopTimer(&s.timer)
	s.c.state.removeStream(s.pos)
	cause := s.c.task.Err()
	switch fault := (*loop.PanicError)(nil); {
	case err == nil || errors.As(err, &fault) || errors.Is(err, loop.ErrGoexit):
	case cause == ErrDraining:
		return nil
	case cause == ErrClientGone && !s.c.wire.closed(): // the client has ended its sending side
		s.c.reason = "client-gone"
		s.c.state.reasons.count(s.c.reason)
		s.c.resp.keepAlive = false
		return nil
	}
	return err
}

// goAway implements openStream.
func (s *SSE) goAway() { s.c.task.Cancel(ErrDraining) }

func (s *SSE) place(pos int) { s.pos = pos }

// clientLeft cancels the handler of an event stream whose client has ended its sending side of HTTP/1. On the loop.
func (c *Context) clientLeft() {
	if c.events != nil && c.wire.inputEnded() {
		c.task.Cancel(ErrClientGone)
	}
}

// openStream is an event stream that a drain ends.
type openStream interface {
	goAway()
	place(pos int)
}

func (ls *loopState) addStream(s openStream) {
	s.place(len(ls.streams))
	ls.streams = append(ls.streams, s)
}

func (ls *loopState) removeStream(pos int) {
	last := len(ls.streams) - 1
	ls.streams[pos] = ls.streams[last]
	ls.streams[pos].place(pos)
	ls.streams[last] = nil
	ls.streams = ls.streams[:last]
}

// endStreams ends the event streams and WebSockets of the loop, for a drain.
func (ls *loopState) endStreams() {
	for i := len(ls.streams) - 1; i >= 0; i-- {
		ls.streams[i].goAway()
	}
	if sockets := ls.sockets.Load(); sockets != nil {
		sockets.GoAway()
	}
}
