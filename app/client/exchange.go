// The interface between a call and its protocol. http1.go has HTTP/1, http2.go HTTP/2 on a loop, and transport.go HTTP/2 elsewhere.

package client

import (
	"net"

	"tafe/httpparse"
)

// Protocol is the protocol that a Client speaks.
type Protocol string

// The protocols. A Client speaks one of them to all servers.
const (
	HTTP1 Protocol = "http/1.1" // the default
	HTTP2 Protocol = "h2"       // HTTP/2 over TLS, selected by ALPN (RFC 9113 section 3.2)
	H2C   Protocol = "h2c"      // HTTP/2 without TLS, by prior knowledge (RFC 9113 section 3.3)
)

// Multiplexed reports whether a connection carries several requests at once.
func (p Protocol) Multiplexed() bool { return p == HTTP2 || p == H2C }

// exchange is the request and the response of a call, in one protocol. It belongs to the call for good. Its methods are for the goroutine of
// the call, inside.
type exchange interface {
	// prepare serializes the request. length is that of the body, chunkedBody or noBody.
	prepare(req *Request, d destination, length int64, traceparent string) error
	// copyRequest takes the request of another call, whose call.out was copied.
	copyRequest(from exchange)
	// start sends the request once, receives the head of the response in call.head, and begins its body. fresh asks for a new connection.
	start(fresh bool) error
	// direct reports whether receive suits a buffer of n bytes. Otherwise fill is called.
	direct(n int) bool
	// receive reads bytes of the body into p. If it returns 0, call.end is set or it may be called again.
	receive(p []byte) int
	// fill reads bytes of the body into call.buf, or sets call.end. It may do neither.
	fill()
	// left returns how many bytes of the body receive will return; -1 if unknown.
	left() int64
	// trailers returns the trailers of a body that has ended.
	trailers() []httpparse.Header
	// switched returns the connection after a switch of protocols.
	switched() (net.Conn, error)
	// abandon releases the connection after a failed try.
	abandon(reason error)
	// release releases the connection, if it is held. complete reports whether the response had been received completely.
	release() (complete bool)
}

// newExchange returns the exchange of a new call.
func (x *call) newExchange() exchange {
	switch {
	case !x.options().Protocol.Multiplexed():
		return (*http1)(x)
	case x.pool.loop != nil:
		return &http2Exchange{x: x}
	}
	return &transportExchange{x: x}
}
