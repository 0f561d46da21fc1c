// Package proxy forwards requests to upstream servers, on the loop that received them.
//
// A [Group] is a set of equivalent servers. It balances requests, excludes servers that fail or whose health check fails,
// and bounds retries. Several routes may share a group. A group outlives its routes: a reload that keeps a group keeps its
// connections and the state of its servers. [New] returns a [Forwarder] that forwards requests to a group and rewrites
// requests and responses.
//
// # Forwarding
//
// A request is never forwarded as raw bytes. It is serialized from its parsed parts, so that the upstream receives exactly
// one request for one request of the client, with framing set by the proxy (RFC 9112 section 11.2). Hop-by-hop fields are
// removed, including those that Connection names (RFC 9110 section 7.6.1). Trailers are forwarded where both sides take
// them. The path is normalized (RFC 3986 section 6.2.2), so that the upstream sees the path that was
// routed. Bodies are streamed in both directions with backpressure. A request body of up to BodyMemoryMax bytes is read
// completely first, so that a slow client does not occupy an upstream connection. Expect: 100-continue is answered by the
// proxy. If a server of HTTP/1 responds before the request is complete, the rest of the request is not sent; with
// HTTP/2 both directions go on at once. If a response is truncated, the client's connection is aborted.
//
// # The parts, in reading order
//
//	group.go       Group: options, start and end
//	roster.go      the servers of a group, and how they change
//	names.go       host names: lookups of A, AAAA and SRV records
//	balance.go     selection of a server
//	queue.go       requests that wait for a server
//	sticky.go      the cookie that binds a client to a server
//	health.go      availability: failures, health checks, the retry budget
//	forward.go     Forwarder: one request, its tries, its response
//	send.go        Group.Do: requests of this process
//	preface.go     the client's address and certificate for the server
//	header.go      the fields that are forwarded or added
//	trailer.go     trailers in both directions
//	grpc.go        gRPC: deadlines, status, health checks
//	hops.go        Via, Max-Forwards, Upgrade
//	target.go      the path and its normal form
//	rewriteback.go paths in responses
//	tunnel.go      connections that have switched protocols
//	operate.go     what operators change, and what a later group inherits
//	stats.go       counters
//
// # Goroutines
//
// The methods of a Group may be called from any goroutine. Handlers run as tasks.
package proxy
