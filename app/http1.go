// The state machine of one HTTP/1 connection. It reads requests from the connection's input and serves them one at a time, in order.
// requesttask.go runs a request; body.go and response.go read and write it.
//
// A connection is in one of these states:
//
//	idle        no request, no input         IdleTimeout, then close without a response
//	reading     no request, part of a head   HeadTimeout, then 408
//	answering   the task of a request runs   timeout of the handler; BodyTimeout and BodyRateMin while it waits for the body
//	discarding  the task has ended           the rest of the body is read and dropped; BodyTimeout, then close
//	stalled     too much unsent output       no further request is served until the client reads
//
// After the client has closed its sending side (half-close), complete requests are still answered; then the connection is closed.

package app

import (
	"errors"
	"net/http"
	"time"

	"tafe/app/internal/poison"
	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// http1Conn is the reactor.Handler of one connection. On the loop only.
type http1Conn struct {
	state  *loopState
	conn   *reactor.Conn
	active *Context // the request in progress
	place           // in state.conns
	terms  *Listener

	scanned    int    // where FindHead resumes
	arrived    int64  // loop clock of the last input
	pinned     []byte // the part of the input with the active request, until unpin; nil: the request is in a copy
	hadRequest bool
	reading    bool
	discarding bool
	stalled    bool
	tls        *tlsName // nil until it is asked for
}

// Data handles input.
func (hc *http1Conn) Data(*reactor.Conn) {
	hc.arrived = hc.state.loop.Now()
	switch {
	case hc.active == nil:
		hc.advance()
	case hc.discarding:
		hc.discardBody()
	default:
		hc.active.bodyArrived()
		hc.active.clientLeft()
	}
}

// InputBuffer implements reactor.InputReceiver with the buffer of a handler that waits for its body.
func (hc *http1Conn) InputBuffer() []byte {
	if hc.active == nil {
		return nil
	}
	return hc.active.body.into
}

// InputTaken implements reactor.InputReceiver. Data follows and wakes the handler.
func (hc *http1Conn) InputTaken(n int) {
	b := &hc.active.body
	b.into, b.filled = nil, n
}

// Timeout handles the timeout of the current state.
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

// Closed cancels the request in progress when the connection has ended.
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
	hc.state.closed(&hc.place)
}

// advance starts the next request if its head is complete. The end of the request calls advance again.
func (hc *http1Conn) advance() {
	if hc.active == nil && !hc.stalled && !hc.conn.Closed() {
		hc.next()
	}
	hc.armTimeout()
}

// armTimeout arms the timeout of the current state. A timeout that is still armed when a request becomes active is not stopped: Timeout
// ignores it.
func (hc *http1Conn) armTimeout() {
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

// firstRequestMax is the time that a connection without a request may take to send its first one while its loop drains. The request may
// be in flight when the drain begins.
const firstRequestMax = time.Second

// closeIfIdle closes an idle connection while its loop drains, after firstRequestMax if it has had no request. It reports whether it did.
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

// detached reports whether the request was hijacked.
func (hc *http1Conn) detached() bool { return hc.active != nil && hc.active.taken }

// next starts the next request if its head is complete, or refuses it.
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
	if in[0] == 'P' && !hc.hadRequest && hc.takesHTTP2() && hc.prefaced(in) {
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
	c.wire, c.arrived, c.started = hc, hc.arrived, ls.loop.Now()
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

// frame parses the head in[skip:end] and decides where the request is stored. If the whole body is in the input, the request stays in the
// input buffer, which is pinned, and its bytes are consumed. Otherwise the head is copied, so that the buffer can be reused for the body.
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
		hc.pinned = in[skip:last]
		hc.conn.Consume(last)
		return nil
	}
	c.head = append(c.head[:0], in[skip:end]...)
	hc.conn.Consume(end)
	return c.req.Parse(c.head, limits)
}

// start starts the task of the request.
func (hc *http1Conn) start(c *Context) {
	c.identify()
	if !c.body.done {
		c.body.expect(c)
	}
	hc.active = c
	if c.start() != nil {
		hc.active = nil
		hc.refuseParsed(c, refusedOverload)
	}
}

// answered continues the connection after the response to c. requestTask.Done calls it, on the loop.
func (hc *http1Conn) answered(c *Context) {
	switch {
	case c.taken:
		hc.detach()
	case hc.conn.Closed() || !c.resp.keepAlive || c.body.err != nil:
		hc.end(false)
	case !c.body.done:
		hc.discarding = true
		c.body.rate.pause = 0 // of the handler
		c.body.rate.wait(c)
		hc.discardBody()
	default:
		hc.end(true)
	}
}

// discardBody drops the input that belongs to a body which the handler did not read.
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

// end releases the request. The connection continues with the next request if keep is set, and is closed otherwise.
func (hc *http1Conn) end(keep bool) {
	c := hc.active
	hc.active, hc.discarding = nil, false
	if !keep {
		if c.body.done && !c.req.KeepAlive && len(hc.conn.Input()) == 0 && !hc.conn.Secure() {
			hc.conn.NoLinger() // the client sends nothing more
		}
		hc.conn.Consume(len(hc.conn.Input()))
	}
	hc.unpin()
	hc.state.putContext(c)
	if !keep {
		hc.conn.Close()
	} else {
		hc.advance()
	}
	hc.state.checkDrained()
}

// unpin releases the input that has the active request.
func (hc *http1Conn) unpin() {
	if hc.pinned == nil {
		return
	}
	if poison.On() {
		poison.Overwrite(hc.pinned)
	}
	hc.pinned = nil
	hc.conn.Unpin()
}

// stall stops serving requests until the client has read enough of the output.
func (hc *http1Conn) stall() {
	hc.stalled = true
	if _, err := hc.state.loop.StartReserved((*drainer)(hc)); err != nil {
		hc.refuse(refusedOverload, nil)
	}
}

// drainer is the task of a stalled connection.
type drainer http1Conn

// Run waits until the client has read enough. The yield sends the buffered output.
func (d *drainer) Run(t *loop.Task) {
	if t.Yield() == nil {
		_ = reactor.Drain(t, d.conn) // advance checks the state of the connection
	}
}

// Done continues with the next request.
func (d *drainer) Done(*loop.Task, error) {
	hc := (*http1Conn)(d)
	hc.stalled = false
	hc.advance()
}

// refuse answers an invalid request and closes the connection, because the start of the next request is unknown. c is nil if the head was
// not complete.
func (hc *http1Conn) refuse(err error, c *Context) {
	ls, e := hc.state, refusalOf(err)
	ls.logRefused(hc.conn.Remote(), c, e)
	text := http.StatusText(e.Status) + ": " + e.Detail + "\n"
	b := hc.conn.Output(256 + len(text))
	b = httpparse.AppendStatusLine(b, e.Status)
	b = append(append(b, ls.app.serverLine...), ls.dateLine()...)
	b = append(b, "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"...)
	b = httpparse.AppendContentLength(b, int64(len(text)))
	b = httpparse.AppendHeadEnd(b)
	if c == nil || !c.resp.bodiless {
		b = append(b, text...)
	}
	hc.conn.SetOutput(b)
	hc.reading = false
	hc.conn.Consume(len(hc.conn.Input()))
	hc.conn.Close()
}

// logRefused counts and logs a request that was refused before it had a handler. c is nil if there is no head.
func (ls *loopState) logRefused(remote string, c *Context, e *httpparse.Error) {
	ls.refusal(remote, e)
	ls.counts.ByClass[e.Status/100]++
	if ls.app.options.AccessLog == nil {
		return
	}
	entry := Entry{Time: ls.wall(), Remote: remote, ClientIP: HostOf(remote), Status: e.Status, Reason: e.Reason}
	if c != nil {
		entry.Method, entry.Target = c.Method(), c.RawTargetView()
		if entry.Method != "" {
			entry.Proto = c.Proto()
		}
	}
	ls.app.options.AccessLog(&entry)
}

// refuseParsed refuses a request that has a Context.
func (hc *http1Conn) refuseParsed(c *Context, err error) {
	hc.refuse(err, c)
	hc.unpin()
	hc.state.putContext(c)
}

func refusalOf(err error) *httpparse.Error {
	var e *httpparse.Error
	if errors.As(err, &e) {
		return e
	}
	return &httpparse.Error{Status: http.StatusBadRequest, Reason: "unreadable", Detail: err.Error()}
}
