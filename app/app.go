// Package app serves HTTP/1 and HTTP/2: routes, middlewares, handlers, and the connections that carry their requests.
//
// A [Handler] is straight-line code that runs as a task on the event loop of its connection. Calls on its [Context] may wait; the loop
// serves other requests meanwhile. A handler that holds its loop for too long is handed off: another goroutine takes the loop over, and
// the handler runs on beside it. See docs/cooperative.md.
//
// # Files, in reading order
//
//	app.go          App: options and registration
//	route.go        Handler, Middleware, Route, and the grammar of patterns
//	host.go         Host: the routes of one site, and the lookup of a Host
//	misdirected.go  421 for requests on a TLS connection of another host
//	router.go       the lookup of a route by method and path
//	match.go        further conditions of routes: headers, query, cookies, client, regular expression
//	path.go         normalization of paths, and path parameters
//	rewrite.go      another path and query for the handler
//	group.go        routes with a common prefix and common middlewares
//	context.go      Context: the request; view.go has its strings without a copy
//	clientip.go     client address and scheme behind trusted proxies
//	body.go         the request body: whole, streamed or discarded; its minimum rate in bodyrate.go
//	json.go         JSON bodies
//	form.go         urlencoded and multipart bodies
//	bind.go         path, query, headers, cookies and bodies into a struct; bindplan.go has its fields
//	cookie.go       cookies; cookiekeys.go signs them
//	requestheader.go  changes of request headers by middlewares
//	limit.go        deadlines and body limits set by middlewares
//	response.go     response heads and bodies of known length
//	fields.go       list-valued headers, and headers of upstream responses
//	stream.go       streamed responses; push.go sends pieces that were not flushed
//	coding.go       content coding of responses
//	file.go         files as responses, by package static
//	hooks.go        entry points for packages that extend this one
//	upgrade.go      Hijack
//	websocket.go    the opening handshake of WebSockets; package websocket has their connections
//	sse.go          server-sent events; sseclient.go has streams that outlive their handlers, for package hub
//	conclude.go     the end of a request: default and error responses
//	error.go        HTTPError, and the response to each error
//	grpc.go         requests of gRPC: errors as their status, and its count
//	offload.go      blocking calls on a worker pool
//	beside.go       routes whose handlers start beside their loop
//	mount.go        http.Handlers under a route; mountrequest.go and mountwriter.go have their two sides
//	fromhttp.go     middlewares of net/http around Handlers; diverted.go has the response of the Handler
//	wire.go         what a Context needs from the connection or stream that it came on
//	http1.go        the state machine of one HTTP/1 connection; http1wire.go its wire
//	http2.go        the requests of one HTTP/2 connection; http2wire.go the wire of one, http2limits.go the bounds
//	requesttask.go  the task of one request
//	loopstate.go    the state that connections of one loop share
//	stats.go        counters and histograms per route
//	listener.go     listening addresses: plain, TLS, redirect
//	server.go       Listen, Swap, Drain, Stop, Stats
//	run.go          Run: a server that ends by a signal; life.go has its hooks
//	nethttp.go      App as an http.Handler
//
// # Goroutines
//
// Routes are registered by one goroutine, before Listen. A Context is for the goroutine of its handler, until the handler returns. Other
// goroutines may use it only as a context.Context; see [Context].
package app

import (
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"

	"tafe/app/internal/http2"
	"tafe/httpparse"
	"tafe/loop"
)

// Options configures an App. Zero fields take their defaults.
type Options struct {
	Limits httpparse.Limits // zero fields take those of httpparse.DefaultLimits

	HeadTimeout time.Duration // from the first byte of a request to the end of its head, then 408; default 10 s
	BodyTimeout time.Duration // between two reads of a request body, then 408; default 30 s
	// BodyRateMin is the minimum average rate of a request body while it is read, in bytes per second; a slower body is answered with
	// 408. The first BodyRateGrace of waiting does not count. Defaults: 240 and 5 s. A negative BodyRateMin disables the check. See
	// SlowBody.
	BodyRateMin   int
	BodyRateGrace time.Duration

	IdleTimeout    time.Duration // between two requests, then the connection is closed; default 75 s
	HandlerTimeout time.Duration // from the start of a handler to its cancellation, then 503; 0: none

	// HTTP2 bounds connections of HTTP/2.
	HTTP2 HTTP2

	// OffloadWorkers bounds the calls of Offload that run at once, and OffloadQueue those that wait; further calls fail, which answers
	// 503. Defaults: 64 and 1024.
	OffloadWorkers, OffloadQueue int
	// MountMax bounds the requests that mounted http.Handlers serve at once. As many more wait; the rest are answered with 503. Default
	// 1024.
	MountMax int

	// TrustRequestID takes the request ID from the client's X-Request-ID, if that is a token of at most 64 bytes.
	TrustRequestID bool
	// RequestIDHeader names the response header that carries the request ID; "" sends none.
	RequestIDHeader string
	// TrustedProxies are the networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are used; see Context.ClientIP and
	// Context.Scheme.
	TrustedProxies []netip.Prefix
	// ServerTiming adds a Server-Timing header with the durations queue, slice and backend, in milliseconds, up to the response head; see
	// Timing. Every client can read it.
	ServerTiming bool
	// ServerName is the value of the Server header; "" means "tafe", "-" omits the header.
	ServerName string

	// Files are what Context.File sends: a *static.Site.
	Files FileSender
	// Validator, if not nil, is called by Bind for each value that it has set, after the value's own Validate. Its error answers 422; see
	// Context.Bind. It must not wait.
	Validator func(v any) error

	// AccessLog, if not nil, is called on the loop for every response. It must not wait, and must not keep the Entry or its strings.
	AccessLog func(*Entry)
	Log       *slog.Logger // default slog.Default()
}

func (o Options) withDefaults() Options {
	l, d := &o.Limits, httpparse.DefaultLimits()
	for _, f := range []struct{ limit, value *int }{
		{&l.HeadBytesMax, &d.HeadBytesMax}, {&l.HeaderCountMax, &d.HeaderCountMax}, {&l.TargetBytesMax, &d.TargetBytesMax},
		{&l.ChunkOverheadMax, &d.ChunkOverheadMax}, {&l.TrailerBytesMax, &d.TrailerBytesMax},
	} {
		if *f.limit <= 0 {
			*f.limit = *f.value
		}
	}
	if l.BodyBytesMax <= 0 {
		l.BodyBytesMax = d.BodyBytesMax
	}
	for _, f := range []struct {
		timeout *time.Duration
		value   time.Duration
	}{{&o.HeadTimeout, 10 * time.Second}, {&o.BodyTimeout, 30 * time.Second}, {&o.IdleTimeout, 75 * time.Second}, {&o.BodyRateGrace, bodyRateGrace}} {
		if *f.timeout <= 0 {
			*f.timeout = f.value
		}
	}
	for _, f := range []struct {
		bound *int
		value int
	}{{&o.OffloadWorkers, 64}, {&o.OffloadQueue, 1024}, {&o.MountMax, 1024}} {
		if *f.bound <= 0 {
			*f.bound = f.value
		}
	}
	if o.BodyRateMin == 0 {
		o.BodyRateMin = bodyRateMin
	}
	switch o.ServerName {
	case "":
		o.ServerName = "tafe"
	case "-":
		o.ServerName = ""
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// App is a set of routes with their middlewares and options. Registration ends with Listen, Opener or the first ServeHTTP; an App must not
// be changed afterwards. Close releases its goroutines.
type App struct {
	registry
	options     Options
	hosts       *hostTable // nil: none
	page        ErrorPage  // nil: the default
	outer       []Middleware
	unknown     Handler // for paths without a route
	disallowed  Handler // for paths whose routes have other methods
	frozen      sync.Once
	parseLimits httpparse.Limits // with the largest BodyMax of all routes
	headLimits  httpparse.Limits // with unlimited bodies if there are middlewares or error pages
	offload     *loop.Pool
	mounts      *loop.Semaphore
	plans       sync.Map // of Bind, by reflect.Type
	serverLine  string   // the Server header line; "" omits it
	server2     []byte   // the same for HTTP/2, encoded
	http2Limits http2.Limits

	// Handlers within the middlewares of App.Use, set by freeze.
	fallbacks
	misdirected Handler
	allow       string // router.allow of all routers
}

// New returns an App without routes. It panics if ServerName or RequestIDHeader is not valid in a header.
func New(o Options) *App {
	if _, err := httpparse.AppendHeader(nil, "Server", o.ServerName); err != nil {
		panic("app: Options.ServerName: " + err.Error())
	}
	if o.RequestIDHeader != "" && !httpparse.ValidToken(o.RequestIDHeader) {
		panic("app: Options.RequestIDHeader is not a header name")
	}
	a := &App{options: o.withDefaults(), unknown: answerNotFound, disallowed: answerMethodNotAllowed}
	a.router = &router{}
	a.offload = loop.NewPool(a.options.OffloadWorkers, a.options.OffloadQueue)
	a.mounts = loop.NewSemaphore(a.options.MountMax, a.options.MountMax)
	return a
}

// Close ends the worker goroutines of Offload. It waits for calls in progress; later calls fail with loop.ErrClosed. Call it after the server
// has ended, or after Server.Swap has replaced the App and returned nil: requests in progress then use the workers of the new App. Close may be
// called more than once, by any goroutine except a loop's.
func (a *App) Close() { a.offload.Close() }

// Use adds middlewares, the first outermost. They wrap the middlewares of groups, and also the responses to requests without a route.
func (a *App) Use(middlewares ...Middleware) { a.outer = append(a.outer, middlewares...) }

// NotFound sets the handler for paths without a route. The default answers 404.
func (a *App) NotFound(h Handler) { a.unknown = h }

// MethodNotAllowed sets the handler for paths whose routes do not include the request's method. The Allow header is set before it is
// called. The default answers 405. It is not called for OPTIONS: without a route, OPTIONS is answered with 204.
func (a *App) MethodNotAllowed(h Handler) { a.disallowed = h }

// ErrorPages sets the function that answers errors. Refusals of requests that are not valid HTTP are answered with a default text.
func (a *App) ErrorPages(f ErrorPage) { a.page = f }

// Routes returns the routes in the order of registration: those of the App, and then those of each Host.
func (a *App) Routes() (all []*Route) {
	a.eachRouter(func(r *router) { all = append(all, r.routes...) })
	return all
}

// freeze ends registration.
func (a *App) freeze() {
	a.frozen.Do(func() {
		a.router.compose(a.outer)
		a.fallbacks = fallbacksOf(a.unknown, a.disallowed, a.outer)
		a.misdirected = chain(answerMisdirected, a.outer)
		a.parseLimits = a.options.Limits
		if a.options.ServerName != "" {
			a.serverLine = "Server: " + a.options.ServerName + "\r\n"
			a.server2 = http2.AppendHuffman(nil, "server", a.options.ServerName)
		}
		a.eachRouter(func(r *router) { a.allow = mergeAllow(a.allow, r.allow) })
		a.http2Limits = a.options.http2Limits()
		surrounded := len(a.outer) > 0 || a.page != nil
		if a.hosts != nil {
			a.hosts.freeze()
			for _, h := range a.hosts.all {
				h.freeze()
				surrounded = surrounded || len(h.outer) > 0 || h.page != nil
			}
		}
		for _, r := range a.Routes() {
			a.parseLimits.BodyBytesMax = max(a.parseLimits.BodyBytesMax, r.BodyMax)
			surrounded = surrounded || len(r.middlewares) > 0
		}
		if a.headLimits = a.parseLimits; surrounded {
			a.headLimits.BodyBytesMax = math.MaxInt64 // dispatch checks the limit, so that the 413 passes through the middlewares
		}
	})
}

func answerNotFound(*Context) error         { return errNotFound }
func answerRefusal(c *Context) error        { return c.refusal }
func answerMethodNotAllowed(*Context) error { return errMethodNotAllowed }
func answerOptions(c *Context) error        { return c.NoContent(204) }

// Entry is one entry of the access log. Its strings are views that are valid during the call; use strings.Clone to keep one.
type Entry struct {
	Time      time.Time // when the request head was complete
	Timing    Timing    // from Time to the end of the response
	Remote    string    // ADDRESS:PORT of the peer
	ClientIP  string    // see Context.ClientIP
	Method    string    // empty, like Target and Proto, if the head could not be parsed
	Target    string
	Proto     string // see Context.Proto
	Route     string // Route.Name; empty without a route
	Status    int
	Bytes     int64 // of the response body
	RequestID string
	UserAgent string
	Referer   string
	Reason    string // slug of the refusal or failure; empty for normal responses
	// GRPCStatus is the grpc-status that was sent for a request of gRPC, such as "0"; empty for others, and if none was sent.
	GRPCStatus string
	// Context is the request, for what has no field here. It is nil for requests that were refused before they had a handler. Its response
	// cannot be changed.
	Context *Context
}
