package client

// This file owns what can go wrong with a request. It refuses to know who is
// told.

import (
	"errors"
	"fmt"
	"net"
)

// Kind says whose fault it is, and with that whether another try can help.
type Kind uint8

// The kinds of Error.
const (
	KindRequest   Kind = iota + 1 // the request is not one that may be sent; nothing was sent
	KindBusy                      // every connection is in use and the queue for them is full
	KindDial                      // no connection could be made
	KindTimeout                   // the stage took longer than it may
	KindProtocol                  // the peer broke HTTP or exceeded Options.Limits
	KindLost                      // the connection ended or failed
	KindCancelled                 // the caller's context or task was cancelled; Err is the cause
)

var kindNames = [...]string{"", "bad request", "busy", "dial failed", "timeout", "protocol error", "connection lost", "cancelled"}

func (k Kind) String() string { return kindNames[k] }

// Stage is what the request was doing.
type Stage uint8

// The stages of a request, in order.
const (
	StagePrepare Stage = iota + 1 // checking the request
	StagePool                     // waiting for a connection to be free
	StageDial                     // connecting
	StageTLS                      // the TLS handshake
	StageWrite                    // sending the request
	StageHead                     // waiting for the response head
	StageBody                     // reading the response body
)

var stageNames = [...]string{"", "request", "pool", "dial", "TLS handshake", "request write", "response head", "response body"}

func (s Stage) String() string { return stageNames[s] }

// Error is the error of every failed request.
type Error struct {
	Kind   Kind
	Stage  Stage
	Addr   string // host:port or unix:/path that was asked; may be empty for KindRequest
	Reused bool   // the connection had carried another request before
	// Answered: some of a response had come. Such a request is not sent again.
	Answered bool
	Err      error
}

func (e *Error) Error() string {
	where := e.Addr
	if where == "" {
		where = "no address"
	}
	return fmt.Sprintf("client: %s: %s: %s: %v", where, e.Stage, e.Kind, e.Err)
}

// Unwrap gives the reason: an *httpparse.Error for KindProtocol, the cause of
// the cancellation for KindCancelled, the socket's error otherwise.
func (e *Error) Unwrap() error { return e.Err }

// Timeout tells whether a time bound was exceeded, as net.Error does.
func (e *Error) Timeout() bool { return e.Kind == KindTimeout }

// Reasons that an Error wraps, besides those of the socket and of httpparse.
var (
	ErrClosed        = errors.New("closed")
	ErrQueueFull     = errors.New("too many requests are waiting for a connection")
	ErrURL           = errors.New("the URL is not http or https with a plain host")
	ErrReservedField = errors.New("this field is the client's to compute")
	ErrMethod        = errors.New("CONNECT has no meaning here")
	ErrBody          = errors.New("a request has one body: Body or Stream")
	ErrBodyShort     = errors.New("the request body ended before its declared length")
	ErrBodyTooLarge  = errors.New("the body exceeds its bound")
	ErrSwitch        = errors.New("101 to a protocol that was not asked for")
	ErrInterim       = errors.New("the interim responses are too large")
	ErrNoUpgrade     = errors.New("the response is not 101 Switching Protocols")
	errOutrun        = errors.New("another try of the same request was faster")
)

// kindOf returns the Kind of an error of this package, 0 for any other.
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
