// The wire of a request: what a Context needs from an HTTP/1 connection (http1.go, http1wire.go) or from a stream of HTTP/2 (http2.go,
// http2wire.go). Contexts and all that is built on them use it through this interface only.

package app

import (
	"time"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

// wire carries one request at a time and its response. Its methods are for the loop, and for the request's task after Enter. Body bytes are
// appended to the wire's buffers, and not passed, so that the arguments of response methods do not escape to the heap.
type wire interface {
	// reactorConn returns the connection: for addresses, TLS, labels, and buffers of the loop's pool.
	reactorConn() *reactor.Conn
	// listener returns the Listener of the connection, or nil.
	listener() *Listener
	// tlsName returns the connection's place for a tlsName.
	tlsName() **tlsName
	// closed reports whether the client can be answered no more.
	closed() bool
	// abort ends the response so that the client notices that it is incomplete. Output that was not sent is dropped.
	abort(err error)
	// breakOff is abort after the output was sent.
	breakOff(err error)
	// answered ends the request, after its response.
	answered(c *Context)
	// take ends HTTP on the byte stream, and returns it without a Handler. If no response head was sent, what is written to it begins with one of
	// HTTP/1.
	take(c *Context) (*reactor.Conn, error)
	// unsent returns how many bytes of the response are unsent.
	unsent() int

	// input returns the bytes of the body that have arrived, framed as c.req.Framing says; consume removes them.
	input() []byte
	consume(n int)
	inputEnded() bool
	// setTimeout calls body.timeOut after d; d <= 0 removes it.
	setTimeout(d time.Duration)

	// interim sends an interim response, if the client takes one. The fields are valid.
	interim(c *Context, status int, fields []httpparse.Header)
	// begin sends a response head, and sets response.framing. length is that of the body, -1 if unknown. For bytes > 0 it is followed by more.
	begin(c *Context, status int, contentType string, length int64, bytes int) (out []byte, room int)
	// more returns a buffer to which the caller appends up to room of the next bytes of the body, and then passes it to commit. room is
	// at least 1, and at most bytes, which is at least 1.
	more(c *Context, bytes int) (out []byte, room int)
	// commit sends the n bytes that were appended to out. last says that the body is complete; finish is not called then.
	commit(c *Context, out []byte, n int, last bool)
	// finish ends the body of a Stream, with the trailers of c.
	finish(c *Context)
	// backlog waits, in the task of c, while too many bytes are unsent. The error is ErrClientGone or the cause of a cancellation.
	backlog(c *Context) error
	// direct returns the connection if the bytes of the body are written to it as they are, otherwise nil.
	direct(c *Context) *reactor.Conn
}

// put writes p to the body without waiting.
func (c *Context) put(p []byte) {
	for len(p) > 0 {
		out, n := c.wire.more(c, len(p))
		c.wire.commit(c, append(out, p[:n]...), n, false)
		p = p[n:]
	}
}

// headed records that a head with this status is being sent.
func (c *Context) headed(status int) {
	c.resp.status, c.resp.sent = status, true
	c.state.counts.ByClass[status/100%len(c.state.counts.ByClass)]++
}

// Proto returns the protocol version of the request: "HTTP/1.0", "HTTP/1.1" or "HTTP/2.0".
func (c *Context) Proto() string { return protoNames[protoOf(c.req.Major, c.req.Minor)] }

var protoNames = [protosCount]string{"HTTP/1.0", "HTTP/1.1", "HTTP/2.0"}

// EachProto yields the protocol versions and the number of requests that used each.
func (s *Counters) EachProto(yield func(proto string, requests uint64)) {
	for i, name := range protoNames {
		yield(name, s.Protos[i])
	}
}

// protosCount is the number of protocol versions that are told apart.
const protosCount = 3

// protoOf returns the index of a version in protoNames.
func protoOf(major, minor uint8) int {
	switch {
	case major == 2:
		return 2
	case minor > 0:
		return 1
	}
	return 0
}
