// Serialization of messages. The functions that take field names, values, methods or targets reject what could start
// another line (header injection). The others take numbers and times.

package httpparse

import (
	"net/http"
	"strconv"
)

const (
	statusMin = 100
	statusMax = 999
)

// statusLines holds the status line of every registered status, ready to append.
var statusLines = func() (lines [600]string) {
	for status := range lines {
		if text := http.StatusText(status); text != "" {
			lines[status] = http11 + " " + strconv.Itoa(status) + " " + text + "\r\n"
		}
	}
	return lines
}()

// AppendStatusLine appends "HTTP/1.1 status reason CRLF" (RFC 9112 section 4). The reason is empty for an
// unregistered status. A status outside 100 to 999 is sent as 500.
func AppendStatusLine(b []byte, status int) []byte {
	if status < statusMin || status > statusMax {
		status = http.StatusInternalServerError
	}
	if status < len(statusLines) && statusLines[status] != "" {
		return append(b, statusLines[status]...)
	}
	b = append(b, http11+" "...)
	b = strconv.AppendUint(b, uint64(status), 10)
	return append(b, " \r\n"...)
}

// AppendRequestLine appends "method SP target SP HTTP/1.1 CRLF" (RFC 9112 section 3). method must be a token. target
// must be non-empty visible ASCII without '#'; its form is not checked. On error b is returned unchanged.
func AppendRequestLine[M, T text](b []byte, method M, target T) ([]byte, error) {
	m, t := ViewBytes(method), ViewBytes(target)
	if !ValidToken(m) {
		return b, unsafeMethod.inRequest()
	}
	if len(t) == 0 {
		return b, unsafeTarget.inRequest()
	}
	for _, c := range t {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return b, unsafeTarget.inRequest()
		}
	}
	b = append(b, m...)
	b = append(b, ' ')
	b = append(b, t...)
	return append(b, " "+http11+"\r\n"...), nil
}

// AppendHeader appends "name: value CRLF" (RFC 9112 section 5). It returns b unchanged and an error if name is not a
// token or value contains a control byte other than HTAB.
func AppendHeader(b []byte, name, value string) ([]byte, error) {
	return appendFieldLine(b, ViewBytes(name), ViewBytes(value))
}

// AppendHeaderBytes is like AppendHeader but takes byte slices.
func AppendHeaderBytes(b []byte, name, value []byte) ([]byte, error) {
	return appendFieldLine(b, name, value)
}

func appendFieldLine(b, name, value []byte) ([]byte, error) {
	if !ValidToken(name) {
		return b, unsafeName.inRequest()
	}
	if !ValidFieldValue(value) {
		return b, unsafeValue.inRequest()
	}
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...), nil
}

// AppendContentLength appends a Content-Length field (RFC 9110 section 8.6). It appends nothing if n is negative,
// which means an unknown length.
func AppendContentLength(b []byte, n int64) []byte {
	if n < 0 {
		return b
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

// AppendDate appends a Date field (RFC 9110 section 6.6.1). date is the value returned by DateCache.At.
func AppendDate(b, date []byte) []byte {
	b = append(b, "Date: "...)
	b = append(b, date...)
	return append(b, "\r\n"...)
}

// AppendHeadEnd appends the empty line that ends a head.
func AppendHeadEnd(b []byte) []byte { return append(b, "\r\n"...) }

// AppendChunk appends p as one chunk (RFC 9112 section 7.1). It appends nothing if p is empty, because an empty chunk
// ends the body.
func AppendChunk(b, p []byte) []byte {
	if len(p) == 0 {
		return b
	}
	b = strconv.AppendUint(b, uint64(len(p)), 16)
	b = append(b, "\r\n"...)
	b = append(b, p...)
	return append(b, "\r\n"...)
}

// AppendLastChunk appends the last chunk of a chunked body, without trailers (RFC 9112 section 7.1).
func AppendLastChunk(b []byte) []byte { return append(b, "0\r\n\r\n"...) }

// StatusText returns the registered reason phrase of status, or "".
func StatusText(status int) string { return http.StatusText(status) }

// BodyAllowed reports whether a response with this status may have a body. 1xx, 204 and 304 may not (RFC 9112 section
// 6.3).
func BodyAllowed(status int) bool { return status >= 200 && status != 204 && status != 304 }
