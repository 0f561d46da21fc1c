// The parsed response head. wildcat parses requests only, so responses use the field-line parser of header.go.

package httpparse

import "iter"

// Response is a parsed response head of an upstream. The zero value is ready for Parse. Reuse it, because it keeps
// its array. All slices are read-only views into the head. It is not safe for concurrent use.
type Response struct {
	Minor   uint8    // minor version of HTTP/1.x: 0 or 1
	Status  int      // 100 to 999; 1xx other than 101 is followed by another response
	Reason  []byte   // reason phrase, often empty
	Headers []Header // in the order received

	KeepAlive     bool    // the connection persists after this response (RFC 9112 section 9.3)
	Framing       Framing // how the body that follows the head is delimited; see Body
	ContentLength int64   // body length in bytes, or that of the described body if none is sent (HEAD, 304); -1 if unknown
	Upgrade       bool    // 101: the connection switches to the protocol in the Upgrade field
}

// Header returns the value of the first field with this name, case-insensitively, or nil. The value of an empty field
// is not nil.
func (r *Response) Header(name string) []byte { return findHeader(r.Headers, name) }

// Values yields the value of each field with this name, in the order received.
func (r *Response) Values(name string) iter.Seq[[]byte] { return eachValue(r.Headers, name) }

// Reset drops all views into the last head and keeps the array.
func (r *Response) Reset() {
	headers := r.Headers
	clear(headers)
	*r = Response{Headers: headers[:0], ContentLength: -1}
}

// Parse parses head, exactly one response head with its empty line (see FindResponseHead), as the response to a
// request with requestMethod. The framing depends on the method: a response to HEAD has no body, and a 2xx response
// to CONNECT starts a tunnel (RFC 9112 section 6.3). A nil lim means DefaultLimits. BodyBytesMax bounds the
// Content-Length; math.MaxInt64 disables that bound.
//
// Whitespace between a field name and its colon is removed (RFC 9112 section 5.1). The error is an *Error with status
// 502, and r is empty then.
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
		if n := l.nameEnd - i; n > len("expect") && mayBeControlField(n) { // Host and Expect have no meaning in a response
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

// statusLine parses "version SP status SP [reason] CRLF" (RFC 9112 section 4) and returns the offset of the next
// line. The space before an empty reason may be missing, because many servers omit it.
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

// frame sets the fields of r that concern the body and the connection.
func (r *Response) frame(s *controlFields, method string, lim *Limits) reason {
	kind := kindOfResponse(r.Status, method)
	coding, length := s.framingIndex(r.Minor)
	v := responseFraming[kind][coding][length]
	if !v.valid {
		return v.why
	}
	if v.framing == FramingLength && s.length > lim.BodyBytesMax {
		return bodyTooLarge
	}
	r.Framing = v.framing
	r.KeepAlive = s.keepAlive(r.Minor) && !v.closes && kind != tunnel
	if s.hasLength && coding == noCoding && kind != tunnel {
		r.ContentLength = s.length
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
