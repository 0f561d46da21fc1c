// This file has the TLS configuration of a Listener and the handshake, with
// crypto/tls. A task runs the handshake; an open connection has no task. stream.go
// has the Transport that encrypts.

package reactor

import (
	"crypto/tls"
	"errors"
	"io"
	"time"

	"tafe/loop"
)

// TLS configures TLS for a Listener.
type TLS struct {
	// Config is the configuration of crypto/tls. Its callbacks run in tasks. A
	// callback that computes or blocks delays its connection, and others until the
	// loop is handed off.
	Config *tls.Config
	// HandshakeTimeout is the time from the accept, or from the end of the PROXY
	// header, to the end of the handshake; default 10 s. Then the connection is closed.
	HandshakeTimeout time.Duration
	// HandshakesMax limits the handshakes in progress on each loop; default 1024.
	// Connections beyond it are closed.
	HandshakesMax int
	// HandshakesPerSecond limits how many handshakes begin on each loop, so that
	// they leave time for open connections. Handshakes beyond it wait. 0: no limit.
	HandshakesPerSecond int
	// NotTLS is sent to a client that does not use TLS, before the connection is
	// closed.
	NotTLS []byte
	// HandshakeOnly names an ALPN protocol whose connections are closed after the
	// handshake, such as that of ACME challenges (RFC 8737). Open is not called for them.
	HandshakeOnly string
	// Failed, if not nil, is called on the loop for each failed handshake. It must
	// not wait.
	Failed func(l *loop.Loop, remote string, err error)
}

// Errors of the TLS handshake, for TLS.Failed.
var (
	// ErrHandshakeTimeout means that TLS.HandshakeTimeout has passed.
	ErrHandshakeTimeout = errors.New("reactor: TLS handshake timeout")
	// ErrHandshakesMax means that TLS.HandshakesMax handshakes are in progress on
	// the loop.
	ErrHandshakesMax = errors.New("reactor: too many TLS handshakes in progress")
	// errHandshakeBytes means that the client sent more bytes than any handshake
	// needs.
	errHandshakeBytes = errors.New("reactor: the TLS handshake has too many bytes")
)

const (
	handshakeTimeout  = 10 * time.Second
	handshakesMax     = 1024
	handshakeBytesMax = 128 << 10 // from the client, including what follows its last message
	helloBytes        = 4 << 10   // read from a client before its handshake has a task
)

// handshakeName is the route name of handshakes in the watchdog's reports.
var handshakeName = "TLS handshake"

// TLS returns the connection's TLS state. It is nil without TLS, or before the
// handshake is complete.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil || c.tls.state != tlsOpen {
		return nil
	}
	state := c.tls.session.ConnectionState()
	return &state
}

// HandshakeTask returns the task that runs the handshake of hello, with which a
// callback of TLS.Config can wait cooperatively. Only that callback may use it. It is
// nil for a connection that is not a Listener's.
func HandshakeTask(hello *tls.ClientHelloInfo) *loop.Task {
	if w, ok := hello.Conn.(*tlsBelow); ok {
		return w.stream.task
	}
	return nil
}

// Secure reports whether the connection uses TLS.
func (c *Conn) Secure() bool { return c.tls != nil }

// startTLS makes c a TLS server connection, beginning with the bytes in its Input.
// open is called when the handshake is complete.
func (c *Conn) startTLS(terms *TLS, open func(*Conn) Handler) {
	s := &tlsStream{conn: c, below: c.transport, config: terms, open: open}
	s.tlsBelow.stream = s
	s.tlsBelow.early = append([]byte(nil), c.Input()...)
	c.Consume(len(s.tlsBelow.early))
	c.transport, c.tls, c.handler = s, s, (*handshake)(s)
	timeout := terms.HandshakeTimeout
	if timeout <= 0 {
		timeout = handshakeTimeout
	}
	c.SetTimeout(timeout)
	if len(s.tlsBelow.early) > 0 {
		s.begin()
	}
}

// readable is Conn.Readable before the session is open.
func (s *tlsStream) readable() {
	switch {
	case s.state == tlsFresh:
		s.hello()
	case s.state != tlsHandshaking:
	case s.parked:
		s.parked = false
		s.waker.Wake()
	case s.readOff:
		s.conn.probe()
	default: // the task is not waiting for input, so the level-triggered event would repeat
		s.readOff = true
		s.below.Want(false, s.conn.wantWrite)
	}
}

// hello reads the first bytes. A client that connects and closes, such as a health
// check, costs no task and does not count as a failed handshake.
func (s *tlsStream) hello() {
	r := s.conn.r
	n, err := s.below.Read(nil, r.sharedBuf[:helloBytes])
	switch {
	case err == io.EOF:
		s.conn.end(nil)
	case err != nil:
		s.conn.end(err)
	case n > 0:
		s.tlsBelow.early = append([]byte(nil), r.sharedBuf[:n]...)
		s.tlsBelow.empty = n < helloBytes
		s.begin()
	}
}

// begin starts the task of the handshake.
func (s *tlsStream) begin() {
	r := s.conn.r
	most := s.config.HandshakesMax
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
	s.tlsBelow.remote, s.tlsBelow.local = s.below.RemoteAddr(), s.below.LocalAddr()
	s.session = tls.Server(&s.tlsBelow, s.config.Config)
}

// resumeReadEvents makes read events level-triggered again.
func (s *tlsStream) resumeReadEvents() {
	if s.readOff {
		s.readOff = false
		s.below.Want(s.conn.wantRead, s.conn.wantWrite)
	}
}

// reportFailure counts and reports a failed handshake. It returns false if that was
// done before.
func (s *tlsStream) reportFailure(err error) bool {
	if s.state == tlsFailed {
		return false
	}
	s.state = tlsFailed
	r := s.conn.r
	r.stats.HandshakesFailed++
	if s.config.Failed != nil {
		s.config.Failed(r.loop, s.conn.Remote(), err)
	}
	return true
}

// fail closes a connection whose handshake failed, after the alert of crypto/tls
// or, for a client that does not use TLS, NotTLS.
func (s *tlsStream) fail(err error) {
	if !s.reportFailure(err) {
		return
	}
	var other tls.RecordHeaderError
	if errors.As(err, &other) && other.Conn != nil {
		s.queue(s.config.NotTLS)
	}
	s.resumeReadEvents()
	s.tlsBelow.early = nil
	s.conn.Close()
}

// handshake is a tlsStream during its handshake: the Runner of its task and the
// Handler of its Conn.
type handshake tlsStream

// Run implements loop.Runner: it performs the handshake.
func (h *handshake) Run(t *loop.Task) {
	s := (*tlsStream)(h)
	t.Describe(&handshakeName, nil, nil, nil, nil, &s.conn.label)
	if wait := s.conn.r.handshakeTurn(s.config.HandshakesPerSecond); wait > 0 {
		if s.failure = t.Sleep(wait); s.failure != nil {
			return
		}
	}
	t.Outside(func() { s.failure = s.session.Handshake() })
}

// handshakeTurn returns how long the next handshake must wait, so that at most
// perSecond begin in a second. A burst may have a tenth of that, at least one.
func (r *Reactor) handshakeTurn(perSecond int) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	now := r.loop.Now()
	step := int64(time.Second) / int64(perSecond)
	burst := max(int64(time.Second)/10, step)
	r.nextHandshakeAt = max(r.nextHandshakeAt, now-burst) + step
	return time.Duration(max(r.nextHandshakeAt-now, 0))
}

// Done implements loop.Runner: it opens the session or fails.
func (h *handshake) Done(_ *loop.Task, err error) {
	s := (*tlsStream)(h)
	s.conn.r.handshakes--
	s.task = nil
	if err == nil {
		err = s.failure
	}
	switch {
	case s.state != tlsHandshaking || s.conn.Closed(): // reported already
	case err != nil:
		s.fail(err)
	default:
		s.opened()
	}
}

// opened calls Open for the connection and reads what came with the last message of
// the handshake.
func (s *tlsStream) opened() {
	c := s.conn
	s.state, s.freshlyOpen, s.more = tlsOpen, true, true
	c.r.stats.Handshakes++
	state := s.session.ConnectionState()
	if state.DidResume {
		c.r.stats.HandshakesResumed++
	}
	s.resumeReadEvents()
	c.SetTimeout(0)
	if only := s.config.HandshakeOnly; only != "" && state.NegotiatedProtocol == only {
		c.Close()
		return
	}
	c.handler = s.open(c)
	c.opened()
	if c.state == connOpen && !c.aborting && c.reading() {
		c.receive()
	}
}

// Data implements Handler. It is not called before the session is open.
func (h *handshake) Data(*Conn) {}

// Timeout implements Handler: it ends a handshake that takes too long.
func (h *handshake) Timeout(c *Conn) {
	(*tlsStream)(h).reportFailure(ErrHandshakeTimeout)
	c.Abort(ErrHandshakeTimeout)
}

// Closed implements Handler: it ends the handshake with its connection.
func (h *handshake) Closed(_ *Conn, err error) {
	s := (*tlsStream)(h)
	if err == nil {
		err = io.EOF
	}
	if s.state == tlsHandshaking {
		s.reportFailure(err)
	}
	if s.task != nil {
		s.task.Cancel(loop.ErrClosed)
	}
}
