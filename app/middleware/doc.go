// Package middleware holds what many services want around their handlers. Each file is one middleware (or, for the
// access log, one sink), built on nothing but the public face of package app, and none knows another:
//
//	requestid.go    tells the client the id of its request
//	accesslog.go    writes a line per answer, on a goroutine of its own
//	timeout.go      bounds the time of what it surrounds
//	bodylimit.go    bounds the request body of what it surrounds
//	concurrency.go  bounds how many requests are inside at once
//	shed.go         refuses a part of them while loops cannot keep up
//	compress.go     compresses answers on the way
//	ratelimit.go    bounds how many requests one client may make
//	ipallow.go      admits or refuses networks
//	basicauth.go    admits users
//	cors.go         lets pages of other origins in (Fetch standard)
//	secure.go       response headers that tell browsers to be careful
//
// A panic needs no middleware: the server answers it with 500 and logs the handler's stack.
//
// Constructors panic where their arguments contradict themselves: they run once, before anything is served. What they
// return is safe for all loops at once. Where the order matters: App.Use for what must see requests that no route
// takes (CORS, Secure), and limits outside of what costs (RateLimit before BasicAuth).
package middleware
