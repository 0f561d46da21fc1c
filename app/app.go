// Package app is what requests mean: routes, middlewares, handlers and the HTTP/1 connections that carry them.
//
// A [Handler] is straight-line code. It runs as a task on the loop of its connection, and every call on its [Context] may
// wait: the loop serves others meanwhile. Code that holds the loop for long loses it: see docs/cooperative.md.
//
// # The parts, in reading order
//
//	app.go       App: options, registration, what listening freezes
//	route.go     Handler, Middleware, Route, patterns
//	router.go    from a path to its route
//	path.go      the form of a path that routing compares, and the parameters cut from it
//	group.go     prefixes and middlewares that routes share
//	context.go   Context: what a handler sees of its request
//	clientip.go  who the client is, behind proxies that are trusted
//	body.go      the request body: whole, streamed, or discarded unread
//	response.go  what a handler answers, written straight into the connection's output
//	fields.go    headers with more than one line, or more than one writer
//	stream.go    answers in pieces
//	coding.go    bodies that are compressed on their way out
//	upgrade.go   a connection that a handler takes over
//	conclude.go  what is answered for a handler that failed or wrote nothing
//	error.go     HTTPError, and what an error or a panic turns into
//	offload.go   calls that block, beside the loops
//	mount.go     any http.Handler under a route; its request in mountrequest.go, its answer in mountwriter.go
//	http1.go     one connection: the next message, its task, the next message
//	exchange.go  one request on its way through its task
//	hub.go       what the connections of one loop share
//	stats.go     what is counted of each route
//	listener.go  where it listens: plain, TLS, or only to redirect
//	server.go    Listen, Swap, Drain, Stats
//	nethttp.go   an App as an http.Handler
//
// # The thread rule
//
// Registration is for one goroutine and ends with Listen. A Context belongs to its handler's task; nothing of it may be
// used by other goroutines, except as a context.Context, and nothing at all once the handler has returned.
package app

import (
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"

	"tafe/httpparse"
	"tafe/loop"
)

// Options are what an App is made of. Zero fields take the defaults.
type Options struct {
	Limits httpparse.Limits // zero fields: those of httpparse.DefaultLimits

	HeadTimeout time.Duration // from a message's first byte to the end of its head; default 10 s; then 408
	BodyTimeout time.Duration // between two pieces of a body that is being read; default 30 s; then 408
	// BodyRateMin is the least rate, in bytes per second, at which a body comes that is being read; then 408. It is an average, of which
	// BodyRateGrace are left out at the beginning. Default 240 and 5 s; BodyRateMin < 0: none. See SlowBody.
	BodyRateMin   int
	BodyRateGrace time.Duration

	IdleTimeout    time.Duration // between two messages; default 75 s; then the connection is closed
	HandlerTimeout time.Duration // from a handler's start to its cancellation; 0: never; then 503

	// OffloadWorkers bounds the calls of Offload that run at once, OffloadQueue those that wait; beyond: 503. Default 64, 1024.
	OffloadWorkers, OffloadQueue int
	// MountMax bounds the requests that mounted http.Handlers serve at once; as many wait, beyond: 503. Default 1024.
	MountMax int

	// TrustRequestID takes X-Request-ID from the client, if it is a token of at most 64 bytes.
	TrustRequestID bool
	// RequestIDHeader names the response header that carries the request id; "": none does.
	RequestIDHeader string
	// TrustedProxies are the networks of the proxies in front, whose X-Forwarded-For is believed: see Context.ClientIP.
	TrustedProxies []netip.Prefix
	// ServerTiming tells clients where the time of each answer went, up to its head (W3C Server Timing): queue, slice and
	// backend, in milliseconds; see Timing. Everybody can read it.
	ServerTiming bool
	// ServerName is the value of Server; "" means "tafe", "-" omits the header.
	ServerName string

	// AccessLog, if not nil, is told of every answer, on its loop: it must not wait, nor keep the Entry or its strings.
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

// App is a set of routes and what surrounds them. Register first, then Listen: nothing may change afterwards.
type App struct {
	registry
	options     Options
	outer       []Middleware
	unknown     Handler // no route has the path
	disallowed  Handler // a route has it, for other methods
	frozen      sync.Once
	parseLimits httpparse.Limits // with the largest body that any route takes
	headLimits  httpparse.Limits // with bodies of any length, where there are middlewares
	offload     *loop.Pool
	mounts      *loop.Semaphore
	serverLine  string // of every answer's head; empty if it is omitted

	// With the middlewares of App.Use around them, from freeze.
	notFound, methodNotAllowed, options204, tooLarge Handler
}

// New makes an App without routes. It panics on a ServerName or RequestIDHeader that no header can hold.
func New(o Options) *App {
	if _, err := httpparse.AppendHeader(nil, "Server", o.ServerName); err != nil {
		panic("app: Options.ServerName: " + err.Error())
	}
	if o.RequestIDHeader != "" && !httpparse.ValidToken(o.RequestIDHeader) {
		panic("app: Options.RequestIDHeader is not a header name")
	}
	a := &App{options: o.withDefaults(), unknown: answerNotFound, disallowed: answerMethodNotAllowed}
	a.router = &router{}
	a.offload = newOffload(a)
	a.mounts = loop.NewSemaphore(a.options.MountMax, a.options.MountMax)
	return a
}

// Use adds middlewares around everything, the first outermost: around the groups' own, and around the answers to
// requests that no route takes.
func (a *App) Use(middlewares ...Middleware) { a.outer = append(a.outer, middlewares...) }

// NotFound sets the handler for paths that no route has. The default answers 404.
func (a *App) NotFound(h Handler) { a.unknown = h }

// MethodNotAllowed sets the handler for paths that have routes, but none for the method; the Allow header is set when it
// is called. The default answers 405. OPTIONS never comes here: where no route takes it, it is answered with 204.
func (a *App) MethodNotAllowed(h Handler) { a.disallowed = h }

// Routes lists the routes in the order of their registration. The slice must not be changed.
func (a *App) Routes() []*Route { return a.router.routes }

// freeze ends registration.
func (a *App) freeze() {
	a.frozen.Do(func() {
		a.router.compose(a.outer)
		a.notFound = chain(a.unknown, a.outer)
		a.methodNotAllowed = chain(a.disallowed, a.outer)
		a.options204 = chain(answerOptions, a.outer)
		a.tooLarge = chain(answerTooLarge, a.outer)
		a.parseLimits = a.options.Limits
		if a.options.ServerName != "" {
			a.serverLine = "Server: " + a.options.ServerName + "\r\n"
		}
		surrounded := len(a.outer) > 0
		for _, r := range a.router.routes {
			a.parseLimits.BodyBytesMax = max(a.parseLimits.BodyBytesMax, r.BodyMax)
			surrounded = surrounded || len(r.middlewares) > 0
		}
		if a.headLimits = a.parseLimits; surrounded {
			a.headLimits.BodyBytesMax = math.MaxInt64 // dispatch refuses it, within the middlewares of the route
		}
	})
}

func answerNotFound(*Context) error         { return errNotFound }
func answerTooLarge(*Context) error         { return refusedBody }
func answerMethodNotAllowed(*Context) error { return errMethodNotAllowed }
func answerOptions(c *Context) error        { return c.NoContent(204) }

// Entry is one line of the access log. Its strings are views: copy what outlives the call.
type Entry struct {
	Time      time.Time // when the request's head was complete
	Timing    Timing    // from then to the end of the answer
	Remote    string    // ADDRESS:PORT of the connection's other end
	ClientIP  string    // see Context.ClientIP
	Method    string    // empty, like Target and Minor, where the head was refused
	Target    string
	Minor     uint8  // of HTTP/1.x
	Route     string // the pattern; empty where no route took it
	Status    int
	Bytes     int64 // of the body
	RequestID string
	UserAgent string
	Referer   string
	Reason    string // why the server refused or broke off; empty when it did not
}
