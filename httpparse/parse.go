// Parsing of a request head. This is the only file that calls wildcat. wildcat has no limits, validates little, may
// read beyond its input and keeps state between heads; it is therefore given exactly one validated head, and its
// result is compared with that head.

package httpparse

import "github.com/evanphx/wildcat"

// Parse parses head, which is exactly one request head with its empty line (see FindHead). It overwrites r. It
// allocates only if head has more fields than any head before it. A nil lim means DefaultLimits.
//
// The error is an *Error, and r is empty then. A Content-Length above BodyBytesMax is an error with status 413.
func (r *Request) Parse(head []byte, lim *Limits) error {
	lim = lim.orDefault()
	r.Reset()
	why := r.parse(head[:len(head):len(head)], lim)
	if why != accepted {
		r.Reset()
	}
	return why.inRequest()
}

func (r *Request) parse(head []byte, lim *Limits) reason {
	g := &r.guard
	if why := g.validate(head, lim); why != accepted {
		return why
	}
	r.head = head
	r.Method = head[:g.methodEnd:g.methodEnd]
	r.Target = head[g.methodEnd+1 : g.targetEnd : g.targetEnd]
	r.Major, r.Minor = 1, g.minor
	r.Host, r.Traceparent = g.host, g.traceparent
	if g.minor > 0 && !g.hasHost {
		return missingHost
	}
	query := g.query
	if query >= 0 {
		query -= g.methodEnd + 1
	}
	if why := r.splitTarget(query); why != accepted {
		return why
	}
	if g.minor > 0 && len(r.Host) == 0 && r.Target[0] == '/' {
		return emptyHost
	}
	r.KeepAlive = g.keepAlive(g.minor)
	r.Upgrade = g.upgrade && g.upgrades && g.minor > 0
	return r.frame(lim)
}

// frame sets the fields of r that concern the body.
func (r *Request) frame(lim *Limits) reason {
	g := &r.guard
	kind := ordinaryRequest
	if string(r.Method) == "CONNECT" {
		kind = connectRequest
	}
	coding, length := g.framingIndex(g.minor)
	v := requestFraming[kind][coding][length]
	if !v.valid {
		return v.why
	}
	switch r.Framing = v.framing; v.framing {
	case FramingLength:
		if g.length > lim.BodyBytesMax {
			return bodyTooLarge
		}
		r.ContentLength = g.length
	case FramingChunked:
		r.ContentLength = -1
	}
	r.Expect100 = g.expect100 && g.minor > 0 && r.ContentLength != 0
	return accepted
}

// splitFields sets r.headers on its first call. If wildcat and the guard disagree, the result of the guard is used,
// because framing and routing already depend on it. No such head is known; the fuzz targets search for one.
func (r *Request) splitFields() {
	if r.isSplit {
		return
	}
	r.isSplit = true
	if r.splitWithWildcat(r.head) {
		return
	}
	r.wildcatParser = wildcat.HTTPParser{} // drop the parser's state
	r.headers = r.headers[:0]
	next := r.guard.fieldsAt
	for range r.guard.fields {
		l, _ := fieldLine(r.head, next)
		r.headers = appendField(r.headers, r.head, next, l)
		next = l.next
	}
}

// splitWithWildcat has wildcat split the validated head, and reports whether its slices cover the head exactly: each
// name starts where the previous line ended and ends at a colon, and each value ends at CRLF. The head is validated,
// so only one such split exists.
func (r *Request) splitWithWildcat(head []byte) bool {
	g := &r.guard
	if need := g.fields + 1; need > r.wildcatParser.TotalHeaders { // wildcat needs one slot more than it fills
		r.wildcatParser = *wildcat.NewSizedHTTPParser(need + need/2)
	}
	if n, err := r.wildcatParser.Parse(head); err != nil || n != len(head) {
		return false
	}
	if offset(head, r.wildcatParser.Method) != 0 || len(r.wildcatParser.Method) != g.methodEnd ||
		offset(head, r.wildcatParser.Path) != g.methodEnd+1 || len(r.wildcatParser.Path) != g.targetEnd-g.methodEnd-1 {
		return false
	}
	next := g.fieldsAt
	for i := range g.fields {
		l, ok := wildcatField(head, next, r.wildcatParser.Headers[i].Name, r.wildcatParser.Headers[i].Value)
		if !ok {
			return false
		}
		r.headers = appendField(r.headers, head, next, l)
		next = l.next
	}
	return next+len("\r\n") == len(head) && r.wildcatParser.Headers[g.fields].Name == nil
}

// wildcatField checks that name and value, as returned by wildcat, are the field line at start. It trims the value:
// wildcat leaves trailing whitespace, and returns "\r" for an empty value.
func wildcatField(head []byte, start int, name, value []byte) (l fieldOffsets, ok bool) {
	l.nameEnd = start + len(name)
	l.valueStart = offset(head, value)
	if len(name) == 0 || offset(head, name) != start || l.nameEnd >= len(head) || head[l.nameEnd] != ':' ||
		l.valueStart <= l.nameEnd || trimLeft(head, l.nameEnd+1) != l.valueStart {
		return l, false
	}
	end := l.valueStart + len(value)
	if len(value) == 1 && value[0] == '\r' {
		end--
	}
	if end+1 >= len(head) || head[end] != '\r' || head[end+1] != '\n' {
		return l, false
	}
	l.valueEnd = trimRight(head, l.valueStart, end)
	l.next = end + 2
	return l, true
}

// offset returns the start of part in whole if part is a slice of whole up to the same capacity. For any other slice
// the result is meaningless and fails the checks of the caller.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }
