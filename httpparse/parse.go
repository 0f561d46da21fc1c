package httpparse

// This file owns the parse of a request head: the order of the steps, and wildcat. It is the only file that calls
// wildcat, which has no limits, checks little, reads past what it should and keeps state from one head to the next; so it
// gets a judged head, exactly one, in a parser that has forgotten the last, and its answer is checked against the head.

import "github.com/evanphx/wildcat"

// Parse reads head, which is exactly one request head with its final empty line (see FindHead). It forgets the request
// parsed before, and allocates only when a head has more fields than any before it. A nil lim means DefaultLimits.
//
// The error is an *Error; the request is then empty. A declared body beyond BodyBytesMax is refused here with 413.
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
	r.Minor = g.minor
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

// frame sets what concerns the body.
func (r *Request) frame(lim *Limits) reason {
	g := &r.guard
	kind := ordinaryRequest
	if string(r.Method) == "CONNECT" {
		kind = connectRequest
	}
	coding, length := g.framingIndex(g.minor)
	v := requestFraming[kind][coding][length]
	switch v.framing {
	case framingInvalid:
		return v.why
	case byLength:
		if g.length > lim.BodyBytesMax {
			return bodyTooLarge
		}
		r.ContentLength = g.length
	case byChunks:
		r.ContentLength = -1
		r.Chunked = true
	}
	r.Expect100 = g.expect100 && g.minor > 0 && r.ContentLength != 0
	return accepted
}

// cutOnce fills headers, the first time. Where wildcat and the guard disagree, which no head is known to bring about (the fuzzers look for
// one), the guard's reading stands: it has judged each byte, and framing and routing are already decided by it.
func (r *Request) splitFields() {
	if r.isSplit {
		return
	}
	r.isSplit = true
	if r.splitWithWildcat(r.head) {
		return
	}
	r.wildcatParser = wildcat.HTTPParser{} // whatever is in its slots, nobody shall meet it again
	r.headers = r.headers[:0]
	next := r.guard.fieldsAt
	for range r.guard.fields {
		l, _ := fieldLine(r.head, next)
		r.headers = appendField(r.headers, r.head, next, l)
		next = l.next
	}
}

// cut lets wildcat cut the judged head and takes its slices, if they tile the head: each field's name starts where the
// line before it ended, ends at a colon, and its value ends at a CRLF. The guard has seen that no CR, LF or colon can
// stand inside, so the tiling leaves one reading only.
func (r *Request) splitWithWildcat(head []byte) bool {
	g := &r.guard
	if need := g.fields + 1; need > r.wildcatParser.TotalHeaders { // wildcat wants one slot more than it fills
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

// tile checks that name and value, as wildcat cut them, are the field line that starts at start, and trims the value:
// wildcat leaves the whitespace at its end, and makes an empty value "\r".
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

// offset returns where part starts in whole, of which it is a slice with the same end of capacity; for a slice of
// anything else the answer is some number that the checks around it refuse, or one at which whole holds what they need.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }
