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
type cycle struct {
	hub    *hub
	conn   *reactor.Conn
	active *Context // the request that is being answered
	pos    int      // in hub.cycles

	scanned  int   // FindHead's resume
	arrived  int64 // loop clock of the last input
	pinned   bool
	asked    bool // a request has come
	reading  bool
	swallows bool
	stalled  bool
	awaited  bool                     // by a drain
	redirect func(host string) string // of its Listener
}

// Data takes what arrived.
func (y *cycle) Data(*reactor.Conn) {
	y.arrived = y.hub.loop.Now()
	switch {
	case y.active == nil:
		y.advance()
	case y.swallows:
		y.swallow()
	default:
		y.active.bodyArrived()
	}
}

// Timeout acts on the timeout of the state the cycle is in.
func (y *cycle) Timeout(*reactor.Conn) {
	switch {
	case y.swallows:
		y.hub.reasons.count("body-timeout")
		y.end(false)
	case y.active != nil:
		y.active.body.timeOut()
	case y.reading:
		y.refuse(refusedHeadTimeout, nil)
	case !y.stalled:
		y.conn.Close()
	}
}

// Closed cancels what runs for a client that is gone.
func (y *cycle) Closed(_ *reactor.Conn, err error) {
	if errors.Is(err, reactor.ErrWriteTimeout) {
		y.hub.reasons.count("write-timeout")
	}
	switch {
	case y.swallows:
		y.end(false)
	case y.active != nil:
		y.active.task.Cancel(ErrClientGone)
	}
	y.hub.closed(y)
}

// advance begins the next message, if it is there as a whole. Its end calls advance again.
func (y *cycle) advance() {
	if y.active == nil && !y.stalled && !y.conn.Closed() {
		y.next()
	}
	y.setTimeout()
}

// setTimeout arms the timeout of the state in which advance leaves the cycle. While a request is active, the timeout that is armed
// is let pass: Timeout knows.
func (y *cycle) setTimeout() {
	o := &y.hub.app.options
	switch {
	case y.conn.Closed() || y.swallows || y.active != nil || y.stalled:
	case y.conn.InputEnded():
		y.conn.Close()
	case len(y.conn.Input()) == 0:
		if y.reading = false; !y.closeIfIdle() {
			y.conn.SetTimeout(o.IdleTimeout)
		}
	case !y.reading:
		y.reading = true
		y.conn.SetTimeout(o.HeadTimeout)
	}
}

// firstRequestMax is how long a connection that has had no request may take to send one while its loop drains: it was accepted
// a moment ago, and its request may be under way.
const firstRequestMax = time.Second

// closeIfIdle closes a connection without a request while its loop drains, after a moment if it has never had one.
func (y *cycle) closeIfIdle() bool {
	if !y.hub.draining || y.active != nil || y.stalled || len(y.conn.Input()) > 0 {
		return false
	}
	if y.asked {
		y.conn.Close()
	} else {
		y.conn.SetTimeout(firstRequestMax)
	}
	return true
}

// next begins the next message, unless that is not there as a whole, or refused.
func (y *cycle) next() {
	h := y.hub
	in := y.conn.Input()
	if len(in) == 0 {
		return
	}
	if y.conn.Unsent() >= y.conn.Limits().OutboundMax {
		y.stall()
		return
	}
	skip, end, resume, err := httpparse.FindHead(in, y.scanned, &h.app.headLimits)
	if err != nil {
		y.refuse(err, nil)
		return
	}
	if end == 0 {
		y.scanned = resume
		return
	}
	y.scanned, y.reading, y.asked = 0, false, true
	c := h.take()
	c.cycle, c.arrived, c.started = y, y.arrived, h.loop.Now()
	if err = y.frame(c, in, skip, end); err == nil {
		c.resp.begin(&c.req)
		err = c.dispatch()
	}
	if err != nil {
		y.refuseParsed(c, err)
		return
	}
	y.start(c)
}

// frame parses the head in[skip:end] and decides whose memory the request lives in. With its whole body in the input it
// stays there, pinned and already consumed. Otherwise the head is copied, so that the input can move on below the body.
func (y *cycle) frame(c *Context, in []byte, skip, end int) error {
	limits := &y.hub.app.headLimits
	if err := c.req.Parse(in[skip:end], limits); err != nil {
		return err
	}
	length := c.req.ContentLength
	if length >= 0 && int64(len(in)-end) >= length {
		last := end + int(length)
		c.body.begin(in[end:last:last])
		y.conn.Pin()
		y.pinned = true
		y.conn.Consume(last)
		return nil
	}
	c.head = append(c.head[:0], in[skip:end]...)
	y.conn.Consume(end)
	return c.req.Parse(c.head, limits)
}

// start has the handler run by a task.
func (y *cycle) start(c *Context) {
	c.identify()
	if !c.body.done {
		c.body.expect(c)
	}
	y.active = c
	var err error
	if c.task, err = y.hub.loop.StartOf((*exchange)(c), c.account()); err != nil {
		y.active = nil
		y.refuseParsed(c, refusedOverload)
	}
}

// answered goes on after the answer to c was written as far as it will be. Called on the loop, by Done.
func (y *cycle) answered(c *Context) {
	switch {
	case c.hijacked != nil:
		y.abandon()
	case y.conn.Closed() || !c.resp.keepAlive || c.body.err != nil:
		y.end(false)
	case !c.body.done:
		y.swallows = true
		c.body.rate.wait(c)
		y.swallow()
	default:
		y.end(true)
	}
}

// swallow drops what arrived of a body that its handler did not read.
func (y *cycle) swallow() {
	c := y.active
	c.body.rate.waited(c)
	switch err := c.discard(); {
	case err != nil:
		y.hub.refusal(y.conn.Remote(), refusalOf(err))
		y.end(false)
	case c.body.done:
		y.end(true)
	case y.conn.InputEnded():
		y.end(false)
	default:
		y.conn.SetTimeout(c.body.rate.wait(c))
	}
}

// end forgets the request; keep tells whether the connection goes on to the next one.
func (y *cycle) end(keep bool) {
	c := y.active
	y.active, y.swallows = nil, false
	if !keep {
		if c.body.done && !c.req.KeepAlive && len(y.conn.Input()) == 0 && !y.conn.Secure() {
			y.conn.NoLinger() // the client has said that it sends nothing more
		}
		y.conn.Consume(len(y.conn.Input())) // nobody will read it
	}
	if y.pinned {
		y.pinned = false
		y.conn.Unpin()
	}
	y.hub.put(c)
	if !keep {
		y.conn.Close()
	} else {
		y.advance()
	}
	y.hub.checkDrained()
}

// stall stops answering until the client has read some of its answers.
func (y *cycle) stall() {
	y.stalled = true
	if _, err := y.hub.loop.Start((*drainer)(y)); err != nil {
		y.refuse(refusedOverload, nil)
	}
}

// drainer waits for the client to read.
type drainer cycle

// Run waits. The yield is what sends the output that has gathered.
func (d *drainer) Run(t *loop.Task) {
	if t.Yield() == nil {
		_ = reactor.Drain(t, d.conn) // the connection's state tells
	}
}

// Done goes on with the next message.
func (d *drainer) Done(*loop.Task, error) {
	y := (*cycle)(d)
	y.stalled = false
	y.advance()
}

// refuse answers what cannot be a request, and ends the connection: where the next message begins is unknown. c is nil
// unless the head was complete.
func (y *cycle) refuse(err error, c *Context) {
	h, e := y.hub, refusalOf(err)
	h.refusal(y.conn.Remote(), e)
	h.counts.ByClass[e.Status/100]++
	if h.app.options.AccessLog != nil {
		entry := Entry{Time: h.wall(), Remote: y.conn.Remote(), ClientIP: hostOf(y.conn.Remote()), Status: e.Status, Reason: e.Reason}
		if c != nil {
			entry.Method, entry.Target, entry.Minor = c.Method(), view(c.req.Target), c.req.Minor
		}
		h.app.options.AccessLog(&entry)
	}
	text := http.StatusText(e.Status) + ": " + e.Detail + "\n"
	b := y.conn.Output(256 + len(text))
	b = httpparse.AppendStatusLine(b, e.Status)
	b = append(append(b, h.app.serverLine...), h.dateLine()...)
	b = append(b, "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"...)
	b = httpparse.AppendContentLength(b, int64(len(text)))
	b = httpparse.AppendHeadEnd(b)
	if c == nil || !c.resp.headless {
		b = append(b, text...)
	}
	y.conn.SetOutput(b)
	y.reading = false
	y.conn.Consume(len(y.conn.Input()))
	y.conn.Close()
}

// refuseParsed refuses a message that took a Context already.
func (y *cycle) refuseParsed(c *Context, err error) {
	y.refuse(err, c)
	if y.pinned {
		y.pinned = false
		y.conn.Unpin()
	}
	y.hub.put(c)
}

func refusalOf(err error) *httpparse.Error {
	var e *httpparse.Error
	if errors.As(err, &e) {
		return e
	}
	return &httpparse.Error{Status: http.StatusBadRequest, Reason: "unreadable", Detail: err.Error()}
}
