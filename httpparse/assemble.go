// Builds a Request from HTTP/2 fields (RFC 9113 section 8.3), with checks as strict as those of guard.go for HTTP/1. The
// wildcat parser is not used.

package httpparse

import (
	"bytes"
	"slices"
)

// pseudoFields are the pseudo-header fields of a request.
type pseudoFields struct {
	method, scheme, path, authority, protocol []byte
}

// Names and values of the fields that Assemble adds.
var (
	hostName        = []byte("host")
	cookieName      = []byte("cookie")
	getMethod       = []byte("GET")
	webSocketFields = []Header{
		{[]byte("upgrade"), []byte("websocket")},
		{[]byte("connection"), []byte("upgrade")},
		// The key, of 16 bytes, has the server prove that it speaks WebSocket (RFC 6455 section 1.3). HTTP/2 has its own proof.
		{[]byte("sec-websocket-key"), []byte("SFRUUC8yIFdlYlNvY2tldA==")},
	}
)

// Assemble makes r from the fields of an HTTP/2 request, with the pseudo-header fields first. It overwrites r. r
// keeps the Name and Value slices; the slice fields itself may be reused. ended says that there is no body. The caller bounds the number and the
// bytes of the fields. Fields are as in HTTP/1: Host stands for :authority, the parts of a divided cookie are joined
// (RFC 9113 section 8.2.3), and an extended CONNECT for WebSocket is a GET with Upgrade (RFC 8441 section 5).
//
// The error is an *Error, and r is empty then. Status 400 means that the request is malformed (RFC 9113 section 8.1.1).
func (r *Request) Assemble(fields []Header, ended bool, lim *Limits) error {
	r.Reset()
	why := r.assemble(fields, ended, lim.orDefault())
	if why != accepted {
		r.Reset()
	}
	return why.inRequest()
}

func (r *Request) assemble(fields []Header, ended bool, lim *Limits) reason {
	var p pseudoFields
	n := 0
	for ; n < len(fields) && len(fields[n].Name) > 0 && fields[n].Name[0] == ':'; n++ {
		if why := p.add(fields[n]); why != accepted {
			return why
		}
	}
	r.isSplit, r.Major, r.KeepAlive = true, 2, true
	for _, f := range fields[n:] {
		if why := r.addField(f); why != accepted {
			return why
		}
	}
	if why := r.setHost(&p); why != accepted {
		return why
	}
	if why := r.setTarget(&p, lim); why != accepted {
		return why
	}
	r.Traceparent = r.guard.traceparent
	return r.frameStream(ended, lim)
}

// add records a pseudo-header field, each of which occurs once.
func (p *pseudoFields) add(f Header) reason {
	var to *[]byte
	switch string(f.Name) {
	case ":method":
		to = &p.method
	case ":scheme":
		to = &p.scheme
	case ":path":
		to = &p.path
	case ":authority":
		to = &p.authority
	case ":protocol":
		to = &p.protocol
	default:
		return badPseudoField
	}
	if *to != nil {
		return badPseudoField
	}
	*to = f.Value
	return accepted
}

// addField checks and adds a field.
func (r *Request) addField(f Header) reason {
	switch {
	case len(f.Name) > 0 && f.Name[0] == ':':
		return badPseudoField // behind another field
	case !ValidLowerName(f.Name):
		return badHeaderName
	case !validFieldContent(f.Value):
		return controlByte
	}
	name, g := len(f.Name), &r.guard.controlFields
	switch {
	case IsConnectionField(f):
		return connectionField
	case name == len("cookie") && string(f.Name) == "cookie":
		r.addCookie(f)
		return accepted
	case name == len("priority") && string(f.Name) == "priority":
		r.Priority = f.Value
	case mayBeControlField(name):
		if why := g.add(f.Name, f.Value); why != accepted {
			return why
		}
	}
	r.headers = append(r.headers, f)
	return accepted
}

// validFieldContent reports whether a value is valid, and does not begin or end with whitespace (RFC 9113 section
// 8.2.1).
func validFieldContent(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	first, last := v[0], v[len(v)-1]
	return first != ' ' && first != '\t' && last != ' ' && last != '\t' && ValidFieldValue(v)
}

func mayBeConnectionField(n int) bool {
	const known = 1<<len("te") | 1<<len("upgrade") | 1<<len("connection") | 1<<len("keep-alive") |
		1<<len("proxy-connection") | 1<<len("transfer-encoding")
	return n < 32 && known>>n&1 != 0
}

// IsConnectionField reports whether a field makes a message of HTTP/2 malformed, because it controls a connection of
// HTTP/1 (RFC 9113 section 8.2.2). The name is in lower case.
func IsConnectionField(f Header) bool {
	return mayBeConnectionField(len(f.Name)) && isConnectionField(f)
}

func isConnectionField(f Header) bool {
	switch string(f.Name) {
	case "te":
		return !equalFold(f.Value, "trailers")
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// addCookie adds a cookie field, or appends it to the first one. The joined value has room to grow, so that a cookie of
// many parts is not copied for each of them.
func (r *Request) addCookie(f Header) {
	for i := range r.headers {
		if h := &r.headers[i]; len(h.Name) == len(cookieName) && string(h.Name) == "cookie" {
			h.Value = append(append(h.Value, "; "...), f.Value...)
			return
		}
	}
	r.headers = append(r.headers, Header{f.Name, slices.Clip(f.Value)}) // what follows the value is not overwritten
}

// setHost sets Host from :authority or the Host field, which must agree (RFC 9113 section 8.3.1).
func (r *Request) setHost(p *pseudoFields) reason {
	g := &r.guard
	switch {
	case p.authority == nil:
		if !g.hasHost {
			return missingHost
		}
		r.Host = g.host
	case g.hasHost && !bytes.EqualFold(g.host, p.authority):
		return badHost
	default:
		r.Host = p.authority
		if !g.hasHost {
			r.headers = append(r.headers, Header{hostName, p.authority})
		}
	}
	if len(r.Host) == 0 {
		return emptyHost
	}
	if !validHost(r.Host, portOptional) {
		return badHost
	}
	return accepted
}

// setTarget sets the method and the parts of the target.
func (r *Request) setTarget(p *pseudoFields, lim *Limits) reason {
	if !ValidToken(p.method) {
		return badPseudoField
	}
	r.Method = p.method
	if string(p.method) == "CONNECT" {
		if p.protocol == nil {
			if p.scheme != nil || p.path != nil || !validHost(r.Host, portRequired) {
				return badPseudoField
			}
			r.Target = r.Host
			return accepted
		}
		if string(p.protocol) != "websocket" {
			return unknownProtocol
		}
		r.Method, r.Upgrade, r.Extended = getMethod, true, true
		r.headers = append(r.headers, webSocketFields...)
	} else if p.protocol != nil {
		return badPseudoField
	}
	if string(p.scheme) != "http" && string(p.scheme) != "https" || len(p.path) == 0 {
		return badPseudoField
	}
	return r.setPath(p.path, lim)
}

// setPath sets Target, Path and Query from :path.
func (r *Request) setPath(target []byte, lim *Limits) reason {
	if len(target) > lim.TargetBytesMax {
		return targetTooLong
	}
	r.Target = target
	if string(target) == "*" {
		if string(r.Method) != "OPTIONS" {
			return formMismatch
		}
		r.Path = target
		return accepted
	}
	if target[0] != '/' {
		return formMismatch
	}
	query := -1
	end := classEnd(target, 0, pathByte)
	if end < len(target) && target[end] == '?' {
		query = end
		end = classEnd(target, end+1, queryByte)
	}
	if end < len(target) {
		return targetFault(target, end)
	}
	r.splitQuery(target, query)
	return accepted
}

// frameStream sets the fields of r that concern the body, which ends with the stream.
func (r *Request) frameStream(ended bool, lim *Limits) reason {
	g := &r.guard
	if r.Extended { // the stream is a tunnel
		if g.hasLength || ended {
			return connectBody
		}
		return accepted
	}
	if string(r.Method) == "CONNECT" && (g.hasLength && g.length > 0) {
		return connectBody
	}
	switch {
	case g.hasLength && ended && g.length > 0:
		return lengthMismatch
	case ended || g.hasLength && g.length == 0:
	case g.hasLength && g.length > lim.BodyBytesMax:
		return bodyTooLarge
	case g.hasLength:
		r.Framing, r.ContentLength = FramingLength, g.length
	default:
		r.Framing, r.ContentLength = FramingClose, -1
	}
	r.Expect100 = g.expect100 && r.Framing != FramingNone
	return accepted
}

// ValidLowerName reports whether t is a field name as HTTP/2 sends it: a token without upper-case letters (RFC 9113
// section 8.2.1).
func ValidLowerName[T text](t T) bool {
	b := ViewBytes(t)
	for _, c := range b {
		if class[c]&tokenByte == 0 || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return len(b) > 0
}
