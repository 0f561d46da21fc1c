// This file owns what a handler sees of its request, and what it may wait for. Bodies are body.go's, answers response.go's
// and stream.go's.

package app

import (
	"bytes"
	"context"
	"iter"
	"net"
	"sync/atomic"
	"time"
	"unsafe"

	"tafe/httpparse"
	"tafe/loop"
)

// Context is one request and its answer, and the context.Context of what is done for it: cancelled when its client
// leaves, its deadline passes or the server stops.
//
// Strings and byte slices that it returns are views into the connection's memory where not said otherwise: they are valid
// until the handler returns, and so is the Context. Use strings.Clone to keep one. Methods are for the handler's own
// goroutine. Once it has called Done, as context.WithTimeout and its like do, the Context is not recycled, and Deadline,
// Done, Err and Value may be called by any goroutine, also later.
type Context struct {
	app   *App
	hub   *hub
	cycle *cycle
	task  *loop.Task

	req       httpparse.Request
	head      []byte // own copy of the head, where the body was still arriving
	path      []byte // as Path returns it
	pathSpace []byte // for the path that is matched where it differs from the raw one; params are views into it
	pathShown []byte // for path where it differs from both
	params    params
	query     []byte // scratch for decoding
	body      body
	resp      response
	stream    Stream
	push      loop.Timer   // of stream
	hijacked  net.Conn     // the connection, once the handler has taken it
	scratch   bytes.Buffer // for JSON
	uncoded   []byte       // for a Coder, and
	coded     []byte       // what it makes of that

	stats     *account
	route     *Route // nil where no route took the request
	routeName *string
	handler   Handler
	bodyMax   int64
	timeout   time.Duration

	arrived, started int64 // loop clock: the head was complete, the handler started
	deadline         int64 // loop clock; 0: none
	timedOut         bool  // the deadline ended the handler
	err              error // what the handler returned
	reason           string

	id       [requestIDBytesMax]byte
	idBytes  int
	values   []value
	whenDone []func(*Entry)
	retained atomic.Bool // used as a context.Context by others: never recycled
}

type value struct{ key, value any }

// reset drops every view and value of the last request and keeps the memory.
func (c *Context) reset() {
	c.req.Reset()
	c.params.reset()
	c.body.reset()
	c.resp.reset()
	c.stream, c.hijacked = Stream{}, nil
	c.stats = nil
	c.cycle, c.task, c.path, c.route, c.handler, c.err = nil, nil, nil, nil, nil, nil
	c.deadline, c.timedOut, c.reason, c.idBytes = 0, false, "", 0
	clear(c.whenDone)
	c.whenDone = c.whenDone[:0]
	clear(c.values)
	c.values = c.values[:0]
	c.scratch.Reset()
	if c.scratch.Cap() > scratchKeptMax {
		c.scratch = bytes.Buffer{}
	}
	for _, own := range []*[]byte{&c.head, &c.pathSpace, &c.query} {
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

// view is b as a string, valid and constant as long as b is.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Method is the request's method; case matters.
func (c *Context) Method() string { return view(c.req.Method) }

// RawTarget is the request target as the client wrote it.
func (c *Context) RawTarget() string { return view(c.req.Target) }

// RawQuery is the query as the client wrote it, without the '?'.
func (c *Context) RawQuery() string { return view(c.req.Query) }

// HasQuery tells whether the target has a query, if an empty one.
func (c *Context) HasQuery() bool { return c.req.HasQuery }

// Query is the first value that the query has for name, decoded; "" if there is none, and also if it is not decodable: tell
// these apart with QueryAll. It is a copy where it had to be decoded.
func (c *Context) Query(name string) string {
	for v := range c.QueryAll(name) {
		return v
	}
	return ""
}

// QueryAll yields every value that the query has for name, in order, decoded. Pairs that cannot be decoded are skipped.
func (c *Context) QueryAll(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k, v := range httpparse.Query(c.req.Query) {
			if !c.sameKey(k, name) {
				continue
			}
			if bytes.IndexByte(v, '%') < 0 && bytes.IndexByte(v, '+') < 0 {
				if !yield(view(v)) {
					return
				}
				continue
			}
			decoded, err := httpparse.DecodeQuery(nil, v)
			if err == nil && !yield(view(decoded)) {
				return
			}
		}
	}
}

// sameKey compares an encoded key.
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

// Header is the value of the first request header with that name, in any case; "" if there is none.
func (c *Context) Header(name string) string { return view(c.req.Header(name)) }

// Headers yields the request's headers in the order they came.
func (c *Context) Headers() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, h := range c.req.Headers() {
			if !yield(view(h.Name), view(h.Value)) {
				return
			}
		}
	}
}

// Host is the host the request is for, with the port if the client named one.
func (c *Context) Host() string { return view(c.req.Host) }

// Scheme is "https" where the connection speaks TLS, and otherwise "http".
func (c *Context) Scheme() string {
	if c.cycle.conn.Secure() {
		return "https"
	}
	return "http"
}

// RemoteAddr is the address of the connection's other end, "ADDRESS:PORT"; see ClientIP. It may be kept.
func (c *Context) RemoteAddr() string { return c.cycle.conn.Remote() }

// RequestID is the id of the request: of the client, where Options.TrustRequestID allows it, or generated.
func (c *Context) RequestID() string { return view(c.id[:c.idBytes]) }

// Route is the pattern of the route that took the request, "" if none did. It may be kept.
func (c *Context) Route() string { return *c.routeName }

// ContentLength is the length of the request body in bytes, -1 if it is chunked.
func (c *Context) ContentLength() int64 { return c.req.ContentLength }

// ProtoMinor is the minor version of the client's HTTP/1: 0 or 1.
func (c *Context) ProtoMinor() int { return int(c.req.Minor) }

// KeepAlive tells whether the client will keep the connection after this request.
func (c *Context) KeepAlive() bool { return c.req.KeepAlive }

// Timing is where the time of a request went: the three parts make up the whole.
type Timing struct {
	Total   time.Duration // since the request's head was complete
	Queued  time.Duration // it could have gone on: requests before it on its connection, or other work of its loop, kept it waiting
	Slices  time.Duration // its handler held the loop
	Backend time.Duration // it waited for others: upstreams, stores, timers, bodies, offloaded calls
}

// Timing tells where the request's time went so far.
func (c *Context) Timing() Timing { return c.timing(c.hub.loop.Clock()) }

func (c *Context) timing(now int64) Timing {
	u := c.task.Observe().Usage()
	t := Timing{Total: time.Duration(now - c.arrived), Queued: time.Duration(c.started-c.arrived) + u.Waited, Slices: u.Held}
	t.Backend = max(0, t.Total-t.Queued-t.Slices)
	return t
}

// Set stores a value for the rest of the request. The key should be of an unexported type, as for context.WithValue.
func (c *Context) Set(key, v any) {
	for i := range c.values {
		if c.values[i].key == key {
			c.values[i].value = v
			return
		}
	}
	c.values = append(c.values, value{key, v})
}

// WhenDone has f called once the request has been answered, or could not be, on the loop: it must not wait, nor keep the Entry or its
// strings. Of several, the last is called first, as middlewares end.
func (c *Context) WhenDone(f func(*Entry)) { c.whenDone = append(c.whenDone, f) }

// ContextOf is the Context whose handler t runs; nil for other tasks, those of a loop.Group among them.
func ContextOf(t *loop.Task) *Context {
	if x, ok := t.Observe().Runner().(*exchange); ok {
		return (*Context)(x)
	}
	return nil
}

// Get returns the value stored for key, or nil.
func (c *Context) Get(key any) any {
	for i := range c.values {
		if c.values[i].key == key {
			return c.values[i].value
		}
	}
	return nil
}

// Value is Get: for context.Context. Goroutines other than the handler's may call it once the handler stores no more.
func (c *Context) Value(key any) any { return c.Get(key) }

// Deadline is when the request is cancelled; ok is false if never. For context.Context.
func (c *Context) Deadline() (deadline time.Time, ok bool) {
	if c.deadline == 0 {
		return time.Time{}, false
	}
	return time.Now().Add(time.Duration(c.deadline - c.hub.loop.Clock())), true
}

// Done returns a channel that is closed when the request is cancelled or its handler has returned. A Context that was asked
// for it is not recycled. For context.Context.
func (c *Context) Done() <-chan struct{} {
	c.retained.Store(true)
	return c.task.Done()
}

// Err is nil as long as the request is not cancelled, and then ErrClientGone, context.DeadlineExceeded or loop.ErrShutdown.
// For context.Context.
func (c *Context) Err() error {
	if c.task == nil {
		return context.Canceled
	}
	return c.task.Err()
}

// gone is the error for a connection that has ended: why the request was cancelled, where that came first.
func (c *Context) gone() error {
	if err := c.task.Err(); err != nil {
		return err
	}
	return ErrClientGone
}

// Sleep waits for d while the loop serves others, or until the request is cancelled: then the error is that of Err.
func (c *Context) Sleep(d time.Duration) error { return c.task.Sleep(d) }

// Yield gives the loop back once. The error is that of Err.
func (c *Context) Yield() error { return c.task.Yield() }

// YieldIfDue is Yield once the handler has held the loop for half of its budget or of the handoff time, whichever is
// shorter, and next to nothing before: for loops that compute.
func (c *Context) YieldIfDue() error { return c.task.YieldIfDue() }

// Task is the task that runs the handler.
func (c *Context) Task() *loop.Task { return c.task }

// Loop is the loop of the request's connection.
func (c *Context) Loop() *loop.Loop { return c.hub.loop }

// validID tells whether a request id of a client is fit to be logged and sent back.
func validID(id []byte) bool { return httpparse.ValidToken(id) }
