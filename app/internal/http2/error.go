// Errors: each has a code for the peer, and a reason for logs and metrics.

package http2

import (
	"errors"

	xhttp2 "golang.org/x/net/http2"
)

// Error is why this side ends a stream or a connection. All are package-level values: compare them by pointer.
type Error struct {
	Code   xhttp2.ErrCode
	Reason string // slug for logs and metrics
	Detail string // one sentence
	// Stream is set if the error ends one stream, and not the connection.
	Stream bool
}

// Timeout reports whether the peer was too late.
func (e *Error) Timeout() bool { return e == errHeadLate || e == errSettingsLate || e == ErrStalled }

func (e *Error) Error() string {
	return "http2: " + e.Code.String() + " " + e.Reason + ": " + e.Detail
}

// ResetError is the end of a stream by RST_STREAM of the peer.
type ResetError struct{ Code xhttp2.ErrCode }

func (e ResetError) Error() string { return "http2: the peer has reset the stream: " + e.Code.String() }

var (
	// ErrClosed means that the connection has ended.
	ErrClosed = errors.New("http2: the connection has ended")
	// ErrNotProcessed means that the peer has not processed the stream, so that its request may be sent again (RFC
	// 9113 section 8.7).
	ErrNotProcessed = errors.New("http2: the peer has not processed the request")
	// ErrSilent means that the peer has not answered Conn.Probe.
	ErrSilent = errors.New("http2: the peer does not answer")
	// ErrStreamsMax means that the peer allows no further stream now.
	ErrStreamsMax = errors.New("http2: the peer allows no further stream")
)

// Errors of a connection, which are sent in GOAWAY.
var (
	errPreface      = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-preface", Detail: "the connection does not begin with the preface and SETTINGS (RFC 9113 section 3.4)"}
	errFrameSize    = &Error{Code: xhttp2.ErrCodeFrameSize, Reason: "h2-frame-size", Detail: "a frame has a wrong length (RFC 9113 section 4.2)"}
	errFrameStream  = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-frame-stream", Detail: "a frame is on a stream where its type is not allowed (RFC 9113 section 6)"}
	errPadding      = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-padding", Detail: "the padding is as long as the frame (RFC 9113 section 6.1)"}
	errSequence     = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-frame-sequence", Detail: "a field section is interrupted, or continued without a begin (RFC 9113 section 4.3)"}
	errIdleStream   = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-idle-stream", Detail: "a frame is on an idle stream (RFC 9113 section 5.1)"}
	errClosedStream = &Error{Code: xhttp2.ErrCodeStreamClosed, Reason: "h2-closed-stream", Detail: "HEADERS on a closed stream (RFC 9113 section 5.1)"}
	errStreamID     = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-stream-id", Detail: "the number of a new stream is not valid (RFC 9113 section 5.1.1)"}
	errSettings     = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-settings", Detail: "a setting has an invalid value (RFC 9113 section 6.5.2)"}
	errWindowSet    = &Error{Code: xhttp2.ErrCodeFlowControl, Reason: "h2-window", Detail: "a window is larger than 2^31-1 (RFC 9113 section 6.9)"}
	errWindowZero   = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-window-zero", Detail: "WINDOW_UPDATE of 0 (RFC 9113 section 6.9)"}
	errFlow         = &Error{Code: xhttp2.ErrCodeFlowControl, Reason: "h2-flow-control", Detail: "more DATA than the window of the connection (RFC 9113 section 6.9)"}
	errCompression  = &Error{Code: xhttp2.ErrCodeCompression, Reason: "h2-compression", Detail: "a field section cannot be decoded (RFC 9113 section 4.3)"}
	errPush         = &Error{Code: xhttp2.ErrCodeProtocol, Reason: "h2-push", Detail: "PUSH_PROMISE is not allowed (RFC 9113 section 8.4)"}
	errSettingsLate = &Error{Code: xhttp2.ErrCodeSettingsTimeout, Reason: "h2-settings-timeout", Detail: "the peer has not acknowledged SETTINGS (RFC 9113 section 6.5.3)"}
	errHeadLate     = &Error{Code: xhttp2.ErrCodeEnhanceYourCalm, Reason: "h2-head-timeout", Detail: "a field section or the preface was not completed in time"}

	errHeaderBomb    = &Error{Code: xhttp2.ErrCodeEnhanceYourCalm, Reason: "h2-header-bomb", Detail: "a field section is far larger than the limit when it is decoded"}
	errContinuations = &Error{Code: xhttp2.ErrCodeEnhanceYourCalm, Reason: "h2-continuations", Detail: "a field section has too many CONTINUATION frames or bytes"}
	errResets        = &Error{Code: xhttp2.ErrCodeEnhanceYourCalm, Reason: "h2-resets", Detail: "the peer has streams reset too often"}
	errControl       = &Error{Code: xhttp2.ErrCodeEnhanceYourCalm, Reason: "h2-control-frames", Detail: "too many SETTINGS, PING, PRIORITY or WINDOW_UPDATE frames without other traffic"}
	errEmptyFrames   = &Error{Code: xhttp2.ErrCodeEnhanceYourCalm, Reason: "h2-empty-frames", Detail: "too many DATA frames without data"}

	// ErrInadequateSecurity is for a connection whose TLS version or cipher suite HTTP/2 does not allow (RFC 9113
	// section 9.2).
	ErrInadequateSecurity = &Error{Code: xhttp2.ErrCodeInadequateSecurity, Reason: "h2-inadequate-security", Detail: "HTTP/2 needs TLS 1.2 with an AEAD cipher suite and forward secrecy, or TLS 1.3 (RFC 9113 section 9.2)"}
)

// Errors of a stream, which are sent in RST_STREAM.
var (
	errDataClosed    = &Error{Stream: true, Code: xhttp2.ErrCodeStreamClosed, Reason: "h2-closed-stream", Detail: "DATA on a closed stream (RFC 9113 section 5.1)"}
	errStreamFlow    = &Error{Stream: true, Code: xhttp2.ErrCodeFlowControl, Reason: "h2-flow-control", Detail: "more DATA than the window of the stream (RFC 9113 section 6.9)"}
	errStreamWindow  = &Error{Stream: true, Code: xhttp2.ErrCodeFlowControl, Reason: "h2-window", Detail: "the window of a stream is larger than 2^31-1 (RFC 9113 section 6.9.1)"}
	errStreamZero    = &Error{Stream: true, Code: xhttp2.ErrCodeProtocol, Reason: "h2-window-zero", Detail: "WINDOW_UPDATE of 0 on a stream (RFC 9113 section 6.9)"}
	errLength        = &Error{Stream: true, Code: xhttp2.ErrCodeProtocol, Reason: "h2-content-length", Detail: "the body is not as long as content-length (RFC 9113 section 8.1.1)"}
	errTrailers      = &Error{Stream: true, Code: xhttp2.ErrCodeProtocol, Reason: "h2-trailers", Detail: "a trailer section is not valid (RFC 9113 section 8.1)"}
	errLargeTrailers = &Error{Stream: true, Code: xhttp2.ErrCodeEnhanceYourCalm, Reason: "trailer-too-large", Detail: "a trailer section exceeds TrailerBytesMax, HeadBytesMax or FieldsMax"}
	errDependency    = &Error{Stream: true, Code: xhttp2.ErrCodeProtocol, Reason: "h2-dependency", Detail: "a stream depends on itself (RFC 7540 section 5.3.1)"}
	errPrioritySize  = &Error{Stream: true, Code: xhttp2.ErrCodeFrameSize, Reason: "h2-frame-size", Detail: "a PRIORITY frame has a wrong length (RFC 9113 section 6.3)"}
	errRefusedStream = &Error{Stream: true, Code: xhttp2.ErrCodeRefusedStream, Reason: "h2-streams-max", Detail: "more streams than SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 section 5.1.2)"}

	// ErrStalled means that the peer takes no output of a stream.
	ErrStalled = &Error{Stream: true, Code: xhttp2.ErrCodeCancel, Reason: "write-timeout", Detail: "the peer does not open the windows for output that waits"}

	// ErrMalformed is for a request or response whose fields are not valid (RFC 9113 section 8.1.1).
	ErrMalformed = &Error{Stream: true, Code: xhttp2.ErrCodeProtocol, Reason: "h2-malformed", Detail: "the fields of a message are not valid (RFC 9113 section 8.1.1)"}
)
