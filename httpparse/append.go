package httpparse

// This file owns messages on their way out. It refuses, with an error, to append anything that a reader could take for
// a line, a field or a message that the caller did not mean: header injection ends here. It refuses to know what a
// message should contain.

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

// AppendStatusLine appends "HTTP/1.1 status reason CRLF" (RFC 9112 section 4). A status without a registered reason gets
// an empty one; one that has not three digits is a bug of the caller and goes out as 500.
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

// AppendRequestLine appends "method SP target SP HTTP/1.1 CRLF" (RFC 9112 section 3). The method must be a token; the
// target must not be empty and must hold only visible ASCII without '#', in whatever form: which form fits is the
// caller's to know. On error b is returned as it was.
func AppendRequestLine[M, T text](b []byte, method M, target T) ([]byte, error) {
	m, t := view(method), view(target)
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

// AppendHeader appends "name: value CRLF" (RFC 9112 section 5). A name that is no token and a value with a control byte
// other than HTAB, CR and LF first of all, are refused; then b is returned as it was.
func AppendHeader(b []byte, name, value string) ([]byte, error) {
	return appendFieldLine(b, view(name), view(value))
}

// AppendHeaderBytes is AppendHeader for bytes.
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

// AppendContentLength appends a Content-Length field. A negative n, the mark of an unknown length, appends nothing.
func AppendContentLength(b []byte, n int64) []byte {
	if n < 0 {
		return b
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

// AppendDate appends a Date field; date comes from a DateCache.
func AppendDate(b, date []byte) []byte {
	b = append(b, "Date: "...)
	b = append(b, date...)
	return append(b, "\r\n"...)
}

// AppendHeadEnd appends the empty line that ends a head.
func AppendHeadEnd(b []byte) []byte { return append(b, "\r\n"...) }

// AppendChunk appends p as one chunk (RFC 9112 section 7.1). An empty p appends nothing: an empty chunk would end the body.
func AppendChunk(b, p []byte) []byte {
	if len(p) == 0 {
		return b
	}
	b = strconv.AppendUint(b, uint64(len(p)), 16)
	b = append(b, "\r\n"...)
	b = append(b, p...)
	return append(b, "\r\n"...)
}

// AppendLastChunk appends the chunk that ends a chunked body, without trailers.
func AppendLastChunk(b []byte) []byte { return append(b, "0\r\n\r\n"...) }

// StatusText returns the registered reason phrase of status, or "" if there is none.
func StatusText(status int) string { return http.StatusText(status) }

// BodyAllowed tells whether a response with status may have a body: 1xx, 204 and 304 may not (RFC 9112 section 6.3).
func BodyAllowed(status int) bool { return status >= 200 && status != 204 && status != 304 }
