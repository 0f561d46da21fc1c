// Errors of a request.

package client

import (
	"errors"
	"fmt"
	"net"
)

// Kind classifies an Error. It tells whether another try can help.
type Kind uint8

// The kinds of Error.
const (
	KindRequest   Kind = iota + 1 // the request is invalid; nothing was sent
	KindBusy                      // all connections are in use and the wait queue is full
	KindDial                      // no connection could be opened
	KindTimeout                   // the stage exceeded its time bound
	KindProtocol                  // the server violated HTTP or exceeded Options.Limits
	KindLost                      // the connection was closed or failed
	KindCancelled                 // the caller's context or task was cancelled; Err is the cause
)

var kindNames = [...]string{"", "bad request", "busy", "dial failed", "timeout", "protocol error", "connection lost", "cancelled"}

func (k Kind) String() string { return kindNames[k] }

// Stage is the step in which a request failed.
type Stage uint8

// The stages of a request, in order.
const (
	StagePrepare Stage = iota + 1 // validating the request
	StagePool                     // waiting for a free connection
	StageDial                     // connecting
	StageTLS                      // the TLS handshake
	StageWrite                    // sending the request
	StageHead                     // waiting for the response head
	StageBody                     // reading the response body
)

var stageNames = [...]string{"", "request", "pool", "dial", "TLS handshake", "request write", "response head", "response body"}

func (s Stage) String() string { return stageNames[s] }

// Error is the error of a failed request.
type Error struct {
	Kind   Kind
	Stage  Stage
	Addr   string // host:port or unix:/path of the server; may be empty for KindRequest
	Reused bool   // the connection had carried an earlier request
	// Answered reports whether part of a response had been received. Such a request is not sent again.
	Answered bool
	// Unprocessed reports that the server has said that it has not processed the request, so that it may be sent again
	// whatever its method (RFC 9113 section 8.7). The body must not have been read from a Stream.
	Unprocessed bool
	Err         error
}

func (e *Error) Error() string {
	where := e.Addr
	if where == "" {
		where = "no address"
	}
	return fmt.Sprintf("client: %s: %s: %s: %v", where, e.Stage, e.Kind, e.Err)
}

// Unwrap returns the cause. For KindProtocol it is an *httpparse.Error, an error of HTTP/2, ErrInterim, ErrSwitch or
// ErrBodyTooLarge; for KindRequest an error of this package or of the body's reader; for KindBusy an error of this
// package; for KindCancelled the cause of the cancellation. Otherwise it is usually the error of the socket.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether a time bound was exceeded, as net.Error does.
func (e *Error) Timeout() bool { return e.Kind == KindTimeout }

// Errors wrapped by an Error, besides those of the socket and of httpparse.
var (
	ErrClosed        = errors.New("closed")
	ErrQueueFull     = errors.New("too many requests are waiting for a connection")
	ErrURL           = errors.New("the URL is not http or https with a plain host")
	ErrReservedField = errors.New("this field is set by the client")
	ErrMethod        = errors.New("CONNECT is not supported")
	ErrBody          = errors.New("both Body and Stream are set")
	ErrBodyShort     = errors.New("the request body ended before its declared length")
	ErrBodyTooLarge  = errors.New("the body is too large")
	ErrSwitch        = errors.New("101 to a protocol that was not requested")
	ErrInterim       = errors.New("the interim responses are too large")
	ErrField         = errors.New("a header field is not valid")
	ErrMethodName    = errors.New("the method is not a token")
	ErrProtocol      = errors.New("the protocol of the client needs https for h2, and http for h2c")
	ErrPreface       = errors.New("HTTP/2 has no connection for one request, which a Preface needs")
	ErrUpgrade       = errors.New("HTTP/2 has no Upgrade")
	ErrTrailer       = errors.New("a trailer field is not valid")
	ErrNoUpgrade     = errors.New("the response is not 101 Switching Protocols")
	errLate          = timeoutError{}
	errHedgeLost     = errors.New("the other request of a hedge was faster")
)

// timeoutError is the error of a Request.Timeout that passed while no network operation was in progress.
type timeoutError struct{}

func (timeoutError) Error() string   { return "request timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// kindOf returns the Kind of an *Error, and 0 for any other error.
func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
