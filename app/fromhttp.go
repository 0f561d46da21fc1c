// Middlewares of net/http around Handlers. The middleware runs on a goroutine of its own, as a mounted handler does; the Handler that it wraps runs
// in the task of the request. diverted.go carries the Handler's response through the middleware's ResponseWriter.

package app

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"tafe/httpparse"
)

// FromHTTP makes a Middleware of one of net/http, such as those for sessions, CSRF tokens or authentication:
//
//	a.Use(app.FromHTTP(sessions.LoadAndSave), app.FromHTTP(http.NewCrossOriginProtection().Handler))
//
// The middleware runs beside the loop, on a goroutine of its own, so it may block; the rules of Mount apply to its request and its
// ResponseWriter. The Handler runs in its task, on the loop, when the middleware calls the next http.Handler. What it sees of the middleware:
//
//   - Context.Value has the values of the request's context, so that functions of the middleware that take a context take the Context;
//   - the end of that context cancels the request;
//   - changes of the header fields, and of the URL, which acts as Context.Rewrite;
//   - another Body, such as that of http.MaxBytesReader, which is read whole before the Handler runs, up to the route's limit.
//
// Changes of Method, Host, RemoteAddr and the rest of the request are ignored. The response of the Handler, and that to its error, is written
// to the ResponseWriter that the middleware has passed; each piece of a Stream is flushed. Trailers are dropped, files are not sent by the kernel.
// Of an event stream the middleware gets the head alone, and of a WebSocket nothing. A panic of the Handler answers 500; the middleware
// sees http.ErrAbortHandler.
//
// A request costs about one and a half times what a mounted handler costs, and a place of Options.MountMax (BenchmarkFromHTTP): use it for the
// routes that need it. Other routes are not affected. The middleware may call next more than once, but not from two goroutines at once.
func FromHTTP(middleware func(http.Handler) http.Handler) Middleware {
	return func(next Handler) Handler {
		h := middleware(inner{next})
		server := &http.Server{Handler: h}
		return func(c *Context) error {
			d := &diverted{pieces: make(chan piece, 1)}
			err := mount(c, h, server, func(m *mounted, r *http.Request) *http.Request {
				d.m, d.target = m, r.URL.RequestURI()
				d.request = r.WithContext(context.WithValue(r.Context(), divertedKey{}, d))
				return d.request
			})
			if d.failed != nil {
				return d.failed
			}
			return err
		}
	}
}

type divertedKey struct{}

// inner is the http.Handler that a middleware wraps.
type inner struct{ next Handler }

// ServeHTTP has the task run the Handler, and does what the task asks for meanwhile.
func (h inner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, ok := r.Context().Value(divertedKey{}).(*diverted)
	switch {
	case !ok:
		panic("app: FromHTTP: the context of the request is not derived from that which the middleware got")
	case !d.busy.CompareAndSwap(false, true):
		panic("app: FromHTTP: the middleware calls the next handler from two goroutines at once")
	}
	defer d.busy.Store(false)
	body, replaced, err := d.replacedBody(r)
	call := &taskCall{f: func(c *Context) error {
		if err == nil {
			err = d.adopt(c, r, body, replaced)
		}
		next := h.next
		if err != nil {
			next = func(*Context) error { return err }
		}
		return d.run(c, next, w, r)
	}}
	if d.m.post(call) != nil {
		panic(http.ErrAbortHandler)
	}
	for {
		select {
		case p := <-d.pieces:
			err := p.write(w)
			_ = d.m.submit(&taskCall{f: func(*Context) error {
				d.acked, d.err = true, err
				return nil
			}})
		case <-call.done:
			if call.err != nil {
				panic(http.ErrAbortHandler)
			}
			return
		}
	}
}

// replacedBody reads the body if the middleware has replaced it.
func (d *diverted) replacedBody(r *http.Request) (body []byte, replaced bool, err error) {
	if r.Body == d.request.Body || r.Body == nil {
		return nil, false, nil
	}
	body, err = io.ReadAll(io.LimitReader(r.Body, d.m.bodyMax+1))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) || err == nil && int64(len(body)) > d.m.bodyMax:
		return nil, true, &HTTPError{Status: http.StatusRequestEntityTooLarge, Err: err}
	case err != nil:
		return nil, true, &HTTPError{Status: http.StatusBadRequest, Message: "the request body cannot be read", Err: err}
	}
	return body, true, nil
}

// adopt makes the changes of the middleware to the request those of c. It runs in the task.
func (d *diverted) adopt(c *Context, r *http.Request, body []byte, replaced bool) error {
	if before := c.httpHeader(); !maps.EqualFunc(before, r.Header, slices.Equal) {
		for name := range before {
			if !slices.Equal(before[name], r.Header[name]) {
				c.RemoveRequestHeader(name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			if slices.Equal(before[name], r.Header[name]) {
				continue
			}
			for _, value := range r.Header[name] {
				if !httpparse.ValidToken(name) || !httpparse.ValidFieldValue(value) {
					return &HTTPError{Status: http.StatusInternalServerError, Err: errors.New("app: FromHTTP: the middleware has set an invalid request header")}
				}
				c.AddRequestHeader(name, value)
			}
		}
	}
	if target := r.URL.RequestURI(); target != d.target {
		if err := c.Rewrite(target); err != nil {
			return err
		}
		d.target = target
	}
	if replaced {
		defer c.task.Leave(c.task.Enter())
		b := &c.body
		if !b.done { // the rest cannot be told from the next request
			c.resp.keepAlive = false
		}
		b.whole, b.read, b.done = body, 0, true
	}
	return nil
}

// run runs the Handler with its response diverted to w. It runs in the task.
func (d *diverted) run(c *Context, next Handler, w http.ResponseWriter, r *http.Request) error {
	var over *endWatch
	if done := r.Context().Done(); done != d.request.Context().Done() {
		over = watchEnd(c, r.Context())
		defer over.stop()
	}
	d.enter(c, w, r.Context())
	defer d.exit(c)
	return d.conclude(c, c.endBody(next(c)))
}

// conclude ends the response of the Handler. The error is one that ends the request as a whole.
func (d *diverted) conclude(c *Context, err error) error {
	defer c.task.Leave(c.task.Enter())
	switch {
	case d.left || c.task.Err() != nil || c.wire.closed() || errors.Is(err, http.ErrAbortHandler):
		d.failed = err
		return err
	case err != nil && c.resp.sent:
		e, reason := c.reply(err)
		c.fail(err, e, reason)
		d.failed = http.ErrAbortHandler
		return err
	}
	c.conclude(err)
	return d.err
}
