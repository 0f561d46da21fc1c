// Listening addresses of a Server: plain HTTP, HTTPS, and plain HTTP that redirects to HTTPS. Package reactor implements TLS and the PROXY
// protocol.

package app

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"

	"tafe/loop"
	"tafe/loop/reactor"
)

// Listener is one address of a Server.
type Listener struct {
	Addr string       // "host:port" or "unix:/path"
	TLS  *reactor.TLS // nil: no TLS. Listen sets Failed and NotTLS if they are unset
	// Proxy, if not nil, requires a PROXY header at the start of every connection. Listen sets its Failed if it is unset.
	Proxy *reactor.ProxyProtocol
	// Redirect, if not nil, answers every request in place of the App's routes. It is called with the host of the request, without the
	// port, and returns the "host" or "host:port" of the same site for https: the response is a 308 to the same target there. For "" the
	// response is 421.
	Redirect func(host string) string
	// Challenge, if not nil, is called for requests whose path begins with /.well-known/acme-challenge/, with the host of the request,
	// without the port (RFC 8555, section 8.3). If it returns false, it has written nothing, and the request is answered as if there were no
	// Challenge.
	Challenge func(c *Context, host string) (answered bool, err error)
	// NoHTTP2 turns HTTP/2 off on a TLS listener, which offers it by ALPN otherwise. It has no effect if TLS.Config has NextProtos or
	// GetConfigForClient: HTTP/2 is spoken then if they name "h2".
	NoHTTP2 bool
	// H2C accepts HTTP/2 by prior knowledge on a listener without TLS (RFC 9113 section 3.3).
	H2C bool
	// Covers, if not nil, reports whether the certificate sent for serverName is also valid for host (without a port). A browser may send
	// requests for several hosts on one HTTP/2 connection; those for hosts that are not covered are answered with 421 (RFC 9110 section
	// 15.5.20). With HTTP/1, and without Covers, a host is also accepted if the server name belongs to the same Host.
	// Covers is called on the loop, and must not wait.
	Covers func(serverName, host string) bool
}

const challengePath = "/.well-known/acme-challenge/"

// notTLS is the response to plain HTTP on a TLS listener.
const notTLS = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"This port speaks HTTPS: ask for https:// instead.\n"

func (s *Server) listeners(config ServerConfig) (all []reactor.Listener) {
	wanted := config.Listeners
	if len(wanted) == 0 {
		wanted = []Listener{{Addr: config.Addr}}
	}
	for _, l := range wanted {
		under := reactor.Listener{Addr: l.Addr, Open: func(c *reactor.Conn) reactor.Handler {
			return s.stateOf(c.Loop()).openFor(c, &l)
		}}
		if l.Proxy != nil {
			p := *l.Proxy
			if p.Failed == nil {
				p.Failed = s.proxyHeaderFailed
			}
			under.Proxy = &p
		}
		if l.TLS != nil {
			terms := *l.TLS
			if terms.Failed == nil {
				terms.Failed = s.handshakeFailed
			}
			if terms.NotTLS == nil {
				terms.NotTLS = []byte(notTLS)
			}
			terms.Config = withProtocols(terms.Config, !l.NoHTTP2)
			under.TLS = &terms
		}
		all = append(all, under)
	}
	return all
}

// handshakeFailed counts and logs a failed TLS handshake.
func (s *Server) handshakeFailed(l *loop.Loop, remote string, err error) {
	var other tls.RecordHeaderError
	reason := "tls-handshake"
	switch {
	case errors.Is(err, reactor.ErrHandshakeTimeout):
		reason = "tls-timeout"
	case errors.Is(err, reactor.ErrHandshakesMax):
		reason = "tls-handshakes-max"
	case errors.As(err, &other):
		reason = "not-tls"
	case errors.Is(err, io.EOF) || errors.Is(err, loop.ErrClosed):
		reason = "tls-client-gone"
	}
	s.refused(l, reason, remote, err)
}

// proxyHeaderFailed counts and logs a connection whose PROXY header was missing, invalid or not trusted.
func (s *Server) proxyHeaderFailed(l *loop.Loop, remote string, err error) {
	reason := "proxy-header"
	switch {
	case errors.Is(err, reactor.ErrProxyTimeout):
		reason = "proxy-header-timeout"
	case errors.Is(err, reactor.ErrUntrusted):
		reason = "proxy-header-untrusted"
	}
	s.refused(l, reason, remote, err)
}

func (s *Server) refused(l *loop.Loop, reason, remote string, err error) {
	ls := s.stateOf(l)
	ls.reasons.count(reason)
	if ls.mayLog() {
		ls.app.options.Log.Info("connection refused", "reason", reason, "detail", err.Error(), "remote", remote)
	}
}

// answerRedirect redirects to the same target with https.
func answerRedirect(c *Context) error {
	to := c.wire.listener().Redirect(hostWithoutPort(c.HostView()))
	if to == "" {
		return &HTTPError{Status: http.StatusMisdirectedRequest, Message: "this host is not served here", Reason: "misdirected"}
	}
	target := c.RawPathView()
	if c.HasQuery() {
		target += "?" + c.RawQueryView()
	}
	return c.Redirect(http.StatusPermanentRedirect, "https://"+to+target)
}

// answerChallenge calls Listener.Challenge, and then the handler that the request has without it.
func answerChallenge(c *Context) error {
	if answered, err := c.wire.listener().Challenge(c, hostWithoutPort(c.HostView())); answered || err != nil {
		return err
	}
	if err := c.find(); err != nil {
		return err
	}
	return c.handler(c)
}

// hostWithoutPort cuts the port off a host. An IPv6 address keeps its brackets.
func hostWithoutPort(host string) string {
	for i := len(host) - 1; i >= 0; i-- {
		switch b := host[i]; {
		case b == ':':
			return host[:i]
		case b < '0' || b > '9':
			return host
		}
	}
	return host
}

// TLS returns a copy of the connection's TLS state, such as version, cipher suite and client certificates; nil without TLS.
func (c *Context) TLS() *tls.ConnectionState {
	defer c.task.Leave(c.task.Enter())
	return c.wire.reactorConn().TLS()
}
