package httpparse

// This file owns the response head: its parse and what it offers. wildcat knows no responses, so the guard's field lines
// are all there is. It refuses to relay anything: that is the proxy's.

import "iter"

// Response is one parsed response head, from an upstream. The zero value is ready for Parse and should be reused. Every
// slice is a view into the head and must not be written to. Not safe for concurrent use.
type Response struct {
	Minor   uint8    // of HTTP/1.x: 0 or 1
	Status  int      // 100 to 999; below 200 the final response is still to come, except for 101
	Reason  []byte   // the reason phrase, often empty
	Headers []Header // in the order they came

	KeepAlive     bool  // the connection can carry another exchange after this one
	ContentLength int64 // of the body in bytes, or of the body described where none is sent; -1 if unknown
	Chunked       bool  // the body comes in the chunked coding
	UntilClose    bool  // the body ends when the connection does
	NoBody        bool  // no byte of a body follows the head
	Upgrade       bool  // 101: the connection now speaks what the Upgrade field names
}

// Header returns the value of the first field with that name, in any case of its letters: nil if there is none, empty
// but not nil if its value is empty.
func (r *Response) Header(name string) []byte { return findHeader(r.Headers, name) }

// Values yields the value of every field with that name, in the order they came.
func (r *Response) Values(name string) iter.Seq[[]byte] { return eachValue(r.Headers, name) }

// Reset drops every view into the last head and keeps the array.
func (r *Response) Reset() {
	headers := r.Headers
	clear(headers)
	*r = Response{Headers: headers[:0], ContentLength: -1}
}

// Parse reads head, exactly one response head with its final empty line (see FindResponseHead), as the answer to a
// request with requestMethod. The method decides the framing: HEAD has no body, 2xx to CONNECT is a tunnel (RFC 9112
// section 6.3). A nil lim means DefaultLimits; BodyBytesMax bounds a declared length, math.MaxInt64 lifts that bound.
//
// Whitespace between a field name and its colon is removed (RFC 9112 section 5.1). The error is an *Error with status 502;
// the response is then empty.
func (r *Response) Parse(head []byte, requestMethod string, lim *Limits) error {
	lim = lim.orDefault()
	r.Reset()
	why := r.parse(head[:len(head):len(head)], requestMethod, lim)
	if why != accepted {
		r.Reset()
	}
	return why.inResponse()
}

func (r *Response) parse(head []byte, method string, lim *Limits) reason {
	if len(head) > lim.HeadBytesMax {
		return headTooLarge
	}
	i, why := r.statusLine(head)
	if why != accepted {
		return why
	}
	var s controlFields
	for i < len(head) && head[i] != '\r' {
		if len(r.Headers) == lim.HeaderCountMax {
			return tooManyHeaders
		}
		l, why := responseFieldLine(head, i)
		if why != accepted {
			return why
		}
		r.Headers = appendField(r.Headers, head, i, l)
		if n := l.nameEnd - i; n > len("expect") && mayBeControlField(n) { // Host and Expect mean nothing in a response
			if why = s.add(head[i:l.nameEnd], head[l.valueStart:l.valueEnd]); why != accepted {
				return why
			}
		}
		i = l.next
	}
	if i >= len(head) {
		return incompleteHead
	}
	if why := headEnd(head, i); why != accepted {
		return why
	}
	return r.frame(&s, method, lim)
}

// statusLine reads "version SP status SP [reason] CRLF" (RFC 9112 section 4). The space before an empty reason may be
// missing, as many servers leave it out. It returns the offset after the line.
func (r *Response) statusLine(head []byte) (next int, why reason) {
	if r.Minor, why = version(head); why != accepted {
		return 0, why
	}
	const status = len(http11) + 1
	if len(head) < status+3 || head[status-1] != ' ' {
		return 0, badStatusLine
	}
	for _, c := range head[status : status+3] {
		if class[c]&digitByte == 0 {
			return 0, badStatusLine
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return 0, badStatusLine
	}
	start := status + 3
	if start < len(head) && head[start] == ' ' {
		start++
	} else if start < len(head) && head[start] != '\r' {
		return 0, badStatusLine
	}
	end := valueEnd(head, start)
	if end+1 >= len(head) || head[end] != '\r' || head[end+1] != '\n' {
		return 0, lineFault(head, end)
	}
	r.Reason = head[start:end:end]
	return end + 2, accepted
}

// frame sets what concerns the body and the connection.
func (r *Response) frame(s *controlFields, method string, lim *Limits) reason {
	kind := kindOfResponse(r.Status, method)
	coding, length := s.framingIndex(r.Minor)
	v := responseFraming[kind][coding][length]
	if v.framing == framingInvalid {
		return v.why
	}
	r.KeepAlive = s.keepAlive(r.Minor)
	if s.hasLength && coding == noCoding && kind != tunnel {
		r.ContentLength = s.length
	}
	switch v.framing {
	case noBody:
		r.NoBody = true
	case noBodyClose:
		r.NoBody = true
		r.KeepAlive = false
	case byLength:
		if s.length > lim.BodyBytesMax {
			return bodyTooLarge
		}
	case byChunks:
		r.Chunked = true
	case untilClose:
		r.UntilClose = true
		r.KeepAlive = false
	}
	if kind == tunnel {
		r.KeepAlive = false
	}
	if r.Status == 101 {
		if !s.upgrade || !s.upgrades {
			return badSwitch
		}
		r.Upgrade = true
		r.KeepAlive = false
	}
	return accepted
}
