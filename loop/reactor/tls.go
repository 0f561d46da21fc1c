package reactor

// TLS on a loop, with crypto/tls as it is: what a Listener is told, and the
// handshake. A task runs the handshake and waits like any other; an open
// connection has no task. The Transport that encrypts is in stream.go.

import (
	"crypto/tls"
	"errors"
	"io"
	"time"

	"tafe/loop"
)

// TLS is how a Listener speaks it.
type TLS struct {
	// Config is crypto/tls's. Its callbacks are called by tasks, outside of the
	// code that touches the loop; those that compute or block for long delay their
	// connection, and others until the loop is handed over.
	Config *tls.Config
	// HandshakeTimeout is from the accepted connection to the end of the handshake;
	// default 10 s. Then the connection is closed.
	HandshakeTimeout time.Duration
	// HandshakesMax bounds handshakes under way, per loop; default 1024. Beyond it,
	// connections are closed.
	HandshakesMax int
	// HandshakesPerSecond bounds handshakes begun per loop, so that they leave time
	// for open connections; beyond it they wait. 0: no bound.
	HandshakesPerSecond int
	// NotTLS is sent to a client that does not speak TLS, before the connection is
	// closed.
	NotTLS []byte
	// Failed, if not nil, is called on the loop for each handshake that failed. It
	// must not wait.
	Failed func(l *loop.Loop, remote string, err error)
}

// Errors of handshakes.
var (
	// ErrHandshakeTimeout: TLS.HandshakeTimeout has passed.
	ErrHandshakeTimeout = errors.New("reactor: the TLS handshake took too long")
	// ErrHandshakesMax: TLS.HandshakesMax handshakes are under way on the loop.
	ErrHandshakesMax = errors.New("reactor: too many TLS handshakes are under way")
	// errHandshakeBytes: the client sent more than any handshake needs.
	errHandshakeBytes = errors.New("reactor: the TLS handshake has too many bytes")
)

const (
	handshakeTimeout  = 10 * time.Second
	handshakesMax     = 1024
	handshakeBytesMax = 128 << 10 // from the client, with what follows its last message
	helloBytes        = 4 << 10   // of a client, read before its handshake has a task
)

// handshakeName is the route name of handshakes in reports of a watchdog.
var handshakeName = "TLS handshake"

// TLS returns the state of the connection's TLS; nil if it speaks none, or its
// handshake is not done.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil || c.tls.state != tlsOpen {
		return nil
	}
	state := c.tls.session.ConnectionState()
	return &state
}

// Secure tells whether the connection speaks TLS.
func (c *Conn) Secure() bool { return c.tls != nil }

// startTLS has c speak TLS as a server from its next byte on, or from those that
// are in its Input. open is called when the handshake is done.
func (c *Conn) startTLS(terms *TLS, open func(*Conn) Handler) {
	s := &tlsStream{conn: c, under: c.transport, terms: terms, open: open}
	s.wire.stream = s
	s.wire.ahead = append([]byte(nil), c.Input()...)
	c.Consume(len(s.wire.ahead))
	c.transport, c.tls, c.handler = s, s, (*handshake)(s)
	timeout := terms.HandshakeTimeout
	if timeout <= 0 {
		timeout = handshakeTimeout
	}
	c.SetTimeout(timeout)
	if len(s.wire.ahead) > 0 {
		s.begin()
	}
}

// readable is Conn.Readable as long as there is no session.
func (s *tlsStream) readable() {
	switch {
	case s.state == tlsFresh:
		s.hello()
	case s.state != tlsHandshaking:
	case s.parked:
		s.parked = false
		s.waker.Wake()
	case s.deaf:
		s.conn.probe()
	default: // the task computes or waits for its turn: the event would come again and again
		s.deaf = true
		s.under.Want(false, s.conn.wantWrite)
	}
}

// hello reads the first bytes: a client that connects and leaves, as a health
// check does, costs no task and is no failure.
func (s *tlsStream) hello() {
	r := s.conn.r
	n, err := s.under.Read(nil, r.spill[:helloBytes])
	switch {
	case err == io.EOF:
		s.conn.end(nil)
	case err != nil:
		s.conn.end(err)
	case n > 0:
		s.wire.ahead = append([]byte(nil), r.spill[:n]...)
		s.wire.empty = n < helloBytes
		s.begin()
	}
}

// begin starts the task of the handshake.
func (s *tlsStream) begin() {
	r := s.conn.r
	most := s.terms.HandshakesMax
	if most <= 0 {
		most = handshakesMax
	}
	if r.handshakes >= most {
		s.fail(ErrHandshakesMax)
		return
	}
	var err error
	if s.task, err = r.loop.Start((*handshake)(s)); err != nil {
		s.fail(err)
		return
	}
	r.handshakes++
	s.state = tlsHandshaking
	s.wire.remote, s.wire.local = s.under.RemoteAddr(), s.under.LocalAddr()
	s.session = tls.Server(&s.wire, s.terms.Config)
}

// listen has read events level-triggered again.
func (s *tlsStream) listen() {
	if s.deaf {
		s.deaf = false
		s.under.Want(s.conn.wantRead, s.conn.wantWrite)
	}
}

// failed counts a handshake that failed, and reports it, once.
func (s *tlsStream) failed(err error) bool {
	if s.state == tlsOver {
		return false
	}
	s.state = tlsOver
	r := s.conn.r
	r.stats.HandshakesFailed++
	if s.terms.Failed != nil {
		s.terms.Failed(r.loop, s.conn.Remote(), err)
	}
	return true
}

// fail closes a connection whose handshake failed: after the alert of crypto/tls,
// if there is one, or the answer to a client that does not speak TLS.
func (s *tlsStream) fail(err error) {
	if !s.failed(err) {
		return
	}
	var other tls.RecordHeaderError
	if errors.As(err, &other) && other.Conn != nil {
		s.queue(s.terms.NotTLS)
	}
	s.listen()
	s.wire.ahead = nil
	s.conn.Close()
}

// handshake is a tlsStream whose handshake is not done: the Runner of its task,
// and the Handler of its Conn.
type handshake tlsStream

// Run is the task.
func (h *handshake) Run(t *loop.Task) {
	s := (*tlsStream)(h)
	t.Observe().Describe(&handshakeName, nil, nil, nil, nil, &s.conn.label)
	if wait := s.conn.r.handshakeTurn(s.terms.HandshakesPerSecond); wait > 0 {
		if s.failure = t.Sleep(wait); s.failure != nil {
			return
		}
	}
	t.Outside(func() { s.failure = s.session.Handshake() })
}

// handshakeTurn returns how long the next handshake has to wait, for not more
// than perSecond of them a second; a tenth of that, or one, may come at once.
func (r *Reactor) handshakeTurn(perSecond int) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	now := r.loop.Now()
	step := int64(time.Second) / int64(perSecond)
	burst := max(int64(time.Second)/10, step)
	r.handshakeAt = max(r.handshakeAt, now-burst) + step
	return time.Duration(max(r.handshakeAt-now, 0))
}

// Done goes on with the session, or without one.
func (h *handshake) Done(_ *loop.Task, err error) {
	s := (*tlsStream)(h)
	s.conn.r.handshakes--
	s.task = nil
	if err == nil {
		err = s.failure
	}
	switch {
	case s.state != tlsHandshaking || s.conn.Closed(): // that has been reported
	case err != nil:
		s.fail(err)
	default:
		s.opened()
	}
}

// opened gives the connection its Handler, and reads what came with the last
// message of the handshake.
func (s *tlsStream) opened() {
	c := s.conn
	s.state, s.settling, s.more = tlsOpen, true, true
	c.r.stats.Handshakes++
	if s.session.ConnectionState().DidResume {
		c.r.stats.HandshakesResumed++
	}
	s.listen()
	c.SetTimeout(0)
	c.handler = s.open(c)
	c.opened()
	if c.state == connOpen && !c.aborting && c.reading() {
		c.receive()
	}
}

// Data is never called: there is none before a session.
func (h *handshake) Data(*Conn) {}

// Timeout ends a connection whose handshake takes too long.
func (h *handshake) Timeout(c *Conn) {
	(*tlsStream)(h).failed(ErrHandshakeTimeout)
	c.Abort(ErrHandshakeTimeout)
}

// Closed ends the handshake of a connection that has ended.
func (h *handshake) Closed(_ *Conn, err error) {
	s := (*tlsStream)(h)
	if err == nil {
		err = io.EOF
	}
	if s.state == tlsHandshaking {
		s.failed(err)
	}
	if s.task != nil {
		s.task.Cancel(loop.ErrClosed)
	}
}
