package loop

// TLS on a loop, with crypto/tls as it is. A TLSStream stands between a
// connection's bytes and its Conn: it feeds crypto/tls what arrives and hands on
// what that decrypts. A task drives the handshake and waits like any other; an
// open connection holds no task, because a read that finds no bytes ends with a
// temporary error, at which crypto/tls keeps a record that is there in part. It
// knows no certificates: those are tls.Config's.

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"time"
	"unsafe"
)

// TLS is how a Listener speaks it.
type TLS struct {
	// Config is crypto/tls's. Its callbacks are called by tasks and must not block.
	Config *tls.Config
	// HandshakeTimeout is from the accepted connection to the end of the handshake;
	// default 10 s. Then the connection is closed.
	HandshakeTimeout time.Duration
	// HandshakesMax bounds handshakes under way, per loop; default 1024. Beyond it,
	// connections are closed.
	HandshakesMax int
	// HandshakesPerSecond bounds handshakes begun per loop, so that they leave time
	// for those who have done theirs; beyond it they wait. 0: no bound.
	HandshakesPerSecond int
	// NotTLS is sent to who speaks something else, before the connection is closed.
	NotTLS []byte
	// Failed, if not nil, is told on the loop of each handshake that came to
	// nothing: it must not wait.
	Failed func(l *Loop, remote string, err error)
}

// Errors of handshakes.
var (
	ErrHandshakeTimeout = errors.New("loop: the TLS handshake took too long")
	ErrHandshakesMax    = errors.New("loop: too many TLS handshakes are under way")
)

const (
	handshakeTimeout  = 10 * time.Second
	handshakesMax     = 1024
	handshakeBytesMax = 64 << 10 // of a client's, not yet looked at
	recordBytes       = 16 << 10 // of plaintext, at most, in a record
)

// TLSStream is a TLS connection: the Transport of its Conn, and what the bytes
// of its own Transport go to. For the loop's goroutine.
type TLSStream struct {
	loop     *Loop
	terms    *TLS
	conn     *Conn
	under    Transport
	session  *tls.Conn
	wire     wire
	open     func(*Conn) Handler
	state    tlsState
	settling bool  // it was opened just now, and holds the memory of its handshake
	task     *Task // of the handshake
	waker    Waker
	failure  error
	ended    error // the peer's close_notify, as Hangup tells it
}

type tlsState uint8

const (
	tlsFresh tlsState = iota // nothing was received
	tlsHandshaking
	tlsOpen
	tlsOver // the handshake has failed
)

// OpenTLS makes the Conn of a new stream that speaks TLS. Its bytes go to the
// TLSStream's Deliver, its end to Hangup; open is called when the handshake is
// done. Loop goroutine only.
func (l *Loop) OpenTLS(tr Transport, terms *TLS, open func(*Conn) Handler) *TLSStream {
	s := &TLSStream{loop: l, terms: terms, under: tr, open: open}
	s.wire.stream = s
	l.enter()
	defer l.leave()
	s.conn = l.Open(s, (*handshake)(s))
	s.conn.secure = s
	s.session = tls.Server(&s.wire, terms.Config)
	timeout := terms.HandshakeTimeout
	if timeout <= 0 {
		timeout = handshakeTimeout
	}
	s.conn.SetTimeout(timeout)
	return s
}

// Conn is the connection as its handler sees it.
func (s *TLSStream) Conn() *Conn { return s.conn }

// TLS is the state of the connection's TLS; nil where it speaks none.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.secure == nil {
		return nil
	}
	state := c.secure.session.ConnectionState()
	return &state
}

// Secure tells whether the connection speaks TLS.
func (c *Conn) Secure() bool { return c.secure != nil }

// Deliver takes what the peer sent, encrypted. p is copied.
func (s *TLSStream) Deliver(p []byte) {
	l, c := s.loop, s.conn
	l.enter()
	defer l.leave()
	held, most := s.wire.unread()+len(p), l.limits.InboundMax
	if s.state != tlsOpen { // p may hold much that follows the handshake's end
		held, most = s.wire.unread(), handshakeBytesMax
	}
	switch {
	case c.closed:
	case c.closing:
		c.swallow(len(p))
	case held > most:
		l.stats.ClosedInbound++
		c.drop(ErrInboundFull)
	default:
		s.wire.push(p)
		switch s.state {
		case tlsFresh:
			s.begin()
		case tlsHandshaking:
			s.waker.Wake()
		case tlsOpen:
			s.pump()
		}
	}
}

// Hangup tells that the stream is gone, once.
func (s *TLSStream) Hangup(err error) {
	s.loop.enter()
	if err == nil {
		err = s.ended
	}
	s.conn.Hangup(err)
	s.wire.drop()
	s.loop.leave()
}

// begin starts the handshake.
func (s *TLSStream) begin() {
	l := s.loop
	most := s.terms.HandshakesMax
	if most <= 0 {
		most = handshakesMax
	}
	var err error = ErrHandshakesMax
	if l.handshakes < most {
		l.handshakes++
		s.state = tlsHandshaking
		if _, err = l.Start((*handshake)(s)); err == nil { // it may be over by now
			return
		}
		l.handshakes--
	}
	s.fail(err)
}

// fail ends a connection without a session.
func (s *TLSStream) fail(err error) {
	if s.state == tlsOver {
		return
	}
	s.state = tlsOver
	s.loop.stats.HandshakesFailed++
	if s.terms.Failed != nil {
		s.terms.Failed(s.loop, s.conn.Remote(), err)
	}
	var other tls.RecordHeaderError
	if errors.As(err, &other) && other.Conn != nil && len(s.terms.NotTLS) > 0 {
		_, _ = s.under.Write(s.terms.NotTLS)
	}
	s.wire.drop()
	s.conn.Close() // an alert is on its way
}

// handshake is a TLSStream whose handshake is under way: its task, and its
// Conn's Handler.
type handshake TLSStream

// Run is the task.
func (h *handshake) Run(t *Task) {
	s := (*TLSStream)(h)
	s.task = t
	t.Describe(&handshakeName, nil, nil, nil, nil, s.conn)
	if wait := s.loop.handshakeTurn(s.terms.HandshakesPerSecond); wait > 0 {
		if s.failure = t.Sleep(wait); s.failure != nil {
			return
		}
	}
	s.failure = s.session.Handshake()
}

// handshakeName is what a watchdog calls it.
var handshakeName = "TLS handshake"

// handshakeTurn is how long the next handshake has to wait, for not more than
// so many a second; a tenth of that may come at once.
func (l *Loop) handshakeTurn(perSecond int) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	step := int64(time.Second) / int64(perSecond)
	burst := int64(time.Second) / 10
	l.handshakeAt = max(l.handshakeAt, l.now-burst) + step
	return time.Duration(max(l.handshakeAt-l.now, 0))
}

// Done goes on with the session, or without one.
func (h *handshake) Done(_ *Task, err error) {
	s := (*TLSStream)(h)
	l := s.loop
	l.handshakes--
	s.task, s.waker = nil, Waker{}
	if err == nil {
		err = s.failure
	}
	switch {
	case s.state != tlsHandshaking || s.conn.closed || s.conn.closing:
		return // it has been told
	case err != nil:
		s.fail(err)
		return
	}
	s.state, s.settling = tlsOpen, true
	l.stats.Handshakes++
	if s.session.ConnectionState().DidResume {
		l.stats.HandshakesResumed++
	}
	s.conn.SetTimeout(0)
	s.conn.handler = s.open(s.conn)
	s.pump()
}

// handshakeBuffers are the offsets of the fields in which a tls.Conn gathers
// messages and records. A field that a Go version names otherwise is left out.
var handshakeBuffers = func() (offsets []uintptr) {
	for _, name := range []string{"hand", "rawInput"} {
		f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
		if ok && f.Type == reflect.TypeFor[bytes.Buffer]() {
			offsets = append(offsets, f.Offset)
		}
	}
	return offsets
}()

// releaseHandshake has a session whose handshake is done, and which nobody else
// uses now, let go of the memory that the hello took; crypto/tls would keep it for
// as long as it lives. An empty Buffer is as good as a new one.
func releaseHandshake(session *tls.Conn) {
	for _, offset := range handshakeBuffers {
		if b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(session), offset)); b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
}

// Data is never called: there is none before a session.
func (h *handshake) Data(*Conn) {}

// Timeout gives the handshake up.
func (h *handshake) Timeout(*Conn) {
	s := (*TLSStream)(h)
	s.fail(ErrHandshakeTimeout)
	s.conn.drop(ErrHandshakeTimeout)
}

// Closed gives the handshake up for a client that is gone.
func (h *handshake) Closed(_ *Conn, err error) {
	s := (*TLSStream)(h)
	if s.state == tlsHandshaking {
		s.state = tlsOver
		s.loop.stats.HandshakesFailed++
		if err == nil {
			err = io.EOF
		}
		if s.terms.Failed != nil {
			s.terms.Failed(s.loop, s.conn.Remote(), err)
		}
	}
	if s.task != nil {
		s.task.Cancel(ErrClosed)
	}
}

// pump hands on what can be decrypted of what is there.
func (s *TLSStream) pump() {
	l, c := s.loop, s.conn
	if l.plain == nil {
		l.plain = make([]byte, recordBytes)
	}
	for !c.closed && !c.closing && !c.detached {
		n, err := s.session.Read(l.plain)
		if n > 0 {
			c.Deliver(l.plain[:n])
		}
		switch {
		case err == nil:
		case err == errNoBytes:
			if s.settling {
				s.settling = false
				releaseHandshake(s.session)
			}
			return
		case err == io.EOF: // close_notify, which is answered: as the end of a stream
			s.ended = io.EOF
			_ = s.CloseWrite()
			if !c.closed {
				_ = s.under.Close() // the driver calls Hangup
			}
			return
		default:
			c.drop(err)
		}
	}
}

// Write encrypts p: the Conn's side.
func (s *TLSStream) Write(p []byte) (int, error) {
	if s.state != tlsOpen {
		return 0, ErrClosed
	}
	return len(p), s.send(func() error {
		_, err := s.session.Write(p)
		return err
	})
}

// send has what write makes crypto/tls send leave in one piece.
func (s *TLSStream) send(write func() error) error {
	w := &s.wire
	w.gathering, w.out = true, s.loop.bufs.get(recordBytes)
	err := write()
	out := w.out
	w.gathering, w.out = false, nil
	if len(out) > 0 {
		_, failed := s.under.Write(out)
		err = errors.Join(err, failed)
	}
	s.loop.bufs.put(out)
	return err
}

// Unsent implements Transport.
func (s *TLSStream) Unsent() int { return s.under.Unsent() }

// CloseWrite says close_notify, and then ends the stream.
func (s *TLSStream) CloseWrite() error {
	if s.state == tlsOpen {
		if err := s.send(s.session.CloseWrite); err != nil {
			return err
		}
	}
	return s.under.CloseWrite()
}

// Close drops the stream: without a close_notify, so that the peer knows that
// something may be missing.
func (s *TLSStream) Close() error { return s.under.Close() }

// RemoteAddr implements Transport.
func (s *TLSStream) RemoteAddr() net.Addr { return s.under.RemoteAddr() }

// LocalAddr implements Transport.
func (s *TLSStream) LocalAddr() net.Addr { return s.under.LocalAddr() }

// Fd implements Transport.
func (s *TLSStream) Fd() int { return s.under.Fd() }

// Detach gives the session away, as a stream that blocks.
func (s *TLSStream) Detach() (net.Conn, error) {
	from, ok := s.under.(detacher)
	if !ok || s.state != tlsOpen {
		return nil, errors.ErrUnsupported
	}
	raw, err := from.Detach()
	if err != nil {
		return nil, err
	}
	s.wire.leave(raw)
	return &tlsDetached{Conn: s.session, raw: raw}, nil
}

// Release tells that the stream ended where it was given to.
func (s *TLSStream) Release() { s.under.(detacher).Release() }

// reattach has the session on its loop again.
func (s *TLSStream) reattach(tr Transport) {
	s.under = tr
	s.wire.raw = nil
}

// tlsDetached is a session off its loop.
type tlsDetached struct {
	*tls.Conn
	raw    net.Conn
	abrupt bool
}

// SetLinger with 0 has Close break the stream off, which a close_notify would
// hide.
func (d *tlsDetached) SetLinger(sec int) error {
	d.abrupt = sec == 0
	if s, ok := d.raw.(interface{ SetLinger(int) error }); ok {
		return s.SetLinger(sec)
	}
	return nil
}

func (d *tlsDetached) Close() error {
	if d.abrupt {
		return d.raw.Close()
	}
	return d.Conn.Close()
}
