package httpparse

// This file owns the judgement of a raw request head, before any other parser sees it: every byte is checked once, in
// one pass, and the fields that steer framing, routing and the connection are noted on the way. It refuses to cut the
// fields for others: that is wildcat's part, and the two must agree afterwards (parse.go).

// The version tokens of a start line (RFC 9112 section 2.3).
const (
	http11 = "HTTP/1.1"
	http10 = "HTTP/1.0"
)

// guard is what one pass over a request head learns. Offsets count from the start of the head.
type guard struct {
	methodEnd int
	targetEnd int
	query     int // of '?', or -1
	fieldsAt  int // of the first field line, or of the empty line
	fields    int
	minor     uint8
	controlFields
}

// check judges head, which must be exactly one head with its final empty line.
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

// headEnd checks that the empty line whose CR is at i ends head.
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

// requestLine judges "method SP target SP version CRLF" (RFC 9112 section 3): single spaces and nothing around them.
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

// targetFault names what is wrong with the byte at i, which ends the target and is not the right space.
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

// version reads the HTTP version that b starts with. Minor versions above 1 are processed as 1 (RFC 9110 section 2.5).
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

// versionEndFault names what is wrong at i, where the CRLF of a start line should stand.
func versionEndFault(head []byte, i int) reason {
	if i < len(head) && class[head[i]]&valueByte != 0 {
		return badVersion
	}
	return lineFault(head, i)
}
