// The request target and its four forms (RFC 9112 section 3.2), and the syntax of a host with a port. Nothing is
// decoded here.

package httpparse

import (
	"bytes"
	"net/netip"
)

type portRule bool

const (
	portOptional portRule = false
	portRequired portRule = true
)

// Paths of targets without a path. They are shared, because views of a request are read-only.
var (
	rootPath     = []byte("/")
	asteriskPath = []byte("*")
)

// splitTarget sets Path, Query and Host from the target, whose bytes are validated. query is the offset of '?' in the
// target, or -1. r.Host holds the Host field; an authority replaces it (RFC 9112 section 3.2.2).
func (r *Request) splitTarget(query int) reason {
	target := r.Target
	switch {
	case string(r.Method) == "CONNECT":
		if !validHost(target, portRequired) {
			return formMismatch
		}
		r.Host = target
		return accepted
	case target[0] == '/':
		r.splitQuery(target, query)
		return accepted
	case string(target) == "*":
		if string(r.Method) != "OPTIONS" {
			return formMismatch
		}
		r.Path = target
		return accepted
	}
	return r.splitAbsolute(target, query)
}

func (r *Request) splitQuery(pathAndQuery []byte, query int) {
	r.Path = pathAndQuery
	if query >= 0 {
		r.HasQuery = true
		r.Path = pathAndQuery[:query:query]
		r.Query = pathAndQuery[query+1:]
	}
}

// splitAbsolute splits "http://host[:port][/path][?query]". User information is an error (RFC 9110 section 4.2.4),
// and so is an empty host (section 4.2.1). An empty path becomes "/", or "*" for OPTIONS (RFC 9112 section 3.2.4).
func (r *Request) splitAbsolute(target []byte, query int) reason {
	scheme := classEnd(target, 0, schemeByte)
	if !bytes.HasPrefix(target[scheme:], []byte("://")) ||
		!equalFold(target[:scheme], "http") && !equalFold(target[:scheme], "https") {
		return formMismatch
	}
	start := scheme + len("://")
	end := len(target)
	if query >= 0 {
		end = query
	}
	if slash := bytes.IndexByte(target[start:end], '/'); slash >= 0 {
		end = start + slash
	}
	authority := target[start:end:end]
	if !validHost(authority, portOptional) {
		return badHost
	}
	r.Host = authority
	if query >= 0 {
		query -= end
	}
	r.splitQuery(target[end:], query)
	if len(r.Path) == 0 {
		r.Path = rootPath
		if !r.HasQuery && string(r.Method) == "OPTIONS" {
			r.Path = asteriskPath
		}
	}
	return accepted
}

// validHost reports whether b is uri-host [ ":" port ] with a non-empty host (RFC 3986 section 3.2.2). The port may
// be empty if it is optional.
func validHost(b []byte, rule portRule) bool {
	i := 0
	if len(b) > 0 && b[0] == '[' {
		if i = literalEnd(b); i == 0 {
			return false
		}
	} else if i = regNameEnd(b); i == 0 {
		return false
	}
	if i == len(b) {
		return rule == portOptional
	}
	return b[i] == ':' && validPort(b[i+1:], rule)
}

// literalEnd returns the offset after an IPv6 address in brackets, or 0. Zones are invalid, because they have a
// meaning on one machine only, and so is IPvFuture.
func literalEnd(b []byte) int {
	end := bytes.IndexByte(b, ']')
	if end < 0 {
		return 0
	}
	text := b[1:end]
	for _, c := range text {
		if class[c]&hexByte == 0 && c != ':' && c != '.' {
			return 0
		}
	}
	addr, err := netip.ParseAddr(ViewString(text)) // ParseAddr does not retain the string
	if err != nil || !addr.Is6() {
		return 0
	}
	return end + 1
}

// regNameEnd returns the offset after the longest reg-name. IPv4 addresses are reg-names as well.
func regNameEnd(b []byte) int {
	i := classEnd(b, 0, hostByte)
	for i+2 < len(b) && b[i] == '%' && class[b[i+1]]&class[b[i+2]]&hexByte != 0 {
		i = classEnd(b, i+3, hostByte)
	}
	return i
}

func validPort(digits []byte, rule portRule) bool {
	if len(digits) == 0 {
		return rule == portOptional
	}
	port := 0
	for _, c := range digits {
		if class[c]&digitByte == 0 {
			return false
		}
		if port = port*10 + int(c-'0'); port > 65535 {
			return false
		}
	}
	return rule == portOptional || port > 0
}
