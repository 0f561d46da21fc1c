// Context: the request, its values, and waiting. body.go has the request body, response.go and stream.go the response.

package app

import (
	"bytes"
	"context"
	"iter"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"tafe/app/websocket"
	"tafe/httpparse"
	"tafe/loop"
)

// Context is one request and its response. It is a context.Context that is cancelled when the connection breaks, the client resets the
// stream (HTTP/2), the deadline passes or the server stops. The end of the client's direction alone cancels only a handler that sends
// events by SSE.
//
// A Context is valid until its handler returns. The strings that its methods return may be kept, except those of methods whose name ends with
// View: such a string is a view into memory that is reused, valid until the handler returns. See view.go. Byte slices are views too, unless
// stated otherwise.
//
// Only the goroutine of the handler may call the methods of a Context. After it has called Done, as context.WithTimeout does, the
// Context is not recycled, and other goroutines may call Deadline, Done, Err and Value at any time.
type Context struct {
	app   *App
	state *loopState
	wire  wire
	http2 http2Wire // the wire of a request over HTTP/2
	task  *loop.Task

	req       httpparse.Request
	head      []byte // copy of the head if the body was not complete
	path      []byte // result of Path
	routed    []byte // the cleaned path that was looked up; see cleanPath
	captures  []int  // of Match.Path: offsets in routed
	host      *Host  // of the request's host; nil: none
	pathSpace []byte // buffer of the routed path if it differs from the raw one; params are views into it
	pathShown []byte // buffer of path if it differs from both
	rewritten []byte // buffer of Rewrite
	params    params
	query     []byte // scratch
	body      body
	resp      response
	stream    Stream
	push      loop.Timer // of stream
	taken     bool       // the connection is not the request's any more; see takeConn
	hijacked  net.Conn   // the connection after Hijack
	socket    *websocket.Conn
	events    *SSE
	scratch   bytes.Buffer // of JSON
	uncoded   []byte       // input of a Coder
	coded     []byte       // output of a Coder

	stats     *routeCounts
	route     *Route  // nil without a route
	routeName *string // Route.Name, for reports
	handler   Handler
	refusal   *httpparse.Error // result of handler if the request is refused; see refuse
	bodyMax   int64
	timeout   time.Duration

	arrived, started int64 // loop time at which the head was complete, and was parsed
	deadline         int64 // loop time; 0: none
	timedOut         bool  // the handler ended after its deadline
	err              error // result of the handler
	reason           string
	upstream         string // see SetUpstream

	id       [requestIDBytesMax]byte
	idBytes  int
	values   []value
	outer    context.Context // has further values, of a middleware of net/http; nil: none
	diverted *diverted       // the wire within that middleware, or nil
	whenDone []func(*Entry)
	retained atomic.Bool // other goroutines may use it: never recycled
}

type value struct{ key, value any }

// reset clears c for the next request and keeps its memory.
func (c *Context) reset() {
	c.req.Reset()
	c.params.reset()
	c.body.reset()
	c.resp.reset()
	c.stream, c.taken, c.hijacked, c.socket, c.events = Stream{}, false, nil, nil, nil
	c.stats = nil
	c.wire, c.task, c.path, c.route, c.handler, c.err = nil, nil, nil, nil, nil, nil
	c.routed, c.captures, c.host, c.upstream = nil, nil, nil, ""
	c.http2.reset()
	c.outer, c.diverted = nil, nil
	c.deadline, c.timedOut, c.reason, c.idBytes, c.refusal = 0, false, "", 0, nil
	clear(c.whenDone)
	c.whenDone = c.whenDone[:0]
	clear(c.values)
	c.values = c.values[:0]
	c.scratch.Reset()
	if c.scratch.Cap() > scratchKeptMax {
		c.scratch = bytes.Buffer{}
	}
	for _, own := range []*[]byte{&c.head, &c.pathSpace, &c.rewritten, &c.query} {
		if cap(*own) > headKeptMax {
			*own = nil
		}
	}
	if cap(c.coded) > scratchKeptMax {
		c.coded = nil
	}
	if cap(c.uncoded) > scratchKeptMax {
		c.uncoded = nil
	}
}

// Method returns the request method. Methods are case-sensitive.
func (c *Context) Method() string { return *methodName(c.req.Method) }

// RawTarget returns the request target as received.
func (c *Context) RawTarget() string { return string(c.req.Target) }

// RawQuery returns the query as received, without the '?'.
func (c *Context) RawQuery() string { return string(c.req.Query) }

// HasQuery reports whether the target has a '?', even if the query behind it is empty.
func (c *Context) HasQuery() bool { return c.req.HasQuery }

// Query returns the first value of a query parameter, decoded. It returns "" if there is none with a valid encoding.
func (c *Context) Query(name string) string { return strings.Clone(c.QueryView(name)) }

// QueryAll yields the values of a query parameter in order, decoded. It skips pairs with an invalid encoding.
func (c *Context) QueryAll(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for v := range c.queryViews(name) {
			if !yield(strings.Clone(v)) {
				return
			}
		}
	}
}

// sameKey reports whether the encoded key k decodes to name.
func (c *Context) sameKey(k []byte, name string) bool {
	if string(k) == name {
		return bytes.IndexByte(k, '%') < 0 && bytes.IndexByte(k, '+') < 0
	}
	if len(k) < len(name) {
		return false
	}
	decoded, err := httpparse.DecodeQuery(c.query[:0], k)
	c.query = decoded[:0]
	return err == nil && string(decoded) == name
}

// Header returns the value of the first request header with that name, ignoring case; "" if there is none. See HeaderList for lists.
func (c *Context) Header(name string) string { return string(c.req.Header(name)) }

// Headers yields the request headers in the order received.
func (c *Context) Headers() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, h := range c.req.Headers() {
			if !yield(string(h.Name), string(h.Value)) {
				return
			}
		}
	}
}

// Host returns the host that the request is for, with the port if the client sent one.
func (c *Context) Host() string { return string(c.req.Host) }

// RemoteAddr returns the address of the connection's peer, "ADDRESS:PORT"; see ClientIP.
func (c *Context) RemoteAddr() string { return c.wire.reactorConn().Remote() }

// RequestID returns the request ID: the client's X-Request-ID if Options.TrustRequestID is set, otherwise a generated one.
func (c *Context) RequestID() string { return string(c.id[:c.idBytes]) }

// Route returns the pattern of the request's route, "" without a route. Logs and metrics show Route.Name instead.
func (c *Context) Route() string {
	if c.route == nil {
		return ""
	}
	return c.route.Pattern
}

// RouteName returns Route.Name of the request's route, "" without a route.
func (c *Context) RouteName() string { return *c.routeName }

// Upstream returns the address of the server to which a proxy has sent the request last, "" if there is none.
func (c *Context) Upstream() string { return c.upstream }

// ContentLength returns the length of the request body in bytes, -1 if it is unknown until the body has ended.
func (c *Context) ContentLength() int64 { return c.req.ContentLength }

// ProtoMajor returns the major version of the request's protocol: 1 or 2.
func (c *Context) ProtoMajor() int { return int(c.req.Major) }

// ProtoMinor returns the minor version of the request's protocol: 0 or 1; 0 for HTTP/2. See Proto.
func (c *Context) ProtoMinor() int { return int(c.req.Minor) }

// KeepAlive reports whether the client keeps the connection open after this request.
func (c *Context) KeepAlive() bool { return c.req.KeepAlive }

// Timing is the duration of a request by cause. Total is the sum of the other three.
type Timing struct {
	Total   time.Duration // since the request head was complete
	Queued  time.Duration // ready, but behind earlier requests of its connection or other work of its loop
	Slices  time.Duration // running on the loop
	Backend time.Duration // waiting: for upstreams, stores, timers, the body, offloaded calls
}

// Timing returns the duration of the request so far.
func (c *Context) Timing() Timing { return c.timing(c.state.loop.Clock()) }

func (c *Context) timing(now int64) Timing {
	u := c.task.Observe().Usage()
	t := Timing{Total: time.Duration(now - c.arrived), Queued: time.Duration(c.started-c.arrived) + u.Waited, Slices: u.Held}
	t.Backend = max(0, t.Total-t.Queued-t.Slices)
	return t
}

// Set stores a value for the rest of the request. The key should have an unexported type, as for context.WithValue.
func (c *Context) Set(key, v any) {
	for i := range c.values {
		if c.values[i].key == key {
			c.values[i].value = v
			return
		}
	}
	c.values = append(c.values, value{key, v})
}

// WhenDone registers f to be called at the end of the request, on the loop. f must not wait, and must not keep the Entry or its strings.
// Functions are called in reverse order of registration.
func (c *Context) WhenDone(f func(*Entry)) { c.whenDone = append(c.whenDone, f) }

// Get returns the value stored for key by Set, or else by a middleware of FromHTTP in the context of its request, or nil.
func (c *Context) Get(key any) any {
	for i := range c.values {
		if c.values[i].key == key {
			return c.values[i].value
		}
	}
	if c.outer != nil {
		return c.outer.Value(key)
	}
	return nil
}

// Value implements context.Context; it is the same as Get. Other goroutines may call it if the handler does not call Set any more.
func (c *Context) Value(key any) any { return c.Get(key) }

// Deadline implements context.Context. It returns the time at which the request is cancelled.
func (c *Context) Deadline() (deadline time.Time, ok bool) {
	if c.deadline == 0 {
		return time.Time{}, false
	}
	return time.Now().Add(time.Duration(c.deadline - c.state.loop.Clock())), true
}

// Done implements context.Context. The channel is closed when the request is cancelled or its handler has returned. A Context is not
// recycled after Done.
func (c *Context) Done() <-chan struct{} {
	c.retained.Store(true)
	return c.task.Done()
}

// AfterFunc calls f on a goroutine of its own when the request is cancelled or its handler has returned. stop prevents the call, and reports
// whether it did. Package context uses it in place of a goroutine that waits for Done: context.AfterFunc(c, f) and context.WithTimeout(c, d) are
// cheap. A Context is not recycled after AfterFunc.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	c.retained.Store(true)
	return c.task.AfterFunc(f)
}

// Err implements context.Context. It returns nil until the request is cancelled, and then ErrClientGone, context.DeadlineExceeded or
// loop.ErrShutdown.
func (c *Context) Err() error {
	if c.task == nil {
		return context.Canceled
	}
	return c.task.Err()
}

// gone returns the error for a connection that has ended: the cause of the cancellation if there is one, otherwise ErrClientGone.
func (c *Context) gone() error {
	if err := c.task.Err(); err != nil {
		return err
	}
	return ErrClientGone
}

// Sleep waits for d while the loop serves other requests. If the request is cancelled, it returns the error of Err.
func (c *Context) Sleep(d time.Duration) error { return c.task.Sleep(d) }

// Yield lets other tasks of the loop run. It returns the error of Err.
func (c *Context) Yield() error { return c.task.Yield() }

// YieldIfDue calls Yield if the handler has held the loop for half of its budget or of the handoff time, whichever is shorter. It is cheap
// otherwise, and meant for loops that compute.
func (c *Context) YieldIfDue() error { return c.task.YieldIfDue() }

// Task returns the task that runs the handler.
func (c *Context) Task() *loop.Task { return c.task }

// Loop returns the loop of the request's connection.
func (c *Context) Loop() *loop.Loop { return c.state.loop }
