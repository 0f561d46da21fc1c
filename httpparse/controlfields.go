// The fields that frame a message, route it and control its connection: Host, Content-Length, Transfer-Encoding,
// Connection, Expect, Upgrade; and traceparent. framing.go combines Content-Length and Transfer-Encoding.

package httpparse

import "math"

// transferCoding classifies the Transfer-Encoding fields of a message.
type transferCoding uint8

const (
	noCoding          transferCoding = iota // no Transfer-Encoding
	chunkedCoding                           // chunked, alone
	chunkedAfterOther                       // chunked after another coding
	chunkedNotFinal                         // the last coding is not chunked
	codingInHTTP10                          // Transfer-Encoding in an HTTP/1.0 message
	transferCodingCount
)

// lengthClass classifies Content-Length.
type lengthClass uint8

const (
	noLength lengthClass = iota
	zeroLength
	someLength
	lengthClassCount
)

// controlFields holds the values of the control fields. The zero value means that none was received.
type controlFields struct {
	host    []byte
	hasHost bool

	hasLength bool
	length    int64
	coding    transferCoding

	closes    bool // Connection: close
	persists  bool // Connection: keep-alive
	upgrades  bool // Connection: upgrade
	upgrade   bool // Upgrade, with a value
	expect100 bool

	traceparent []byte
}

// mayBeControlField reports whether n is the length of a control field's name.
func mayBeControlField(n int) bool {
	const known = 1<<len("host") | 1<<len("expect") | 1<<len("upgrade") | 1<<len("connection") |
		1<<len("traceparent") | 1<<len("content-length") | 1<<len("transfer-encoding")
	return n < 32 && known>>n&1 != 0
}

// add records one field. It ignores fields other than control fields.
func (s *controlFields) add(name, value []byte) reason {
	switch len(name) {
	case len("host"):
		if equalFold(name, "host") {
			return s.addHost(value)
		}
	case len("expect"):
		if equalFold(name, "expect") {
			return s.addExpect(value)
		}
	case len("upgrade"):
		if equalFold(name, "upgrade") {
			s.upgrade = s.upgrade || len(value) > 0
		}
	case len("connection"):
		if equalFold(name, "connection") {
			s.addConnection(value)
		}
	case len("traceparent"):
		if s.traceparent == nil && equalFold(name, "traceparent") {
			s.traceparent = value
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return s.addContentLength(value)
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			return s.addTransferEncoding(value)
		}
	}
	return accepted
}

// addHost records Host, which must occur once and be well formed, and may be empty (RFC 9112 section 3.2).
func (s *controlFields) addHost(value []byte) reason {
	if s.hasHost {
		return duplicateHost
	}
	s.hasHost = true
	s.host = value
	if len(value) > 0 && !validHost(value, portOptional) {
		return badHost
	}
	return accepted
}

// addExpect records Expect. The only valid member is 100-continue (RFC 9110 section 10.1.1).
func (s *controlFields) addExpect(value []byte) reason {
	for member, rest := nextMember(value); member != nil; member, rest = nextMember(rest) {
		if !equalFold(member, "100-continue") {
			return unknownExpectation
		}
		s.expect100 = true
	}
	return accepted
}

// addConnection records the connection options close, keep-alive and upgrade. Other options concern proxies only (RFC
// 9110 section 7.6.1).
func (s *controlFields) addConnection(value []byte) {
	for member, rest := nextMember(value); member != nil; member, rest = nextMember(rest) {
		switch {
		case equalFold(member, "close"):
			s.closes = true
		case equalFold(member, "keep-alive"):
			s.persists = true
		case equalFold(member, "upgrade"):
			s.upgrades = true
		}
	}
}

// addContentLength records Content-Length, which must be one line of digits (RFC 9110 section 8.6). A second line or
// a list is rejected even if the values agree: it indicates request smuggling (RFC 9112 section 11.2).
func (s *controlFields) addContentLength(value []byte) reason {
	if s.hasLength {
		return duplicateContentLength
	}
	if len(value) == 0 {
		return badContentLength
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return badContentLength
		}
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			return contentLengthOverflow
		}
		n = n*10 + d
	}
	s.hasLength = true
	s.length = n
	return accepted
}

// addTransferEncoding records Transfer-Encoding. Several lines form one list (RFC 9112 section 6.1). chunked must
// have no parameters (section 7). An empty member, which is valid in a list, is rejected, because parsers disagree on
// it.
func (s *controlFields) addTransferEncoding(value []byte) reason {
	if len(value) == 0 {
		return badTransferEncoding
	}
	for start := 0; start <= len(value); {
		end := start
		for end < len(value) && value[end] != ',' {
			end++
		}
		from := trimLeft(value[:end], start)
		member := value[from:trimRight(value, from, end)]
		if why := s.addCoding(member); why != accepted {
			return why
		}
		start = end + 1
	}
	return accepted
}

func (s *controlFields) addCoding(member []byte) reason {
	name := member[:classEnd(member, 0, tokenByte)]
	isChunked := equalFold(name, "chunked")
	switch {
	case len(name) == 0, isChunked && len(member) > len(name):
		return badTransferEncoding
	case isChunked && (s.coding == chunkedCoding || s.coding == chunkedAfterOther):
		return badTransferEncoding
	case isChunked && s.coding == noCoding:
		s.coding = chunkedCoding
	case isChunked:
		s.coding = chunkedAfterOther
	default:
		s.coding = chunkedNotFinal
	}
	return accepted
}

// nextMember splits the first non-empty member off a comma-separated list (RFC 9110 section 5.6.1). It returns nil at
// the end.
func nextMember(list []byte) (member, rest []byte) {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] != ',' {
			end++
		}
		start := trimLeft(list[:end], 0)
		member = list[start:trimRight(list, start, end)]
		list = list[min(end+1, len(list)):]
		if len(member) > 0 {
			return member, list
		}
	}
	return nil, nil
}

// framingIndex returns the indices into the framing tables for a message with this minor version.
func (s *controlFields) framingIndex(minor uint8) (transferCoding, lengthClass) {
	coding, length := s.coding, noLength
	if minor == 0 && coding != noCoding {
		coding = codingInHTTP10
	}
	switch {
	case s.hasLength && s.length == 0:
		length = zeroLength
	case s.hasLength:
		length = someLength
	}
	return coding, length
}

// keepAlive reports whether the connection persists (RFC 9112 section 9.3).
func (s *controlFields) keepAlive(minor uint8) bool {
	return !s.closes && (minor > 0 || s.persists)
}
