// Conn: the states of one WebSocket, and Read for handlers that read message by message.
//
// A Conn is in these states, of the close handshake:
//
//	open       messages go both ways; a ping is sent when the client is silent
//	sentClose  the server has sent a close frame, and discards what comes before the client's; 5 s
//	gotClose   both close frames were sent, or the client broke the protocol or ended its stream; the connection flushes and ends
//	ended      the connection has ended

package websocket

import (
	"errors"
	"time"

	"tafe/loop"
	"tafe/loop/reactor"
)

// Kind is the kind of a message.
type Kind uint8

// The kinds of messages (RFC 6455 section 5.6).
const (
	Text   Kind = 1 // UTF-8
	Binary Kind = 2
)

// Options configure WebSocket connections. Zero fields take their defaults.
type Options struct {
	// Origins are the origins of pages that may connect, besides those of the request's own host: hosts such as "*.example.com", origins such
	// as "https://example.com", or "*" for all, with the wildcards of path.Match. Other pages are answered with 403. Clients that send no
	// Origin are always accepted.
	Origins []string
	// Protocols are the subprotocols of the server in order of preference; see Conn.Protocol.
	Protocols []string
	// MessageMax is the largest message that is received, in bytes, after decompression; a larger one closes the connection with code 1009.
	// Default 256 KiB.
	MessageMax int
	// Compress accepts permessage-deflate. Messages from CompressMin bytes on, default 512, are then compressed.
	Compress    bool
	CompressMin int
	// PingEvery is the time without input after which a ping is sent, and the time that the client then has to answer. Default 30 s; a
	// negative value sends no pings.
	PingEvery time.Duration
}

// WithDefaults returns o with defaults in place of zero fields.
func (o Options) WithDefaults() Options {
	if o.MessageMax <= 0 {
		o.MessageMax = 256 << 10
	}
	if o.CompressMin <= 0 {
		o.CompressMin = 512
	}
	if o.PingEvery == 0 {
		o.PingEvery = 30 * time.Second
	}
	return o
}

const (
	readAheadMax = 64 << 10 // unread bytes of a connection at which reading stops
	pongsMax     = 64 << 10 // unsent bytes from which pings are not answered
)

// Errors of Read.
var (
	// ErrServing is returned by Read after Serve or WriteOnly.
	ErrServing = errors.New("websocket: Read after Serve or WriteOnly")
	// ErrReading is returned by Read while another task of the handler is in Read.
	ErrReading = errors.New("websocket: another task reads")
)

// Conn is a WebSocket. Its methods are for the tasks of its loop; Write and Close are for any goroutine. An idle Conn holds no buffers.
type Conn struct {
	set   *Set
	conn  *reactor.Conn
	route Route
	task  *loop.Task // that of the handler, then those of messages
	pos   int        // in set.conns

	onMessage  func(*Message) error
	onClosed   func(*Conn, error)
	whenClosed []func()
	err        *CloseError // nil while it is open
	protocol   string

	reader    loop.Waker
	msg       []byte // the message that is being received, or is ready
	held      []byte // the message that the handler has
	remaining int64  // bytes of the current frame that are to come
	masked    int    // bytes of it that were received
	heard     int64  // loop time of the last input
	pingEvery time.Duration

	messageMax, compressMin int32
	mask                    [4]byte
	kind                    Kind // of msg

	deflate    bool // permessage-deflate was negotiated
	compressed bool // msg is compressed
	fragmented bool // further frames belong to msg
	inFrame    bool // the header of a frame was read, and its payload not yet
	ready      bool // msg is complete
	handed     bool // the handler has a message
	deferred   bool // a frame that ends the connection waits in the input until the handler is done with its message
	reading    bool // a task waits in Read
	messaging  bool // a task of Serve exists
	cancels    bool // the end of the connection cancels task
	writeOnly  bool
	pinged     bool
	goingAway  bool
	sentClose  bool
	gotClose   bool
	ended      bool
}

// Accepted describes a request that was answered with 101.
type Accepted struct {
	Conn     *reactor.Conn
	Task     *loop.Task // that of the request's handler
	Route    Route
	Options  Options // with defaults
	Protocol string
	Deflate  bool // permessage-deflate was negotiated
}

// Accept makes a WebSocket of a connection whose opening handshake is done, and takes over its events. It is for package app. On the loop.
func (s *Set) Accept(a Accepted) *Conn {
	c := &Conn{
		set: s, conn: a.Conn, route: a.Route, task: a.Task, protocol: a.Protocol, deflate: a.Deflate, pingEvery: a.Options.PingEvery,
		messageMax: int32(min(a.Options.MessageMax, 1<<30)), compressMin: int32(min(a.Options.CompressMin, 1<<30)), heard: s.config.Loop.Now(),
	}
	s.add(c)
	a.Conn.Take(c, readAheadMax)
	if c.pingEvery > 0 {
		a.Conn.SetTimeout(c.pingEvery)
	}
	c.receive()
	return c
}

// Protocol returns the subprotocol that was agreed on; "" if none. Any goroutine.
func (c *Conn) Protocol() string { return c.protocol }

// Compressed reports whether permessage-deflate was agreed on. Any goroutine.
func (c *Conn) Compressed() bool { return c.deflate }

// RemoteAddr returns the address of the connection's peer, "ADDRESS:PORT". Any goroutine.
func (c *Conn) RemoteAddr() string { return c.conn.Remote() }

// Loop returns the loop of the connection. Any goroutine.
func (c *Conn) Loop() *loop.Loop { return c.set.config.Loop }

// Err returns nil while the connection is open, and then a *CloseError.
func (c *Conn) Err() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// Read waits for the next message and returns it. data is valid until the next Read. The error is a *CloseError once the connection is
// closed, or the cause with which the task was cancelled. One task at a time may call Read.
func (c *Conn) Read() (kind Kind, data []byte, err error) {
	t := c.set.config.Loop.Current()
	kind, data, compressed, err := c.next(t)
	if err != nil {
		return 0, nil, err
	}
	if data, err = c.content(t, kind, data, compressed); err != nil {
		return 0, nil, err
	}
	return kind, data, nil
}

// next waits for a message and takes it.
func (c *Conn) next(t *loop.Task) (kind Kind, data []byte, compressed bool, err error) {
	if t == nil {
		return 0, nil, false, loop.ErrForeignGoroutine
	}
	defer t.Leave(t.Enter())
	switch {
	case c.onMessage != nil || c.writeOnly:
		return 0, nil, false, ErrServing
	case c.reading:
		return 0, nil, false, ErrReading
	}
	c.release()
	for {
		switch {
		case c.err != nil:
			return 0, nil, false, c.err
		case c.ready:
			kind, data, compressed = c.take()
			return kind, data, compressed, nil
		case c.goingAway:
			c.closeGoingAway()
			continue
		}
		c.reader = t.Prepare()
		c.reading = true
		err := t.Park()
		c.reading = false
		if err != nil && c.err == nil {
			return 0, nil, false, err
		}
	}
}

// take hands the ready message to the caller, and receives further frames. On the loop.
func (c *Conn) take() (kind Kind, data []byte, compressed bool) {
	kind, compressed = c.kind, c.compressed
	c.held, c.msg, c.ready, c.handed = c.msg, nil, false, true
	data = c.held
	c.receive()
	return kind, data, compressed
}

// release ends the handler's use of its message. On the loop.
func (c *Conn) release() {
	c.recycleHeld()
	c.handed = false
	c.undefer()
}

// undefer handles the frame that was deferred, if any. On the loop.
func (c *Conn) undefer() {
	if c.deferred {
		c.deferred = false
		c.receive()
	}
}

// content decompresses and checks a message. It is called outside the loop's region, because it may take long.
func (c *Conn) content(t *loop.Task, kind Kind, data []byte, compressed bool) (_ []byte, err error) {
	if compressed {
		if data, err = c.set.codecs.inflate(data, int(c.messageMax)); err != nil {
			return nil, c.refuseContent(t, err)
		}
	}
	if kind == Text && !validText(data) {
		return nil, c.refuseContent(t, errNotUTF8)
	}
	return data, nil
}

// refuseContent closes the connection because of an invalid message.
func (c *Conn) refuseContent(t *loop.Task, err error) error {
	defer t.Leave(t.Enter())
	code, reason := InvalidData, ReasonProtocol
	if err == errTooBig {
		code, reason = TooBig, ReasonTooBig
	}
	c.fail(code, err.Error(), reason)
	return c.err
}

// WriteOnly declares that the handler will not call Read. Messages of the client are dropped, and when the connection is closed, the
// handler's task is cancelled with a *CloseError, so that its waits end.
func (c *Conn) WriteOnly() {
	t := c.set.config.Loop.Current()
	defer t.Leave(t.Enter())
	c.writeOnly = true
	c.cancels = c.task != nil
	if c.err != nil && c.cancels {
		c.task.Cancel(c.err)
	}
	c.dropInput()
	c.release()
	c.receive()
}

// idle reports whether the connection's handler waits for a message, or has returned and no message is being served.
func (c *Conn) idle() bool {
	if c.onMessage != nil {
		return !c.messaging && c.task == nil
	}
	return c.reading
}
