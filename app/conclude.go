// The end of a request: the response if the handler failed or wrote none, and the log line about a failure. error.go maps errors to
// responses.

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"tafe/httpparse"
	"tafe/loop"
)

// conclude completes the response after the handler. It runs on the loop and must not wait.
func (c *Context) conclude(err error) {
	r := &c.resp
	if c.taken {
		c.concludeTaken(err)
		return
	}
	if errors.Is(err, http.ErrAbortHandler) {
		c.wire.abort(err)
		c.reason = "aborted"
		c.state.reasons.count(c.reason)
		return
	}
	if c.wire.closed() {
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
	if c.stream.begun && r.framing == httpparse.FramingClose && !r.bodiless && c.IsGRPC() {
		c.endGRPC(err, e)
		return
	}
	if c.stream.begun && r.framing != httpparse.FramingNone && !r.bodiless {
		c.wire.breakOff(err)
	}
}

// concludeGone ends a request whose connection is closed. It counts the client as gone, unless the handler failed by itself.
func (c *Context) concludeGone(err error) {
	switch e, reason := c.reply(err); {
	case err == nil || e != errInternal || reason == "handler-error":
		c.reason = "client-gone"
		c.state.reasons.count(c.reason)
	default:
		c.fail(err, e, reason)
	}
}

// concludeTaken ends a request whose connection is not its own any more. It logs an error, and closes a hijacked connection after a panic.
func (c *Context) concludeTaken(err error) {
	if c.socket != nil {
		err = c.socket.HandlerDone(err)
	}
	if err == nil {
		return
	}
	e, reason := c.reply(err)
	c.fail(err, e, reason)
	if c.hijacked != nil && (reason == "panic" || reason == "goexit") {
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

// bodyHeaders are the headers that describe the body, which an error response replaces.
var bodyHeaders = [...]string{"Content-Type", "Content-Length", "Content-Encoding", "ETag", "Last-Modified", "Cache-Control"}

// answerError writes the response to err. Headers that were set are kept, such as those of CORS, except for bodyHeaders.
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
	if c.IsGRPC() {
		c.answerGRPC(err, e)
		return
	}
	if c.answerPage(e) {
		return
	}
	if c.WantsJSON() {
		answer := map[string]any{"error": e.text(), "status": e.Status, "request_id": c.RequestID()}
		if faults := faultsOf(e); faults != nil {
			answer["fields"] = faults
		}
		_ = c.JSON(e.Status, answer)
		return
	}
	text := e.text() + "\n"
	if e.Status >= 500 {
		text = e.text() + " (request " + c.RequestID() + ")\n"
	}
	_ = c.String(e.Status, text)
}

// errorPage returns the ErrorPage of the Host or the App, or nil.
func (c *Context) errorPage() ErrorPage {
	if c.host != nil && c.host.page != nil {
		return c.host.page
	}
	return c.app.page
}

// answerPage calls the ErrorPage, and reports whether it has written a response. A panic or an error is logged.
func (c *Context) answerPage(e *HTTPError) bool {
	page := c.errorPage()
	if page == nil {
		return false
	}
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v", v)
			}
		}()
		return page(c, e)
	}()
	if err != nil {
		c.state.reasons.count("error-page")
		if c.state.mayLog() {
			c.app.options.Log.Error("error page failed", "status", e.Status, "error", err)
		}
	}
	return c.resp.sent
}

// fail counts and logs a failure: 500 as an error, other 5xx as warnings, the rest at debug level. Refusals are logged as such.
func (c *Context) fail(err error, e *HTTPError, reason string) {
	if refusal, ok := err.(*httpparse.Error); ok && refusal == c.refusal {
		c.reason = reason
		c.state.refusal(c.RemoteAddr(), refusal)
		return
	}
	if c.reason = reason; reason != "" {
		c.state.reasons.count(reason)
	}
	level := slog.LevelDebug
	switch {
	case e.Status == http.StatusInternalServerError:
		level = slog.LevelError
	case e.Status > http.StatusInternalServerError:
		level = slog.LevelWarn
	}
	if level == slog.LevelWarn && !c.state.mayLog() {
		return // such as one line per request while an upstream is down
	}
	log := c.app.options.Log
	ctx := context.Background() // a log record may outlive c
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []any{
		"reason", reason, "error", err.Error(), "method", c.Method(), "path", c.Path(),
		"route", *c.routeName, "request_id", c.RequestID(), "remote", c.RemoteAddr(),
	}
	var fault *loop.PanicError
	if errors.As(err, &fault) {
		attrs = append(attrs, "stack", strings.TrimSuffix(string(fault.Stack), "\n"))
	}
	log.Log(ctx, level, "request failed", attrs...)
}
