// Package http2 is HTTP/2 (RFC 9113) on a connection of package reactor. It implements client and server, but does not
// interpret fields; packages app and client do. It bounds what a peer can cost.
//
// A [Conn] reads and writes the frames of one connection, a [Stream] is one request and its response. [Shared] is what
// the connections of one loop share. Everything here belongs to the goroutine of the loop, and to its running task
// between Task.Enter and Task.Leave; the methods do not enter by themselves. Handlers are called outside of tasks and
// must not wait.
//
// # The files, in reading order
//
//	frame.go      frame headers, and the frames that this side writes
//	encode.go     field sections that this side writes; stateless HPACK
//	decode.go     field sections that the peer writes; HPACK with bounds
//	error.go      errors of connections and streams, with codes and reasons
//	limits.go     Limits, and Shared
//	flow.go       the windows of flow control
//	ratelimit.go  rate limits for frames that cost this side more than the peer
//	conn.go       Conn: its input, its settings, its end
//	probe.go      a check whether the peer is still there
//	receive.go    one frame that has arrived, by type
//	fields.go     HEADERS and CONTINUATION: the begin and the trailers of streams
//	stream.go     Stream: its states and its input
//	output.go     its output
//	schedule.go   which stream sends next; RFC 9218
//	transport.go  a Stream as the transport of a connection, for tunnels
package http2
