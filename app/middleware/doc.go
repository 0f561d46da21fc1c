// Package middleware provides middlewares for package app. Each file has one, independent of the others:
//
//	requestid.go    sends the request ID to the client
//	accesslog.go    writes an access log; accesslogformat.go has its formats
//	timeout.go      limits the duration of handlers
//	bodylimit.go    limits the size of request bodies
//	concurrency.go  limits the number of requests in progress
//	shed.go         refuses a share of requests while a loop is overloaded
//	compress.go     compresses responses
//	ratelimit.go    limits the request rate of each client
//	ipallow.go      admits or refuses networks
//	basicauth.go    HTTP Basic authentication (RFC 7617)
//	forwardauth.go  authorization by an external server; forwardauthcache.go has its cache
//	cors.go         cross-origin resource sharing (Fetch standard)
//	secure.go       security headers
//
// There is no middleware for panics: the server answers them with 500 and logs the stack.
//
// Constructors panic if their arguments are invalid. The middlewares that they return are safe for concurrent use. Use App.Use for those
// that must also see requests without a route, such as CORS and Secure. Put cheap limits outside of expensive checks, such as RateLimit
// outside of BasicAuth.
package middleware
