// This file owns one HTTP/1 connection: it finds the next message in the input, has it answered, and goes on, one
// message at a time and so in the order of the requests. Timeouts between messages are its own; what happens within
// one is exchange.go's, body.go's and response.go's.
//
// A cycle is in one of these states:
//
//	idle        no request, no input       IdleTimeout, then closed without an answer
//	reading     no request, part of a head HeadTimeout, then 408
//	answering   active, its task runs      no timeout but the handler's; BodyTimeout and BodyRateMin while it waits for the body
//	swallowing  active, its task is done   the rest of the body arrives and is dropped; BodyTimeout, then closed
//	stalled     the client does not read what it was sent: nothing more is answered until it does
//
// A client that ends its direction of the stream gets the answers to what it has sent as a whole; then the connection closes.

package app

import (
	"errors"
	"net/http"
	"time"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// cycle is the reactor.Handler of one connection.
type http1Conn struct {
	state  *loopState
	conn   *reactor.Conn
	active *Context // the request that is being answered
	pos    int      // in hub.conns

	scanned    int   // FindHead's resume
	arrived    int64 // loop clock of the last input
	pinned     bool
	hadRequest bool // a request has come
	reading    bool
	discarding bool
	stalled    bool
	awaited    bool                     // by a drain
	redirect   func(host string) string // of its Listener
}

// Data takes what arrived.
func (hc *http1Conn) Data(*reactor.Conn) {
	hc.arrived = hc.state.loop.Now()
	switch {
	case hc.active == nil:
		hc.advance()
	case hc.discarding:
		hc.discardBody()
	default:
		hc.active.bodyArrived()
	}
}

// Timeout acts on the timeout of the state the cycle is in.
func (hc *http1Conn) Timeout(*reactor.Conn) {
	switch {
	case hc.discarding:
		hc.state.reasons.count("body-timeout")
		hc.end(false)
	case hc.active != nil:
		hc.active.body.timeOut()
	case hc.reading:
		hc.refuse(refusedHeadTimeout, nil)
	case !hc.stalled:
		hc.conn.Close()
	}
}

// Closed cancels what runs for a client that is gone.
func (hc *http1Conn) Closed(_ *reactor.Conn, err error) {
	if errors.Is(err, reactor.ErrWriteTimeout) {
		hc.state.reasons.count("write-timeout")
	}
	switch {
	case hc.discarding:
		hc.end(false)
	case hc.active != nil:
		hc.active.task.Cancel(ErrClientGone)
	}
	hc.state.closed(hc)
}

// advance begins the next message, if it is there as a whole. Its end calls advance again.
func (hc *http1Conn) advance() {
	if hc.active == nil && !hc.stalled && !hc.conn.Closed() {
		hc.next()
	}
	hc.setTimeout()
}

// setTimeout arms the timeout of the state in which advance leaves the cycle. While a request is active, the timeout that is armed
// is let pass: Timeout knows.
func (hc *http1Conn) setTimeout() {
	o := &hc.state.app.options
	switch {
	case hc.conn.Closed() || hc.discarding || hc.active != nil || hc.stalled:
	case hc.conn.InputEnded():
		hc.conn.Close()
	case len(hc.conn.Input()) == 0:
		if hc.reading = false; !hc.closeIfIdle() {
			hc.conn.SetTimeout(o.IdleTimeout)
		}
	case !hc.reading:
		hc.reading = true
		hc.conn.SetTimeout(o.HeadTimeout)
	}
}

// firstRequestMax is how long a connection that has had no request may take to send one while its loop drains: it was accepted
// a moment ago, and its request may be under way.
const firstRequestMax = time.Second

// closeIfIdle closes a connection without a request while its loop drains, after a moment if it has never had one.
func (hc *http1Conn) closeIfIdle() bool {
	if !hc.state.draining || hc.active != nil || hc.stalled || len(hc.conn.Input()) > 0 {
		return false
	}
	if hc.hadRequest {
		hc.conn.Close()
	} else {
		hc.conn.SetTimeout(firstRequestMax)
	}
	return true
}

// next begins the next message, unless that is not there as a whole, or refused.
func (hc *http1Conn) next() {
	ls := hc.state
	in := hc.conn.Input()
	if len(in) == 0 {
		return
	}
	if hc.conn.Unsent() >= hc.conn.Limits().OutboundMax {
		hc.stall()
		return
	}
	skip, end, resume, err := httpparse.FindHead(in, hc.scanned, &ls.app.headLimits)
	if err != nil {
		hc.refuse(err, nil)
		return
	}
	if end == 0 {
		hc.scanned = resume
		return
	}
	hc.scanned, hc.reading, hc.hadRequest = 0, false, true
	c := ls.takeContext()
	c.http1, c.arrived, c.started = hc, hc.arrived, ls.loop.Now()
	if err = hc.frame(c, in, skip, end); err == nil {
		c.resp.begin(&c.req)
		err = c.dispatch()
	}
	if err != nil {
		hc.refuseParsed(c, err)
		return
	}
	hc.start(c)
}

// frame parses the head in[skip:end] and decides whose memory the request lives in. With its whole body in the input it
// stays there, pinned and already consumed. Otherwise the head is copied, so that the input can move on below the body.
func (hc *http1Conn) frame(c *Context, in []byte, skip, end int) error {
	limits := &hc.state.app.headLimits
	if err := c.req.Parse(in[skip:end], limits); err != nil {
		return err
	}
	length := c.req.ContentLength
	if length >= 0 && int64(len(in)-end) >= length {
		last := end + int(length)
		c.body.begin(in[end:last:last])
		hc.conn.Pin()
		hc.pinned = true
		hc.conn.Consume(last)
		return nil
	}
	c.head = append(c.head[:0], in[skip:end]...)
	hc.conn.Consume(end)
	return c.req.Parse(c.head, limits)
}

// start has the handler run by a task.
func (hc *http1Conn) start(c *Context) {
	c.identify()
	if !c.body.done {
		c.body.expect(c)
	}
	hc.active = c
	var err error
	if c.task, err = hc.state.loop.StartOf((*requestTask)(c), c.cost()); err != nil {
		hc.active = nil
		hc.refuseParsed(c, refusedOverload)
	}
}

// answered goes on after the answer to c was written as far as it will be. Called on the loop, by Done.
func (hc *http1Conn) answered(c *Context) {
	switch {
	case c.hijacked != nil:
		hc.detach()
	case hc.conn.Closed() || !c.resp.keepAlive || c.body.err != nil:
		hc.end(false)
	case !c.body.done:
		hc.discarding = true
		c.body.rate.wait(c)
		hc.discardBody()
	default:
		hc.end(true)
	}
}

// swallow drops what arrived of a body that its handler did not read.
func (hc *http1Conn) discardBody() {
	c := hc.active
	c.body.rate.waited(c)
	switch err := c.discard(); {
	case err != nil:
		hc.state.refusal(hc.conn.Remote(), refusalOf(err))
		hc.end(false)
	case c.body.done:
		hc.end(true)
	case hc.conn.InputEnded():
		hc.end(false)
	default:
		hc.conn.SetTimeout(c.body.rate.wait(c))
	}
}

// end forgets the request; keep tells whether the connection goes on to the next one.
func (hc *http1Conn) end(keep bool) {
	c := hc.active
	hc.active, hc.discarding = nil, false
	if !keep {
		if c.body.done && !c.req.KeepAlive && len(hc.conn.Input()) == 0 && !hc.conn.Secure() {
			hc.conn.NoLinger() // the client has said that it sends nothing more
		}
		hc.conn.Consume(len(hc.conn.Input())) // nobody will read it
	}
	if hc.pinned {
		hc.pinned = false
		hc.conn.Unpin()
	}
	hc.state.putContext(c)
	if !keep {
		hc.conn.Close()
	} else {
		hc.advance()
	}
	hc.state.checkDrained()
}

// stall stops answering until the client has read some of its answers.
func (hc *http1Conn) stall() {
	hc.stalled = true
	if _, err := hc.state.loop.Start((*drainer)(hc)); err != nil {
		hc.refuse(refusedOverload, nil)
	}
}

// drainer waits for the client to read.
type drainer http1Conn

// Run waits. The yield is what sends the output that has gathered.
func (d *drainer) Run(t *loop.Task) {
	if t.Yield() == nil {
		_ = reactor.Drain(t, d.conn) // the connection's state tells
	}
}

// Done goes on with the next message.
func (d *drainer) Done(*loop.Task, error) {
	hc := (*http1Conn)(d)
	hc.stalled = false
	hc.advance()
}

// refuse answers what cannot be a request, and ends the connection: where the next message begins is unknown. c is nil
// unless the head was complete.
func (hc *http1Conn) refuse(err error, c *Context) {
	ls, e := hc.state, refusalOf(err)
	ls.refusal(hc.conn.Remote(), e)
	ls.counts.ByClass[e.Status/100]++
	if ls.app.options.AccessLog != nil {
		entry := Entry{Time: ls.wall(), Remote: hc.conn.Remote(), ClientIP: hostOf(hc.conn.Remote()), Status: e.Status, Reason: e.Reason}
		if c != nil {
			entry.Method, entry.Target, entry.Minor = c.Method(), view(c.req.Target), c.req.Minor
		}
		ls.app.options.AccessLog(&entry)
	}
	text := http.StatusText(e.Status) + ": " + e.Detail + "\n"
	b := hc.conn.Output(256 + len(text))
	b = httpparse.AppendStatusLine(b, e.Status)
	b = append(append(b, ls.app.serverLine...), ls.dateLine()...)
	b = append(b, "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"...)
	b = httpparse.AppendContentLength(b, int64(len(text)))
	b = httpparse.AppendHeadEnd(b)
	if c == nil || !c.resp.headless {
		b = append(b, text...)
	}
	hc.conn.SetOutput(b)
	hc.reading = false
	hc.conn.Consume(len(hc.conn.Input()))
	hc.conn.Close()
}

// refuseParsed refuses a message that took a Context already.
func (hc *http1Conn) refuseParsed(c *Context, err error) {
	hc.refuse(err, c)
	if hc.pinned {
		hc.pinned = false
		hc.conn.Unpin()
	}
	hc.state.putContext(c)
}

func refusalOf(err error) *httpparse.Error {
	var e *httpparse.Error
	if errors.As(err, &e) {
		return e
	}
	return &httpparse.Error{Status: http.StatusBadRequest, Reason: "unreadable", Detail: err.Error()}
}
