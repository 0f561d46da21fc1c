package client

// This file owns the client as its user sees it: options, calls, counters. It
// refuses to know bytes.

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tafe/httpparse"
	"tafe/loop"
)

// Options bounds a Client. Zero fields take the defaults.
type Options struct {
	// Dial connects. On a loop it must park the calling task instead of blocking.
	// The default is reactor.Dialer in a task and net.Dialer elsewhere.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is used for https; it is cloned per host, ServerName being the host
	// unless set here.
	TLS *tls.Config

	ConnsPerHostMax int           // connections to one host, per loop; default 256
	IdlePerHostMax  int           // of these, idle ones kept; default 64
	ConnsMax        int           // connections of all pools together; default 4096
	WaitersMax      int           // requests that wait for a connection to one host, per loop; default 1024
	HostsMax        int           // hosts remembered per loop; default 1024. Those in use are never forgotten
	IdleTimeout     time.Duration // until an idle connection is closed; default 30 s
	WaitTimeout     time.Duration // for a free connection; default 5 s
	DialTimeout     time.Duration // for connecting and the TLS handshake; default 5 s
	HeadTimeout     time.Duration // from the start of writing to the end of the response head; default 30 s
	BodyTimeout     time.Duration // for each read of a response body, and each write of a request body; default 30 s

	// LateTimeout, unless it is 0, keeps connections whose answers come too late: when a task's request is given up after it was sent and before
	// anything of its answer came (by Request.Timeout, because the task or the context is cancelled, because a hedge was faster), the answer is
	// read and thrown away for so long, up to 64 KiB of it, and the connection then serves other requests. With 0 it is closed at
	// once, which costs the next request a new one, and lets the peer know that nobody listens.
	LateTimeout time.Duration
	LateMax     int // connections to one host that wait so, per loop; default half of ConnsPerHostMax. Those beyond it are closed

	// Limits bounds responses; the zero value means httpparse.DefaultLimits.
	Limits httpparse.Limits
	Hedge  Hedge
	// Tracer, if not nil, is told of every request, on the goroutine that called Do.
	Tracer Tracer
}

// Tracer follows requests from server to server.
type Tracer interface {
	// Begin is called before a request is sent, with what Do was given. The value it returns, unless it is empty, is sent as
	// Traceparent (W3C Trace Context) in place of the request's own. Unless end is nil, it is called once: with the status when the head of
	// the answer is there, or with the error.
	Begin(t *loop.Task, ctx context.Context, req *Request) (traceparent string, end func(status int, err error))
}

func (o Options) withDefaults() Options {
	orInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	orTime := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	orInt(&o.ConnsPerHostMax, 256)
	orInt(&o.IdlePerHostMax, 64)
	orInt(&o.LateMax, o.ConnsPerHostMax/2)
	orInt(&o.ConnsMax, 4096)
	orInt(&o.WaitersMax, 1024)
	orInt(&o.HostsMax, 1024)
	orTime(&o.IdleTimeout, 30*time.Second)
	orTime(&o.WaitTimeout, 5*time.Second)
	orTime(&o.DialTimeout, 5*time.Second)
	orTime(&o.HeadTimeout, 30*time.Second)
	orTime(&o.BodyTimeout, 30*time.Second)
	if o.Limits == (httpparse.Limits{}) {
		o.Limits = httpparse.DefaultLimits()
	}
	o.Hedge = o.Hedge.withDefaults()
	return o
}

// Client sends requests. Its methods may be called by any goroutine and task.
type Client struct {
	options Options
	slots   slots
	shared  *pool // of goroutines that are no tasks

	mu     sync.Mutex // guards changes of pools
	pools  atomic.Pointer[[]*pool]
	closed atomic.Bool
}

// New makes a Client. It opens nothing until it is used.
func New(o Options) *Client {
	o = o.withDefaults()
	c := &Client{options: o}
	c.slots.max = int64(o.ConnsMax)
	c.shared = newPool(c, nil)
	c.pools.Store(&[]*pool{c.shared})
	return c
}

// Close closes idle connections; those in use are closed when their responses
// are. Requests made from now on fail with ErrClosed. It does not wait: pools
// of loops are emptied by their loops.
func (c *Client) Close() {
	c.closed.Store(true)
	for _, p := range *c.pools.Load() {
		p.post(p.closeIdle)
	}
}

// poolOf returns the pool of the loop t runs on, or the shared one.
func (c *Client) poolOf(t *loop.Task) *pool {
	if t == nil {
		return c.shared
	}
	l := t.Loop()
	for _, p := range *c.pools.Load() {
		if p.loop == l {
			return p
		}
	}
	return c.addPool(l)
}

func (c *Client) addPool(l *loop.Loop) *pool {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := *c.pools.Load()
	for _, p := range old {
		if p.loop == l {
			return p
		}
	}
	p := newPool(c, l)
	pools := append(append([]*pool(nil), old...), p)
	c.pools.Store(&pools)
	return p
}

// Do sends req and returns once the head of its final response is there; the
// body is then read from resp, which must be closed. resp may be reused, also
// without having been closed.
//
// t is the calling task, nil on any other goroutine; resp belongs to the same
// task or goroutine until it is closed. Cancelling t or ctx ends the request
// and closes its connection (but see Options.LateTimeout). ctx may be nil: in a
// task that is the normal and the cheapest case, since the task's own
// cancellation and deadline are obeyed anyway. The error is an *Error.
//
// A request fails at once, without a retry, unless a pooled connection turns
// out to be stale (closed by the peer before one byte of the response): then an
// idempotent request with a replayable body is sent once more, on a new
// connection. Request.Retries allows more.
func (c *Client) Do(t *loop.Task, ctx context.Context, req *Request, resp *Response) error {
	if c.options.Tracer == nil {
		return c.do(t, ctx, req, resp, "")
	}
	traceparent, end := c.options.Tracer.Begin(t, ctx, req)
	err := c.do(t, ctx, req, resp, traceparent)
	if end != nil {
		end(resp.Status, err)
	}
	return err
}

func (c *Client) do(t *loop.Task, ctx context.Context, req *Request, resp *Response, traceparent string) error {
	if t != nil {
		if brief := t.Loop().RequestContext(); brief != nil {
			return c.doBriefly(t, brief, ctx, req, resp, traceparent)
		}
	}
	entered := t.Enter()
	defer t.Leave(entered)
	resp.Close()
	x := c.poolOf(t).newExchange(t)
	x.entered = entered
	kept := false
	defer func() {
		if !kept { // an error, or a panic of the caller's body reader
			x.discard()
		}
	}()
	if err := x.prepare(req, traceparent); err != nil {
		return err
	}
	if ctx != nil {
		if err := x.follow(ctx); err != nil {
			return err
		}
	}
	answer := x
	err := error(nil)
	if req.Hedge && x.replayable {
		answer, err = x.runHedged()
	} else {
		err = x.run()
	}
	if err != nil {
		return err
	}
	if kept = answer == x; !kept {
		x.handOver(answer)
	}
	resp.take(answer)
	return nil
}

// Get fetches url and returns the whole body, at most bodyMax bytes of it. Any
// status is a success.
func (c *Client) Get(t *loop.Task, ctx context.Context, url string, bodyMax int64) (status int, body []byte, err error) {
	var resp Response
	defer resp.Close()
	if err := c.Do(t, ctx, &Request{URL: url}, &resp); err != nil {
		return 0, nil, err
	}
	body, err = resp.ReadAll(bodyMax)
	return resp.Status, body, err
}

// Stats are counters since the client was made, and two gauges.
type Stats struct {
	Requests   uint64
	Dials      uint64 // connections opened
	Reuses     uint64 // requests that found an idle connection
	Poisoned   uint64 // idle connections thrown away because something had arrived on them, an end or bytes
	Stale      uint64 // requests sent again because a pooled connection had died
	Retries    uint64 // tries beyond the first, allowed by Request.Retries
	Waits      uint64 // requests that had to wait for a connection
	Hedges     uint64 // second requests sent
	HedgeWins  uint64 // of these, answered first
	Unfinished uint64 // connections closed because a response was not read to its end
	Late       uint64 // answers read to their end though nobody waited for them any more
	Open       int    // connections open, or being opened
	Idle       int    // of these, idle
}

// Stats sums up what all pools count. Any goroutine.
func (c *Client) Stats() (s Stats) {
	for _, p := range *c.pools.Load() {
		n := &p.count
		s.Requests += n.requests.Load()
		s.Dials += n.dials.Load()
		s.Reuses += n.reuses.Load()
		s.Poisoned += n.poisoned.Load()
		s.Stale += n.stale.Load()
		s.Retries += n.retries.Load()
		s.Waits += n.waits.Load()
		s.Hedges += n.hedges.Load()
		s.HedgeWins += n.hedgeWins.Load()
		s.Unfinished += n.unfinished.Load()
		s.Late += n.late.Load()
		s.Idle += int(n.idle.Load())
	}
	s.Open = int(c.slots.open.Load())
	return s
}
