// Package client is an HTTP client for event loops, for HTTP/1.1 or HTTP/2 (Options.Protocol). A call in a task parks the
// task and not its loop; a call in any other goroutine blocks that goroutine.
//
// A [Client] keeps idle connections in one pool per loop, without locks, and in one locked pool for all other goroutines.
// [Client.Do] sends a [Request] and fills a [Response]. The response body is read from the connection only as fast as the
// caller reads it. A connection is reused only if the last response was read to its end and no byte follows it.
//
// The client follows no redirects, keeps no cookies or cache, decompresses nothing and ignores the proxy variables of the
// environment.
//
// # The parts, in reading order
//
//	client.go    Options, Client, Do
//	request.go   Request: validation and its head
//	call.go      one request: tries and stale connections
//	exchange.go  what a call needs from its protocol
//	http1.go     HTTP/1
//	http2.go     HTTP/2 on a loop: the stream of a call
//	http2send.go sending its request
//	http2head.go its heads
//	mux.go       connections of HTTP/2 in the pool
//	transport.go HTTP/2 outside of tasks
//	interrupt.go waiting and interruption
//	send.go      HTTP/1: writing, and early responses
//	receive.go   HTTP/1: reading the head and the body
//	response.go  Response
//	pool.go      idle connections, slots and wait queues
//	slots.go     the bound on all pools
//	conn.go      one connection: dialing, TLS, the check before reuse
//	records.go   reading TLS record by record
//	usercode.go  calls of the caller's code
//	brief.go     loops that exist for one request
//	late.go      responses to abandoned requests
//	hedge.go     a second request when the first is late, within a budget
//	latency.go   the latency estimate for hedging
//	roundtrip.go net/http.Client on a Client (its bodies: roundtripbody.go)
//	error.go     errors, by kind and stage
//
// The package imports loop, loop/reactor and httpparse, and nothing above them.
package client
