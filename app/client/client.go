// Client, its options and its counters.

package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tafe/httpparse"
	"tafe/loop"
)

// Options configures a Client. Zero fields mean the defaults.
type Options struct {
	// Dial opens connections. In a task it must park the task and not block. The default is reactor.Dialer in a task
	// and net.Dialer elsewhere.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is the configuration for https. It is cloned for each host; ServerName defaults to the host.
	TLS *tls.Config
	// Protocol is spoken to all servers; default HTTP1. With HTTP2 all requests are https, and a server that does not
	// select it is an error. With H2C all requests are http. In a task, both need the default Dial, or connections of a
	// reactor.Dialer.
	Protocol Protocol

	ConnsPerHostMax int           // connections to one host, per loop; default 256
	IdlePerHostMax  int           // idle connections to one host, per loop; default 64
	ConnsMax        int           // connections of all pools; default 4096
	StreamsMax      int           // HTTP/2: requests on one connection at once; default 100. The server may allow fewer
	WaitersMax      int           // requests waiting for a connection to one host, per loop; default 1024
	HostsMax        int           // hosts known per loop; default 1024. Hosts in use are not evicted
	IdleTimeout     time.Duration // until an idle connection is closed; default 30 s
	WaitTimeout     time.Duration // wait for a free connection; default 5 s
	DialTimeout     time.Duration // connecting and TLS handshake; default 5 s
	HeadTimeout     time.Duration // from the start of writing to the end of the response head; default 30 s
	BodyTimeout     time.Duration // each read of a response body and each write of a request body; default 30 s

	// LateTimeout, if positive, keeps the connection of a task's request that is abandoned after it was sent and
	// before any byte of the response arrived: by Request.Timeout, by cancellation, or because a hedge was faster.
	// The response, up to 64 KiB, is read and discarded for at most this time, and the connection is then reused. If
	// it is 0, the connection is closed at once: the next request needs a new one, but the server learns that the
	// request was abandoned.
	LateTimeout time.Duration
	LateMax     int // connections to one host that read late responses, per loop; default half of ConnsPerHostMax. Others are closed

	// Limits bounds responses. The zero value means httpparse.DefaultLimits.
	Limits httpparse.Limits
	Hedge  Hedge
	// Tracer, if not nil, is called for every request in the goroutine that called Do.
	Tracer Tracer
}

// Tracer adds distributed tracing to requests.
type Tracer interface {
	// Begin is called with the arguments of Do before a request is sent. A non-empty traceparent replaces the
	// request's Traceparent field (W3C Trace Context). If end is not nil, it is called once: with the status when the
	// response head has been received, or with the error.
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
	orInt(&o.StreamsMax, 100)
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

// Client sends requests. All methods may be called from any goroutine and task.
type Client struct {
	options Options
	slots   slots
	shared  *pool // for goroutines that are not tasks

	transport *http.Transport // HTTP/2 for goroutines that are not tasks

	mu     sync.Mutex // guards changes of pools
	pools  atomic.Pointer[[]*pool]
	closed atomic.Bool
}

// New returns a Client. It opens no connection before the first request.
func New(o Options) *Client {
	o = o.withDefaults()
	c := &Client{options: o}
	c.slots.max = int64(o.ConnsMax)
	if o.Protocol.Multiplexed() {
		c.transport = c.newTransport()
	}
	c.shared = newPool(c, nil)
	c.pools.Store(&[]*pool{c.shared})
	return c
}

// Close closes idle connections. Connections in use are closed when their responses are closed. Later requests fail
// with ErrClosed. Close does not wait: each loop closes the connections of its own pool.
func (c *Client) Close() {
	c.closed.Store(true)
	for _, p := range *c.pools.Load() {
		p.post(p.closeIdle)
	}
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// poolOf returns the pool of the loop of t, or the shared pool if t is nil.
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
	return c.newLoopPool(l)
}

func (c *Client) newLoopPool(l *loop.Loop) *pool {
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

// Do sends req and returns when the head of its final response has been received. The body is then read from resp,
// which the caller must close. resp may be reused, even if it was not closed.
//
// t is the calling task, or nil in any other goroutine. resp belongs to that task or goroutine until it is closed.
// Cancelling t or ctx ends the request and closes its connection (see also Options.LateTimeout). ctx may be nil; in a
// task this is usual and cheapest, because the cancellation and the deadline of the task always apply. The error is
// an *Error.
//
// Without Request.Retries a request is sent again in two cases only. If a pooled connection is stale, that is, the server
// closed it before the first byte of the response (RFC 9112 section 9.3.1), an idempotent request without Stream is sent
// once more on a new connection. If a server of HTTP/2 has not processed the request (Error.Unprocessed), it is sent again
// whatever its method, in a task up to six times.
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
	x := c.poolOf(t).newCall(t)
	x.entered = entered
	kept := false
	defer func() {
		if !kept { // an error, or a panic in the caller's body reader
			x.recycle()
		}
	}()
	if err := x.prepare(req, traceparent); err != nil {
		return err
	}
	if ctx != nil {
		if err := x.watchContext(ctx); err != nil {
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
		x.adopt(answer)
	}
	resp.fill(answer)
	return nil
}

// Get fetches url and returns the status and the whole body. Any status is a success. A body of more than bodyMax
// bytes is an error.
func (c *Client) Get(t *loop.Task, ctx context.Context, url string, bodyMax int64) (status int, body []byte, err error) {
	var resp Response
	defer resp.Close()
	if err := c.Do(t, ctx, &Request{URL: url}, &resp); err != nil {
		return 0, nil, err
	}
	body, err = resp.ReadAll(bodyMax)
	return resp.Status, body, err
}

// Stats holds counters since New, and two gauges.
type Stats struct {
	Requests   uint64
	Dials      uint64 // connections opened
	Reuses     uint64 // requests sent on an idle connection
	Poisoned   uint64 // idle connections closed because unexpected data or an end had arrived
	Stale      uint64 // requests sent again because a pooled connection was stale
	Retries    uint64 // additional tries allowed by Request.Retries
	Waits      uint64 // requests that waited for a connection
	Hedges     uint64 // hedged requests: a second request was sent
	HedgeWins  uint64 // hedged requests whose second request was answered first
	Unfinished uint64 // connections closed because a response was not read to its end
	Late       uint64 // late responses read to their end
	Open       int    // connections that are open or being opened
	Idle       int    // idle connections
}

// Stats returns the sum over all pools. It may be called from any goroutine.
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
