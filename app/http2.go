// The requests of one HTTP/2 connection. Package http2 has its frames and streams. Each request has a Context and a task, like one of
// HTTP/1, and http2wire.go is its wire.
//
// At most HTTP2.StreamsMax handlers of a connection run at once. A client that cancels requests may have that many streams open while the
// handlers of the cancelled ones still run; the new requests are held then. They are also held while the client does not take the answers
// that it has been given, which bounds the memory that closed windows can pin.

package app

import (
	"crypto/tls"
	"slices"

	"tafe/app/internal/http2"
	"tafe/app/internal/poison"
	"tafe/httpparse"
	"tafe/loop/reactor"
)

var refusedHead = &httpparse.Error{Status: 431, Reason: "head-too-large", Detail: "the fields exceed HeadBytesMax or HeaderCountMax"}

// http2Conn is the http2.Handler of one connection. On the loop only.
type http2Conn struct {
	place
	state   *loopState
	conn    *reactor.Conn
	http2   *http2.Conn
	terms   *Listener
	running int        // requests whose handler has not returned
	held    []*Context // requests that wait until they may start
	tunnels int        // streams that were hijacked

	tls *tlsName // nil until it is asked for
}

// openHTTP2 makes a connection HTTP/2. Its input is handled by the next call of Data.
func (ls *loopState) openHTTP2(conn *reactor.Conn, l *Listener) reactor.Handler {
	hc := &http2Conn{state: ls, conn: conn, terms: l}
	ls.add(&hc.place, hc)
	ls.counts.ConnsHTTP2++
	hc.http2 = http2.NewServer(conn, &ls.http2, hc)
	if t := conn.TLS(); t != nil && !adequate(t) {
		hc.http2.Fail(http2.ErrInadequateSecurity)
		return hc.http2
	}
	if ls.draining {
		hc.http2.Shutdown()
	}
	return hc.http2
}

// adequate reports whether HTTP/2 may be used over a TLS session (RFC 9113 section 9.2).
func adequate(t *tls.ConnectionState) bool {
	switch t.CipherSuite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return t.Version == tls.VersionTLS12
	}
	return t.Version >= tls.VersionTLS13
}

// takesHTTP2 reports whether the connection may become HTTP/2 by prior knowledge.
func (hc *http1Conn) takesHTTP2() bool { return hc.terms != nil && hc.terms.H2C && !hc.conn.Secure() }

// prefaced makes the connection HTTP/2 if in is the preface of a client (RFC 9113 section 3.4). It reports true also if in is a part of it.
func (hc *http1Conn) prefaced(in []byte) bool {
	n := min(len(in), len(http2.Preface))
	if string(in[:n]) != http2.Preface[:n] {
		return false
	}
	if n < len(http2.Preface) {
		return true
	}
	ls := hc.state
	ls.closed(&hc.place)
	ls.openHTTP2(hc.conn, hc.terms).Data(hc.conn)
	return true
}

// Begin implements http2.Handler: it starts, holds or refuses a request.
func (hc *http2Conn) Begin(s *http2.Stream, head http2.Section) {
	ls := hc.state
	c := ls.takeContext()
	c.http2 = http2Wire{conn: hc, stream: s, c: c}
	c.wire = &c.http2
	c.arrived = ls.loop.Now()
	s.SetHandler(&c.http2)
	err := hc.assemble(c, head)
	if err == nil {
		err = c.dispatch()
	}
	if err != nil {
		c.http2.refuse(refusalOf(err))
		return
	}
	c.identify()
	if head.End || c.req.Framing == httpparse.FramingNone {
		c.body.begin(nil)
	} else {
		c.body.expect(c)
	}
	if len(hc.held) > 0 || !hc.mayStart() {
		hc.held = append(hc.held, c)
		return
	}
	hc.start(c)
}

// assemble makes the request of c.
func (hc *http2Conn) assemble(c *Context, head http2.Section) error {
	if head.Over {
		_ = c.req.Assemble(nil, true, nil)
		return refusedHead
	}
	if poison.On() {
		head.Fields = c.ownFields(head.Fields)
	}
	if err := c.req.Assemble(head.Fields, head.End, &hc.state.app.headLimits); err != nil {
		return err
	}
	s := c.http2.stream
	if c.req.Priority != nil {
		s.SetPriority(c.req.Priority)
	}
	if c.req.ContentLength > 0 {
		s.Expect(c.req.ContentLength)
	}
	c.resp.begin(&c.req)
	return nil
}

// mayStart reports whether another handler may start.
func (hc *http2Conn) mayStart() bool {
	return hc.running < hc.http2.StreamsMax() && hc.http2.Unsent() < hc.conn.Limits().OutboundMax
}

// start starts the task of a request.
func (hc *http2Conn) start(c *Context) {
	c.started = hc.state.loop.Now()
	if c.start() != nil {
		c.http2.refuse(refusedOverload)
		return
	}
	hc.running++
}

// Progress implements http2.Handler: it starts requests that were held.
func (hc *http2Conn) Progress(*http2.Conn) {
	for len(hc.held) > 0 && hc.mayStart() {
		c := hc.held[0]
		hc.held = slices.Delete(hc.held, 0, 1)
		hc.start(c)
	}
	hc.checkDetached()
}

// drop removes a request that was held. It reports false if it was not.
func (hc *http2Conn) drop(c *Context) bool {
	i := slices.Index(hc.held, c)
	if i >= 0 {
		hc.held = slices.Delete(hc.held, i, i+1)
	}
	return i >= 0
}

// Failed implements http2.Handler.
func (hc *http2Conn) Failed(_ *http2.Conn, e *http2.Error) {
	ls := hc.state
	ls.reasons.count(e.Reason)
	if ls.mayLog() {
		what := "connection ended"
		if e.Stream {
			what = "request reset"
		}
		ls.app.options.Log.Info(what, "reason", e.Reason, "detail", e.Detail, "remote", hc.conn.Remote())
	}
}

// GoingAway implements http2.Handler. The client opens no further streams.
func (hc *http2Conn) GoingAway(*http2.Conn) {}

// Closed implements http2.Handler.
func (hc *http2Conn) Closed(_ *http2.Conn, err error) {
	if err == reactor.ErrWriteTimeout {
		hc.state.reasons.count("write-timeout")
	}
	hc.state.counts.ConnsHTTP2--
	hc.state.closed(&hc.place)
	hc.state.checkDrained()
}

// closeIfIdle implements clientConn.
func (hc *http2Conn) closeIfIdle() bool {
	if hc.state.draining {
		hc.http2.Shutdown()
	}
	return false
}

// detached implements clientConn.
func (hc *http2Conn) detached() bool {
	return hc.tunnels > 0 && hc.running == 0 && hc.http2.Streams() <= hc.tunnels
}

// checkDetached tells a drain that only tunnels are left.
func (hc *http2Conn) checkDetached() {
	if hc.detached() {
		hc.state.stopAwaiting(&hc.place)
	}
}
