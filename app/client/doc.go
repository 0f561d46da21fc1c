// Package client is an HTTP/1.1 client for event loops. A call from a task
// parks the task, never its loop; a call from any other goroutine blocks that
// goroutine alone.
//
// A [Client] keeps idle connections in one pool per loop, without locks, and in
// one locked pool for all other goroutines. [Client.Do] sends a [Request] and
// fills a [Response], whose body is read from the connection only as fast as
// the caller reads it. A connection carries the next request only if the last
// response was read to its very end and not one byte came after it.
//
// It does what it is told: no redirects, cookies, caches, decompression or
// proxies from the environment.
//
// # The parts, in reading order
//
//	client.go    Options, Client, Do
//	request.go   Request: its checks and its head on the wire
//	exchange.go  one request on its way: tries, stale connections
//	interrupt.go waiting, and what ends it from outside
//	send.go      writing, and noticing an answer that came early
//	receive.go   reading the head; where the body ends
//	response.go  Response: what the caller sees
//	pool.go      idle connections, connection slots and who waits for them
//	slots.go     the bound over all pools
//	conn.go      one connection: dialling, TLS, and whether it is still clean
//	records.go   TLS, read so that nothing hides in it
//	late.go      an answer that nobody waits for any more
//	hedge.go     a second request when the first is late, within a budget
//	latency.go   the live estimate of how late is late
//	error.go     what can go wrong, and at which stage
//
// It imports loop and httpparse and nothing above them.
package client
