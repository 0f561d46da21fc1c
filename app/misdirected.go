// 421 Misdirected Request (RFC 9110 section 15.5.20): requests for another host than the one that the connection's TLS was negotiated for.

package app

import (
	"net/http"
	"net/netip"
	"strings"

	"tafe/httpparse"
)

// tlsName is the server name of a TLS connection, and the last answers about it.
type tlsName struct {
	name    string // "" without SNI
	app     *App   // in which site was looked up
	site    *Host  // of name
	asked   string // host for which covered was computed
	covered bool
}

// misdirected reports whether the request is for a host that its TLS connection is not for. With HTTP/2, whose clients send requests for several
// hosts on one connection, the certificate must be valid for the host (Listener.Covers). With HTTP/1 and without Covers, the host may also be
// another name of the same Host. A client that has named no server is served every host, with HTTP/2 only if it gives an address.
func (c *Context) misdirected() bool {
	conn := c.wire.reactorConn()
	if !conn.Secure() {
		return false
	}
	var covers func(serverName, host string) bool
	if l := c.wire.listener(); l != nil {
		covers = l.Covers
	}
	byCertificate := covers != nil && c.req.Major == 2
	if !byCertificate && c.app.hosts == nil {
		return false
	}
	t := c.wire.tlsName()
	if *t == nil {
		*t = &tlsName{}
		if state := conn.TLS(); state != nil {
			(*t).name = state.ServerName
		}
	}
	host := strings.Trim(hostWithoutPort(httpparse.ViewString(c.req.Host)), "[]")
	switch {
	case (*t).name == "":
		if _, err := netip.ParseAddr(host); err == nil || !byCertificate {
			return false
		}
	case strings.EqualFold((*t).name, host):
		return false
	case !byCertificate && (*t).siteIn(c.app) == c.host:
		return false
	case covers == nil:
		return true
	}
	return !(*t).covers(host, covers)
}

// siteIn returns the Host of the name, or nil.
func (t *tlsName) siteIn(a *App) *Host {
	if t.app != a {
		t.app, t.site = a, a.hosts.find([]byte(t.name))
	}
	return t.site
}

// covers reports whether the connection's certificate is valid for a host.
func (t *tlsName) covers(host string, covers func(serverName, host string) bool) bool {
	if t.asked != host || host == "" {
		t.asked = strings.Clone(host)
		t.covered = covers(t.name, t.asked)
	}
	return t.covered
}

func answerMisdirected(*Context) error {
	return &HTTPError{Status: http.StatusMisdirectedRequest, Message: "this connection was made for another host", Reason: "misdirected"}
}
