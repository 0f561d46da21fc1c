// The addresses that a server listens on: no two of them may stand for the same socket.

package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// addresses reports listen addresses that exclude each other. The start would fail at the second one. Flags override server.listen and
// admin.listen, so a check alone compares those.
func (d *decoder) addresses(c *Config) {
	type listening struct {
		address string
		at      path
	}
	var all []listening
	for i := range c.Listeners {
		all = append(all, listening{string(c.Listeners[i].Listen), path{"listener"}.index(i).child("listen")})
	}
	if d.checking {
		if len(c.Listeners) == 0 {
			all = append(all, listening{string(c.Server.Listen), path{"server", "listen"}})
		}
		all = append(all, listening{string(c.Admin.Listen), path{"admin", "listen"}})
	}
	for i, l := range all {
		for _, other := range all[:i] {
			if !sameSocket(l.address, other.address) || d.spoilt[other.at.part()] {
				continue
			}
			first, second := other, l
			if d.line(second.at) < d.line(first.at) {
				first, second = second, first
			}
			d.problem(second.at, "%s = %q: %s", second.at, second.address, d.taken(first.at, first.address))
			break
		}
	}
}

// taken says which key has an address.
func (d *decoder) taken(p path, address string) string {
	if d.hasKey(p) {
		return p.String() + " in line " + strconv.Itoa(d.line(p)) + " has " + address
	}
	return "the default of " + p.String() + " is " + address
}

// sameSocket reports whether sockets cannot be bound to both addresses. An address without an IP includes all addresses of its port. Port
// 0 is a port that is free.
func sameSocket(a, b string) bool {
	if a == b && (strings.HasPrefix(a, "unix:") || strings.HasPrefix(a, "systemd:")) {
		return true
	}
	hostA, portA, ok := splitListen(a)
	hostB, portB, okB := splitListen(b)
	if !ok || !okB || portA != portB || portA == 0 {
		return false
	}
	return hostA == "" || hostB == "" || hostA == hostB
}

// splitListen returns the host of HOST:PORT in one spelling, "" for all addresses, and the number of the port.
func splitListen(address string) (host string, port int, ok bool) {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "systemd:") {
		return "", 0, false
	}
	host, name, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, false
	}
	if port, err = net.LookupPort("tcp", name); err != nil {
		return "", 0, false
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return strings.ToLower(host), port, true
	case ip.IsUnspecified():
		return "", port, true
	}
	return ip.Unmap().String(), port, true
}
