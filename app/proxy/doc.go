// Package proxy passes requests on to upstream servers, on the loop that received them.
//
// A [Group] is a set of servers that can answer the same requests: it balances, leaves out servers that fail or whose
// health check does, and bounds retries. It may be shared by any number of routes, and outlives them: a reload that keeps a
// group keeps its connections and what it knows of its servers. [New] makes an app.Handler of a group and the rules by which
// requests and answers are rewritten.
//
// # What is passed on
//
// Nothing of a request's bytes: its parsed parts are written anew, so that the upstream sees exactly one request for one of
// the client's, framed by this side (RFC 9112 section 11.2). Hop-by-hop fields stay behind, also those that Connection names
// (RFC 9110 section 7.6.1), and so do trailers, which are optional to forward (section 6.5.1). The path goes on in its
// normal form (RFC 3986 section 6.2.2): what the router saw is what the upstream gets. Bodies are streamed both ways with
// back-pressure; a request body that fits in BodyMemoryMax is gathered first, so that a slow client holds no upstream.
// Expect: 100-continue is answered here. A server that answers while
// its request is still on its way is sent no more of it. An answer that breaks off breaks the client's connection off.
//
// # The parts, in reading order
//
//	group.go    Group: options, servers, start and end
//	balance.go  who is asked: the policies
//	health.go   who is left out: failures, checks, the retry budget
//	forward.go  Handler: one request, its tries, its answer
//	header.go   which fields go on, and what is added
//	target.go   the path and its normal form
//	tunnel.go   connections that stop being HTTP
//	stats.go    what is counted
//
// # Goroutines
//
// A Group's methods may be called by any goroutine. Handlers run as tasks.
package proxy
