// The client's address and scheme, as reported by trusted proxies (Options.TrustedProxies). The headers of other peers are ignored.

package app

import (
	"net/netip"
	"slices"
	"strings"

	"tafe/httpparse"
)

// ClientIP returns the address of the client, without a port. It is the peer's address, unless that belongs to Options.TrustedProxies. Then
// it is the last address in X-Forwarded-For that does not belong to them, or the first one if all do. The list is read from its end, to
// which proxies append, so that a client cannot choose the result. An element that is not an address ends the search.
//
// ClientIP returns "" for connections without an address, such as those of unix sockets.
func (c *Context) ClientIP() string {
	if !c.FromProxy() {
		return HostOf(c.RemoteAddr())
	}
	return strings.Clone(c.ClientIPView())
}

// ClientIPView is ClientIP without a copy. A view is valid until the handler returns.
func (c *Context) ClientIPView() string {
	ip := HostOf(c.RemoteAddr())
	if !c.FromProxy() {
		return ip
	}
	headers := c.req.Headers()
	for i := len(headers) - 1; i >= 0; i-- {
		if name := httpparse.ViewString(headers[i].Name); len(name) != len("X-Forwarded-For") || !strings.EqualFold(name, "X-Forwarded-For") {
			continue
		}
		for list := httpparse.ViewString(headers[i].Value); list != ""; {
			at := strings.LastIndexByte(list, ',')
			element := strings.TrimSpace(list[at+1:])
			list = list[:max(at, 0)]
			if element == "" {
				continue // empty elements are ignored (RFC 9110 section 5.6.1)
			}
			element = withoutPort(element)
			if _, err := netip.ParseAddr(element); err != nil {
				return ip
			}
			if ip = element; !c.app.trusts(ip) {
				return ip
			}
		}
	}
	return ip
}

// Scheme returns "https" or "http". If the peer belongs to Options.TrustedProxies and its X-Forwarded-Proto ends with one of the two, in any
// case, that is the scheme. Otherwise the scheme is "https" for a TLS connection and "http" for any other. Of a list the last element counts,
// which the nearest proxy has added, so that a client cannot choose the result.
func (c *Context) Scheme() string {
	if c.FromProxy() {
		list := c.HeaderListView("X-Forwarded-Proto")
		last := strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
		for _, scheme := range [...]string{"https", "http"} {
			if strings.EqualFold(last, scheme) {
				return scheme
			}
		}
	}
	if c.Secure() {
		return "https"
	}
	return "http"
}

// Secure reports whether the connection uses TLS. See Scheme for clients behind a proxy.
func (c *Context) Secure() bool { return c.wire.reactorConn().Secure() }

// FromProxy reports whether the peer belongs to Options.TrustedProxies, so that its headers about the client can be trusted.
func (c *Context) FromProxy() bool {
	return len(c.app.options.TrustedProxies) > 0 && c.app.trusts(HostOf(c.RemoteAddr()))
}

// trusts reports whether an address belongs to a trusted proxy.
func (a *App) trusts(ip string) bool {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	address = address.Unmap().WithZone("") // Prefix.Contains is false for addresses with a zone
	return slices.ContainsFunc(a.options.TrustedProxies, func(n netip.Prefix) bool { return n.Contains(address) })
}

// HostOf returns the address of "ADDRESS:PORT", without brackets; "" if there is no port, as for unix sockets.
func HostOf(remote string) string {
	i := strings.LastIndexByte(remote, ':')
	if i < 0 {
		return ""
	}
	return unbracket(remote[:i])
}

// withoutPort removes the port that some proxies add: "192.0.2.1:80", "[2001:db8::1]:80".
func withoutPort(element string) string {
	if element[0] == '[' || strings.Count(element, ":") == 1 {
		if i := strings.LastIndexByte(element, ':'); i > strings.LastIndexByte(element, ']') {
			element = element[:i]
		}
	}
	return unbracket(element)
}

func unbracket(s string) string {
	if len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']' {
		return s[1 : len(s)-1]
	}
	return s
}
