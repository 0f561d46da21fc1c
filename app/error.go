// Errors of handlers and of this package, and the response that each is answered with. conclude.go writes the response.

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

// HTTPError is an error with a response. A handler returns it, wrapped or not.
type HTTPError struct {
	Status  int    // 400 to 599; other values are answered with 500
	Message string // sent to the client; default: the text of the status
	Reason  string // slug for logs and counters, from a bounded set; default: "handler-error" for 5xx, otherwise none
	Err     error  // cause, for the log only; may be nil
}

// Error returns an *HTTPError with a status and a message for the client.
func Error(status int, message string) error { return &HTTPError{Status: status, Message: message} }

// Error returns the status, the message and Err.
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

// Errors that a Context returns.
var (
	// ErrClientGone is the error of a request whose connection has ended. errors.Is matches it with context.Canceled.
	ErrClientGone error = clientGone{}
	// ErrWritten means that the response was written already.
	ErrWritten = errors.New("app: the response is already written")
	// ErrContentLength means that a body is longer or shorter than its Content-Length header.
	ErrContentLength = errors.New("app: the body differs from its Content-Length")
	// ErrBodyTimeout means that the request body did not arrive in time; see Options.BodyTimeout and BodyRateMin. It answers 408.
	ErrBodyTimeout error = &HTTPError{Status: 408, Message: "the request body did not arrive in time"}
)

type clientGone struct{}

func (clientGone) Error() string        { return "app: the client has disconnected" }
func (clientGone) Is(target error) bool { return target == context.Canceled }

var (
	errNotFound         = &HTTPError{Status: 404}
	errMethodNotAllowed = &HTTPError{Status: 405}
	errHandlerTimeout   = &HTTPError{Status: 503, Message: "the request took too long"}
	errShuttingDown     = &HTTPError{Status: 503, Message: "the server is shutting down"}
	errInternal         = &HTTPError{Status: 500}
	errMountFull        = &HTTPError{Status: 503, Message: "too many requests are being served"}
	errQueueFull        = &HTTPError{Status: 503, Message: "too many requests are waiting"}
	errOffloadFull      = &HTTPError{Status: 503, Message: "too much work is waiting"}
	errContentType      = errors.New("app: the content type has a control character")
)

// Refusals of requests. Like the errors of httpparse, they close the connection.
var (
	refusedHeadTimeout = &httpparse.Error{Status: 408, Reason: "head-timeout", Detail: "the request head did not arrive in time"}
	refusedConnect     = &httpparse.Error{Status: 501, Reason: "connect", Detail: "CONNECT is not supported"}
	refusedBody        = &httpparse.Error{Status: 413, Reason: "body-too-large", Detail: "the body exceeds the limit of the route"}
	refusedCut         = &httpparse.Error{Status: 400, Reason: "incomplete-body", Detail: "the connection ended before the body did"}
	refusedOverload    = &httpparse.Error{Status: 503, Reason: "too-many-tasks", Detail: "too many requests are being served"}
)

// reply returns the response to an error, and the reason for counters and logs.
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
	case errors.As(err, &parse) && parse.Status >= 500 && parse != c.refusal: // of the server or an upstream: no details for the client
		return &HTTPError{Status: parse.Status}, parse.Reason
	case parse != nil:
		return &HTTPError{Status: parse.Status, Message: parse.Detail}, parse.Reason
	case errors.Is(err, loop.ErrQueueFull):
		return errQueueFull, "queue-full"
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

// WantsJSON reports whether error responses to the client should be JSON.
func (c *Context) WantsJSON() bool {
	accept := c.HeaderListView("Accept")
	return strings.Contains(accept, "application/json") ||
		accept == "" && strings.HasPrefix(c.HeaderView("Content-Type"), "application/json")
}
