// Requests of gRPC: their errors are answered as clients of gRPC expect them, in the field or trailer grpc-status, and their status is counted
// and logged. See the protocol of gRPC over HTTP/2, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.

package app

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// GRPCCodes are the names of the status codes of gRPC, by number.
var GRPCCodes = [17]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

const (
	grpcUnknown  = 2
	grpcDeadline = 4
)

// grpcOf are the status codes of gRPC for errors with an HTTP status. 503 is a lack of room for requests here, as 429 is.
var grpcOf = map[int]int{
	400: 13, 401: 16, 403: 7, 404: 12, 405: 12, 408: 4, 413: 8, 421: 14, 429: 8, 431: 8, 500: 13, 501: 12, 502: 14, 503: 8, 504: 4,
}

// IsGRPC reports whether the request is one of gRPC: HTTP/2 with a content type of gRPC.
func (c *Context) IsGRPC() bool {
	if c.req.Major != 2 {
		return false
	}
	const grpc = "application/grpc"
	t := c.HeaderView("Content-Type")
	return len(t) >= len(grpc) && strings.EqualFold(t[:len(grpc)], grpc) && (len(t) == len(grpc) || t[len(grpc)] == '+' || t[len(grpc)] == ';')
}

// GRPCTimeout returns the time that the client of gRPC waits for the end of the response, by its field grpc-timeout. ok is false if it has none.
func (c *Context) GRPCTimeout() (d time.Duration, ok bool) {
	v := c.HeaderView("Grpc-Timeout")
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(v[:len(v)-1], 10, 31)
	unit := grpcUnits[v[len(v)-1]]
	if err != nil || unit == 0 || time.Duration(n) > maxDuration/unit {
		return maxDuration, err == nil && unit != 0
	}
	return time.Duration(n) * unit, true
}

const maxDuration = 365 * 24 * time.Hour

var grpcUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// grpcStatus returns the status code for the error of a handler, which e answers.
func (c *Context) grpcStatus(err error, e *HTTPError) int {
	if e == errHandlerTimeout || errors.Is(err, context.DeadlineExceeded) {
		return grpcDeadline
	}
	if code, ok := grpcOf[e.Status]; ok {
		return code
	}
	return grpcUnknown
}

// answerGRPC answers an error before the response has begun: a response without a body, whose status is in its head.
func (c *Context) answerGRPC(err error, e *HTTPError) {
	c.SetHeader("Grpc-Status", strconv.Itoa(c.grpcStatus(err, e)))
	c.SetHeader("Grpc-Message", grpcMessage(e.text()))
	_ = c.Bytes(http.StatusOK, "application/grpc", nil)
}

// endGRPC ends a response whose body has begun, with the trailers that tell the error.
func (c *Context) endGRPC(err error, e *HTTPError) {
	_ = c.stream.AddTrailer("Grpc-Status", strconv.Itoa(c.grpcStatus(err, e)))
	_ = c.stream.AddTrailer("Grpc-Message", grpcMessage(e.text()))
	c.wire.finish(c)
}

// grpcMessage escapes a message as the field grpc-message requires.
func grpcMessage(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// sentGRPCStatus returns the status that was sent for a request of gRPC; "" if none was.
func (c *Context) sentGRPCStatus() string {
	r := &c.resp
	for i := range r.trailerFields {
		if name, value := lineOf(r.trailers, r.trailerFields[i]); strings.EqualFold(name, "Grpc-Status") {
			return value
		}
	}
	return c.ResponseHeaderListView("Grpc-Status")
}

// countGRPC counts the status of a request of gRPC that has ended, and returns it. One that is missing or unknown counts as UNKNOWN.
func (c *Context) countGRPC() string {
	if !c.IsGRPC() {
		return ""
	}
	sent := c.sentGRPCStatus()
	code, err := strconv.Atoi(sent)
	if err != nil || code < 0 || code >= len(GRPCCodes) {
		code = grpcUnknown
	}
	c.state.counts.GRPC[code]++
	return sent
}
