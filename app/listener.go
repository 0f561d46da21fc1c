// This file owns what a Server listens on: plain HTTP, HTTPS, or plain HTTP that only sends clients to the HTTPS one. How TLS
// is spoken is loop's, which certificates there are its Config's.

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
	TLS  *reactor.TLS // nil: plain. Failed and NotTLS are set by Listen where they are not
	// Proxy, if not nil, has every connection begin with a PROXY header; its Failed is set by Listen where it is not.
	Proxy *reactor.ProxyProtocol
	// Redirect, if not nil, is asked instead of the App's routes where a request's host, without its port, is to be sent: it
	// returns "host" or "host:port" of the same site by https, answered with 308 and the request's target, or "" for a host
	// that is not served here: 421.
	Redirect func(host string) string
}

// notTLS is for who speaks HTTP where TLS is spoken.
const notTLS = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"This port speaks HTTPS: ask for https:// instead.\n"

func (s *Server) listeners(config ServerConfig) (all []reactor.Listener) {
	wanted := config.Listeners
	if len(wanted) == 0 {
		wanted = []Listener{{Addr: config.Addr}}
	}
	for _, l := range wanted {
		under := reactor.Listener{Addr: l.Addr, Open: func(c *reactor.Conn) reactor.Handler {
			hc := s.stateOf(c.Loop()).open(c).(*http1Conn)
			hc.redirect = l.Redirect
			return hc
		}}
		if l.Proxy != nil {
			p := *l.Proxy
			if p.Failed == nil {
				p.Failed = s.prefaceFailed
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
			under.TLS = &terms
		}
		all = append(all, under)
	}
	return all
}

// handshakeFailed counts and logs, like a refused request.
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

// prefaceFailed is the same for connections without a good PROXY header.
func (s *Server) prefaceFailed(l *loop.Loop, remote string, err error) {
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
		ls.app.options.Log.Info("refused", "reason", reason, "detail", err.Error(), "remote", remote)
	}
}

// answerRedirect sends the client to the same target by https.
func answerRedirect(c *Context) error {
	to := c.http1.redirect(hostWithoutPort(c.Host()))
	if to == "" {
		return &HTTPError{Status: http.StatusMisdirectedRequest, Message: "no such host is served here", Reason: "misdirected"}
	}
	target := c.RawPath()
	if c.HasQuery() {
		target += "?" + c.RawQuery()
	}
	return c.Redirect(http.StatusPermanentRedirect, "https://"+to+target)
}

// hostWithoutPort keeps the brackets of an IPv6 address.
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

// TLS is the state of the connection's TLS: version, cipher, the client's certificates; nil without TLS. It is a copy.
func (c *Context) TLS() *tls.ConnectionState {
	defer c.task.Leave(c.task.Enter())
	return c.http1.conn.TLS()
}
