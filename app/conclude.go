// This file owns the end of a request: what is answered for a handler that failed, wrote nothing, or not all, and what is
// logged of it. Which error is which is error.go's.

package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"tafe/loop"
)

// conclude brings the answer to an end after the handler: on the loop, where nothing may wait.
func (c *Context) conclude(err error) {
	r := &c.resp
	if c.hijacked != nil {
		c.concludeHijacked(err)
		return
	}
	if errors.Is(err, http.ErrAbortHandler) {
		c.cycle.conn.Abort(err)
		c.reason = "aborted"
		c.hub.reasons.count(c.reason)
		return
	}
	if c.cycle.conn.Closed() {
		c.concludeGone(err)
		return
	}
	if err == nil && !r.sent {
		switch {
		case r.bad != nil:
			err = r.bad
		case c.timedOut:
			err = errHandlerTimeout
		default:
			err = c.concludeEmpty()
		}
	}
	if err == nil {
		err = c.stream.finish(c)
	}
	if err == nil {
		return
	}
	if !r.sent {
		c.answerError(err)
		return
	}
	e, reason := c.reply(err)
	c.fail(err, e, reason)
	if c.stream.begun && r.framing != byNothing && !r.headless {
		c.breakOff(err)
	}
}

// breakOff sends what was written and then resets the connection, so that the client sees that the body is not complete.
func (c *Context) breakOff(err error) {
	c.hub.loop.Drive().Driver().Flush()
	c.cycle.conn.Abort(err)
}

// concludeGone ends a request whose connection is closed: nobody reads an answer, but a panic stays one.
func (c *Context) concludeGone(err error) {
	switch e, reason := c.reply(err); {
	case err == nil || e != errInternal || reason == "handler-error":
		c.reason = "client-gone"
		c.hub.reasons.count(c.reason)
	default:
		c.fail(err, e, reason)
	}
}

// concludeHijacked ends a request whose connection belongs to its handler: a failure is only logged, a panic closes it.
func (c *Context) concludeHijacked(err error) {
	if err == nil {
		return
	}
	e, reason := c.reply(err)
	c.fail(err, e, reason)
	if reason == "panic" || reason == "goexit" {
		_ = c.hijacked.Close()
	}
}

func (c *Context) concludeEmpty() error {
	status := c.resp.status
	if status == 0 {
		status = http.StatusOK
	}
	if c.stream.open {
		return nil
	}
	return c.NoContent(status)
}

// bodyHeaders describe a body that an error replaces.
var bodyHeaders = [...]string{"Content-Type", "Content-Length", "Content-Encoding", "ETag", "Last-Modified", "Cache-Control"}

// answerError answers with what err turns into. Headers of the handler are kept: they may be a CORS middleware's.
func (c *Context) answerError(err error) {
	r := &c.resp
	e, reason := c.reply(err)
	c.fail(err, e, reason)
	r.bad, r.choose, r.coder = nil, nil, nil
	c.stream = Stream{}
	for _, name := range bodyHeaders {
		c.DelHeader(name)
	}
	if c.body.err != nil || errors.Is(err, loop.ErrShutdown) {
		r.keepAlive = false
	}
	if c.wantsJSON() {
		_ = c.JSON(e.Status, map[string]any{"error": e.text(), "status": e.Status, "request_id": c.RequestID()})
		return
	}
	text := e.text() + "\n"
	if e.Status >= 500 {
		text = e.text() + " (request " + c.RequestID() + ")\n"
	}
	_ = c.String(e.Status, text)
}

// fail counts a failure and logs it: 500 is a fault of ours, other statuses from there on may be, the rest is the client's.
func (c *Context) fail(err error, e *HTTPError, reason string) {
	if c.reason = reason; reason != "" {
		c.hub.reasons.count(reason)
	}
	level := slog.LevelDebug
	switch {
	case e.Status == http.StatusInternalServerError:
		level = slog.LevelError
	case e.Status > http.StatusInternalServerError:
		level = slog.LevelWarn
	}
	if level == slog.LevelWarn && !c.hub.mayLog() {
		return // an upstream that is down fails every request
	}
	log := c.app.options.Log
	ctx := context.Background() // the Context will not outlive this, a log record may
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []any{
		"reason", reason, "error", err.Error(), "method", strings.Clone(c.Method()), "path", strings.Clone(c.Path()),
		"route", c.Route(), "request_id", strings.Clone(c.RequestID()), "remote", c.RemoteAddr(),
	}
	var fault *loop.PanicError
	if errors.As(err, &fault) {
		attrs = append(attrs, "stack", string(fault.Stack))
	}
	log.Log(ctx, level, "request failed", attrs...)
}
