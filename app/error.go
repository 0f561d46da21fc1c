// This file owns what goes wrong: the errors a handler returns or gets, and the answer that each turns into. It writes no
// byte itself; response.go does.

package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"tafe/httpparse"
	"tafe/loop"
)

// HTTPError answers a request with a status when a handler returns it, wrapped or not.
type HTTPError struct {
	Status  int    // 400 to 599; any other is taken for 500
	Message string // for the client; empty: the status's own text
	Reason  string // for logs and counters, a slug of a bounded set; empty: that of the status
	Err     error  // for the log alone; may be nil
}

// Error returns an *HTTPError.
func Error(status int, message string) error { return &HTTPError{Status: status, Message: message} }

func (e *HTTPError) Error() string {
	s := fmt.Sprintf("%d %s", e.Status, e.text())
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *HTTPError) Unwrap() error { return e.Err }

func (e *HTTPError) text() string {
	if e.Message == "" {
		return http.StatusText(e.Status)
	}
	return e.Message
}

// Errors that handlers compare against.
var (
	// ErrClientGone cancels a request whose client closed the connection. It is a context.Canceled.
	ErrClientGone error = clientGone{}
	// ErrWritten: the request has its answer already.
	ErrWritten = errors.New("app: the answer is already written")
	// ErrContentLength: a Stream was given more, or fewer, bytes than its Content-Length header said.
	ErrContentLength = errors.New("app: the body differs from its Content-Length")
	// ErrBodyTimeout: the client stopped sending the request body. Returned by a handler, it answers 408.
	ErrBodyTimeout error = &HTTPError{Status: 408, Message: "the request body did not arrive in time"}
)

type clientGone struct{}

func (clientGone) Error() string        { return "app: the client is gone" }
func (clientGone) Is(target error) bool { return target == context.Canceled }

var (
	errNotFound         = &HTTPError{Status: 404}
	errMethodNotAllowed = &HTTPError{Status: 405}
	errHandlerTimeout   = &HTTPError{Status: 503, Message: "the request took too long"}
	errShuttingDown     = &HTTPError{Status: 503, Message: "the server is shutting down"}
	errInternal         = &HTTPError{Status: 500}
	errMountFull        = &HTTPError{Status: 503, Message: "too many requests are being served"}
	errOffloadFull      = &HTTPError{Status: 503, Message: "too much work is waiting"}
	errContentType      = errors.New("app: the content type holds a control character")
)

// Refusals of this package; like those of httpparse they end the connection.
var (
	refusedHeadTimeout = &httpparse.Error{Status: 408, Reason: "head-timeout", Detail: "the request head did not arrive in time"}
	refusedConnect     = &httpparse.Error{Status: 501, Reason: "connect", Detail: "CONNECT is not served here"}
	refusedBody        = &httpparse.Error{Status: 413, Reason: "body-too-large", Detail: "the body exceeds what the route takes"}
	refusedCut         = &httpparse.Error{Status: 400, Reason: "incomplete-body", Detail: "the connection ended before the body did"}
	refusedOverload    = &httpparse.Error{Status: 503, Reason: "too-many-tasks", Detail: "too many requests are being served"}
)

// reply is what an error turns into: the status, the text for the client, and the reason for counters and logs.
func (c *Context) reply(err error) (e *HTTPError, reason string) {
	var (
		http  *HTTPError
		parse *httpparse.Error
		fault *loop.PanicError
	)
	if e, ok := err.(*HTTPError); ok && e.Status >= 400 && e.Status <= 599 {
		return e, httpReason(e)
	}
	switch {
	case errors.As(err, &fault):
		return errInternal, "panic"
	case errors.Is(err, loop.ErrGoexit):
		return errInternal, "goexit"
	case errors.As(err, &http):
		if http.Status < 400 || http.Status > 599 {
			return errInternal, "handler-error"
		}
		return http, httpReason(http)
	case errors.As(err, &parse) && parse.Status >= 500: // ours or an upstream's: the client learns no details
		return &HTTPError{Status: parse.Status}, parse.Reason
	case parse != nil:
		return &HTTPError{Status: parse.Status, Message: parse.Detail}, parse.Reason
	case errors.Is(err, loop.ErrOffloadFull):
		return errOffloadFull, "offload-full"
	case errors.Is(err, loop.ErrShutdown):
		return errShuttingDown, "shutdown"
	case c.timedOut:
		return errHandlerTimeout, "handler-timeout"
	}
	return errInternal, "handler-error"
}

func httpReason(e *HTTPError) string {
	switch {
	case e.Reason != "":
		return e.Reason
	case e == ErrBodyTimeout:
		return "body-timeout"
	case e == errHandlerTimeout:
		return "handler-timeout"
	case e == errMountFull:
		return "mount-full"
	case e.Status >= 500:
		return "handler-error"
	}
	return ""
}

// wantsJSON tells whether the client would rather read JSON than text.
func (c *Context) wantsJSON() bool {
	accept := c.HeaderList("Accept")
	return strings.Contains(accept, "application/json") ||
		accept == "" && strings.HasPrefix(c.Header("Content-Type"), "application/json")
}
