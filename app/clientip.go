// This file owns who the client of a request is. Which proxies may say so is Options.TrustedProxies; what a header says is believed
// from nobody else.

package app

import (
	"net/netip"
	"slices"
	"strings"
)

// ClientIP is the address of the client, without a port: that of the connection, unless it belongs to Options.TrustedProxies.
// Then it is the last address in X-Forwarded-For that belongs to none of them, or the first one if all do. Lists are read from
// their end, where the nearest proxy writes: what a client puts in front is never reached. An element that is no address
// ends the search. "" for a connection that has no address, as those of unix sockets.
//
// The string is a view unless the connection's own is returned.
func (c *Context) ClientIP() string {
	ip := hostOf(c.RemoteAddr())
	if !c.FromProxy() {
		return ip
	}
	headers := c.req.Headers()
	for i := len(headers) - 1; i >= 0; i-- {
		if name := view(headers[i].Name); len(name) != len("X-Forwarded-For") || !strings.EqualFold(name, "X-Forwarded-For") {
			continue
		}
		for list := view(headers[i].Value); list != ""; {
			at := strings.LastIndexByte(list, ',')
			element := strings.TrimSpace(list[at+1:])
			list = list[:max(at, 0)]
			if element == "" {
				continue // RFC 9110 section 5.6.1: empty elements mean nothing
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

// FromProxy tells whether the request came by one of Options.TrustedProxies, so that what its headers say of the client can be
// believed.
func (c *Context) FromProxy() bool {
	return len(c.app.options.TrustedProxies) > 0 && c.app.trusts(hostOf(c.RemoteAddr()))
}

// trusts tells whether an address is that of a trusted proxy.
func (a *App) trusts(ip string) bool {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	address = address.Unmap().WithZone("") // a Prefix has no zone and would contain none that has
	return slices.ContainsFunc(a.options.TrustedProxies, func(n netip.Prefix) bool { return n.Contains(address) })
}

// hostOf is the address of "ADDRESS:PORT", "" for one that has none.
func hostOf(remote string) string {
	i := strings.LastIndexByte(remote, ':')
	if i < 0 {
		return ""
	}
	return unbracket(remote[:i])
}

// withoutPort takes off what some proxies add: "192.0.2.1:80", "[2001:db8::1]:80".
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
