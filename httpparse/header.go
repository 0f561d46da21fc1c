// Field lines: their syntax, and lookup by name.

package httpparse

import "iter"

// Header is one field line. Name and Value are views into the parsed bytes. Value has no leading or trailing
// whitespace.
type Header struct {
	Name, Value []byte
}

// fieldOffsets locates one field line: the name is b[start:nameEnd], the value b[valueStart:valueEnd], and the next
// line starts at next.
type fieldOffsets struct {
	nameEnd, valueStart, valueEnd, next int
}

// fieldLine parses the field line at i (RFC 9112 section 5). b[i] is not the CR of the empty line.
func fieldLine(b []byte, i int) (l fieldOffsets, why reason) {
	l.nameEnd = classEnd(b, i, tokenByte)
	if l.nameEnd == i || l.nameEnd == len(b) || b[l.nameEnd] != ':' {
		return l, nameFault(b, i, l.nameEnd)
	}
	return valueLine(b, l, l.nameEnd)
}

// responseFieldLine is fieldLine for a response, where whitespace before the colon is removed (RFC 9112 section 5.1).
// In a request it is an error.
func responseFieldLine(b []byte, i int) (l fieldOffsets, why reason) {
	l, why = fieldLine(b, i)
	if why != spaceBeforeColon {
		return l, why
	}
	return valueLine(b, l, trimLeft(b, l.nameEnd))
}

// valueLine completes l, whose colon is at b[colon].
func valueLine(b []byte, l fieldOffsets, colon int) (fieldOffsets, reason) {
	l.valueStart = trimLeft(b, colon+1)
	end := valueEnd(b, l.valueStart)
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' {
		return l, lineFault(b, end)
	}
	l.valueEnd = trimRight(b, l.valueStart, end)
	l.next = end + 2
	return l, accepted
}

// nameFault returns the reason for an invalid field name that starts at i and whose token ends at end.
func nameFault(b []byte, i, end int) reason {
	if end == len(b) {
		return incompleteHead
	}
	switch c := b[end]; {
	case end == i && (c == ' ' || c == '\t'):
		return obsFold
	case end == i && c == ':':
		return emptyHeaderName
	case c == '\r' && end+1 < len(b) && b[end+1] == '\n':
		return missingColon
	case c == '\r' || c == '\n':
		return lineFault(b, end)
	case c == ' ' || c == '\t':
		if after := trimLeft(b, end); after < len(b) && b[after] == ':' {
			return spaceBeforeColon
		}
	}
	return badHeaderName
}

// lineFault returns the reason for the invalid byte at i, where CRLF must stand.
func lineFault(b []byte, i int) reason {
	switch {
	case i == len(b):
		return incompleteHead
	case b[i] == '\n':
		return bareLF
	case b[i] != '\r':
		return controlByte
	case i+1 == len(b):
		return incompleteHead
	}
	return bareCR
}

func findHeader(headers []Header, name string) []byte {
	for i := range headers {
		if sameName(headers[i].Name, name) {
			return headers[i].Value
		}
	}
	return nil
}

func eachValue(headers []Header, name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range headers {
			if sameName(headers[i].Name, name) && !yield(headers[i].Value) {
				return
			}
		}
	}
}

// sameName compares field names case-insensitively (RFC 9110 section 5.1).
func sameName(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i := range len(name) {
		if x, y := b[i], name[i]; x != y && lowerASCII(x) != lowerASCII(y) {
			return false
		}
	}
	return true
}

func lowerASCII(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// appendField appends the field at b[start:] to headers. The capacity of each view ends with the field, so that an
// append to it cannot overwrite the bytes after it. An empty value is not nil.
func appendField(headers []Header, b []byte, start int, l fieldOffsets) []Header {
	return append(headers, Header{
		Name:  b[start:l.nameEnd:l.nameEnd],
		Value: b[l.valueStart:l.valueEnd:l.valueEnd],
	})
}
