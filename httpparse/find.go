// Search for the end of a head in a buffer that may still grow. An incomplete head is rejected only for faults that
// no further byte can repair; Parse checks a complete one.

package httpparse

import "bytes"

const (
	emptyLinesMax  = 4  // empty lines allowed before a request line (RFC 9112 section 2.2)
	methodBytesMax = 32 // the longest registered method, UPDATEREDIRECTREF, has 17
)

// FindHead looks for the end of a request head in b, the unread bytes of a connection. A nil lim means DefaultLimits.
//
// If end > 0, b[skip:end] is one complete head for Request.Parse. skip is the length of the empty lines before it, of
// which four are allowed (RFC 9112 section 2.2). If end is 0 and err is nil, more bytes are needed: call FindHead
// again with the longer b and with from set to resume, so that no byte is searched twice. from is 0 in the first
// call.
//
// An error is an *Error and permanent. It is returned as soon as b cannot become a valid head, so that TLS, HTTP/0.9,
// binary data and endless heads are detected early.
func FindHead(b []byte, from int, lim *Limits) (skip, end, resume int, err error) {
	lim = lim.orDefault()
	skip, why := leadingLines(b)
	if why != accepted || skip == len(b) || b[skip] == '\r' {
		return 0, 0, 0, why.inRequest()
	}
	if class[b[skip]]&tokenByte == 0 {
		return 0, 0, 0, methodFault(b[skip:]).inRequest()
	}
	window := b[:min(len(b), skip+lim.HeadBytesMax)]
	end, why = blankLine(window, skip, from)
	if why != accepted || end > 0 {
		return skip, end, end, why.inRequest()
	}
	if why = incompleteFault(b, window, skip, from, lim); why != accepted {
		return 0, 0, 0, why.inRequest()
	}
	return 0, 0, len(b), nil
}

// FindResponseHead is FindHead for a response head. It allows no empty line before the status line, so skip is always
// 0. Errors have status 502.
func FindResponseHead(b []byte, from int, lim *Limits) (skip, end, resume int, err error) {
	lim = lim.orDefault()
	if n := min(len(b), len(http11)-1); string(b[:n]) != http11[:n] {
		return 0, 0, 0, badStatusLine.inResponse()
	}
	window := b[:min(len(b), lim.HeadBytesMax)]
	end, why := blankLine(window, 0, from)
	if why != accepted || end > 0 {
		return 0, end, end, why.inResponse()
	}
	if why = controlFault(window, from); why == accepted && len(b) >= lim.HeadBytesMax {
		why = headTooLarge
	}
	if why != accepted {
		return 0, 0, 0, why.inResponse()
	}
	return 0, 0, len(b), nil
}

// leadingLines returns the length of the empty lines at the start of b. If b[skip] is a CR, the LF has not arrived
// yet.
func leadingLines(b []byte) (skip int, why reason) {
	for skip < len(b) && b[skip] == '\r' && skip+1 < len(b) {
		if b[skip+1] != '\n' {
			return 0, bareCR
		}
		if skip += 2; skip > 2*emptyLinesMax {
			return 0, emptyLines
		}
	}
	return skip, accepted
}

// blankLine returns the end of the CRLF CRLF that ends the head at skip, or 0. Bytes before from were searched by an
// earlier call.
func blankLine(b []byte, skip, from int) (end int, why reason) {
	for i := max(from, skip); i < len(b); {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0, accepted
		}
		i += n
		if i == skip || b[i-1] != '\r' {
			return 0, bareLF
		}
		if i-skip >= 3 && b[i-2] == '\n' {
			return i + 1, accepted
		}
		i++
	}
	return 0, accepted
}

// incompleteFault returns the reason why b can never start with a valid head. There is no complete head in window,
// the part of b within HeadBytesMax.
func incompleteFault(b, window []byte, skip, from int, lim *Limits) reason {
	if why := methodPrefix(window[skip:]); why != accepted {
		return why
	}
	if why := controlFault(window, max(from, skip)); why != accepted {
		return why
	}
	head := window[skip:]
	if n := bytes.IndexByte(head, '\n'); n >= 0 && skip+n >= from { // the request line is complete since this call
		var g guard
		if why := g.requestLine(head[:n+1], lim); why != accepted {
			return why
		}
	}
	if len(head) > lim.TargetBytesMax && bytes.IndexByte(head, '\r') < 0 {
		if sp := bytes.IndexByte(head, ' '); sp >= 0 {
			target := head[sp+1:]
			if bytes.IndexByte(target, ' ') < 0 && len(target) > lim.TargetBytesMax {
				return targetTooLong
			}
		}
	}
	if len(b)-skip >= lim.HeadBytesMax {
		return headTooLarge
	}
	return accepted
}

// methodPrefix rejects bytes that cannot become a method and the space after it.
func methodPrefix(head []byte) reason {
	n := classEnd(head[:min(len(head), methodBytesMax+1)], 0, tokenByte)
	switch {
	case n > methodBytesMax:
		return longMethod
	case n < len(head) && (n == 0 || head[n] != ' '):
		return methodFault(head[n:])
	}
	return accepted
}

func methodFault(b []byte) reason {
	switch {
	case b[0] == '\n':
		return bareLF
	case b[0] == 0x16 && (len(b) == 1 || b[1] == 3):
		return tlsHello
	}
	return badMethod
}

// controlFault looks for a control byte in b[from:]. The last byte may be a CR whose LF has not arrived; the first
// must be an LF if a CR precedes it. Bare LFs were rejected before.
func controlFault(b []byte, from int) reason {
	if from > 0 && from < len(b) && b[from-1] == '\r' && b[from] != '\n' {
		return bareCR
	}
	for i := from; i < len(b); i++ {
		if i = valueEnd(b, i); i == len(b) {
			break
		}
		switch {
		case b[i] == '\n':
		case b[i] != '\r':
			return controlByte
		case i+1 < len(b) && b[i+1] != '\n':
			return bareCR
		}
	}
	return accepted
}
