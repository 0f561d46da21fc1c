// Validation of a raw request head in one pass, before wildcat sees it. The pass also records the fields of
// controlfields.go. parse.go splits the head into fields afterwards.

package httpparse

// The version tokens of a start line (RFC 9112 section 2.3).
const (
	http11 = "HTTP/1.1"
	http10 = "HTTP/1.0"
)

// guard is the result of one pass over a request head. Offsets are relative to the start of the head.
type guard struct {
	methodEnd int
	targetEnd int
	query     int // offset of '?', or -1
	fieldsAt  int // offset of the first field line, or of the empty line
	fields    int
	minor     uint8
	controlFields
}

// validate checks head, which must be exactly one head with its empty line.
func (g *guard) validate(head []byte, lim *Limits) reason {
	if len(head) > lim.HeadBytesMax {
		return headTooLarge
	}
	if why := g.requestLine(head, lim); why != accepted {
		return why
	}
	i := g.fieldsAt
	for {
		if i >= len(head) {
			return incompleteHead
		}
		if head[i] == '\r' {
			return headEnd(head, i)
		}
		if g.fields == lim.HeaderCountMax {
			return tooManyHeaders
		}
		l, why := fieldLine(head, i)
		if why != accepted {
			return why
		}
		g.fields++
		if mayBeControlField(l.nameEnd - i) {
			if why = g.add(head[i:l.nameEnd], head[l.valueStart:l.valueEnd]); why != accepted {
				return why
			}
		}
		i = l.next
	}
}

// headEnd checks that head ends with the empty line whose CR is at i.
func headEnd(head []byte, i int) reason {
	switch {
	case i+1 == len(head):
		return incompleteHead
	case head[i+1] != '\n':
		return bareCR
	case i+2 != len(head):
		return headOverrun
	}
	return accepted
}

// requestLine checks "method SP target SP version CRLF" (RFC 9112 section 3) with exactly one space at each place.
func (g *guard) requestLine(head []byte, lim *Limits) reason {
	if len(head) == 0 {
		return incompleteHead
	}
	if why := methodPrefix(head); why != accepted {
		return why
	}
	g.methodEnd = classEnd(head, 0, tokenByte)
	if g.methodEnd == len(head) {
		return incompleteHead
	}
	start := g.methodEnd + 1
	g.query = -1
	g.targetEnd = classEnd(head, start, pathByte)
	if g.targetEnd < len(head) && head[g.targetEnd] == '?' {
		g.query = g.targetEnd
		g.targetEnd = classEnd(head, g.targetEnd+1, queryByte)
	}
	if g.targetEnd-start > lim.TargetBytesMax {
		return targetTooLong
	}
	if g.targetEnd == len(head) || head[g.targetEnd] != ' ' || g.targetEnd == start {
		return targetFault(head, g.targetEnd)
	}
	i := g.targetEnd + 1
	minor, why := version(head[i:])
	if why != accepted {
		return why
	}
	g.minor = minor
	i += len(http11)
	if i+1 >= len(head) || head[i] != '\r' || head[i+1] != '\n' {
		return versionEndFault(head, i)
	}
	g.fieldsAt = i + 2
	return accepted
}

// targetFault returns the reason for the invalid byte at i, which ends the target.
func targetFault(head []byte, i int) reason {
	if i == len(head) {
		return incompleteHead
	}
	switch c := head[i]; {
	case c == '\r' && i+1 < len(head) && head[i+1] == '\n':
		return missingVersion
	case c == '\r' || c == '\n':
		return lineFault(head, i)
	case c == '#':
		return fragmentTarget
	case c >= 0x80:
		return nonASCIITarget
	case class[c]&valueByte == 0:
		return controlByte
	}
	return badTarget
}

// version parses the HTTP version at the start of b. Minor versions above 1 are processed as 1 (RFC 9110 section
// 2.5).
func version(b []byte) (minor uint8, why reason) {
	if len(b) < len(http11) {
		return 0, badVersion
	}
	switch v := b[:len(http11)]; {
	case string(v) == http11:
		return 1, accepted
	case string(v) == http10:
		return 0, accepted
	case string(v[:5]) != "HTTP/" || class[v[5]]&digitByte == 0 || v[6] != '.' || class[v[7]]&digitByte == 0:
		return 0, badVersion
	case v[5] != '1':
		return 0, unsupportedVersion
	}
	return 1, accepted
}

// versionEndFault returns the reason for the invalid byte at i, where CRLF must follow the version.
func versionEndFault(head []byte, i int) reason {
	if i < len(head) && class[head[i]]&valueByte != 0 {
		return badVersion
	}
	return lineFault(head, i)
}
