// This file owns one request on its way: found in the input, framed, routed, run as a task, concluded. It does not know
// where the next one comes from (http1.go) nor how answers are spelled (response.go).

package app

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"time"

	"tafe/loop"
)

// exchange is a Context as the loop sees it: a Runner. The methods are not the handler's business.
type exchange Context

// methodNames are the methods whose names reports can point to.
var methodNames = [...]string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

var noRoute = ""

// dispatch finds the route of a parsed request, and so its handler and limits. The error is an *httpparse.Error.
func (c *Context) dispatch() error {
	a, req := c.app, &c.req
	c.bodyMax, c.timeout = a.options.Limits.BodyBytesMax, a.options.HandlerTimeout
	c.routeName = &noRoute
	if string(req.Method) == "CONNECT" {
		return refusedConnect
	}
	if c.cycle.redirect != nil {
		c.path, c.handler = req.Path, answerRedirect
		return nil
	}
	options := string(req.Method) == "OPTIONS"
	if options && len(req.Path) == 1 && req.Path[0] == '*' {
		c.path, c.handler = req.Path, a.options204
		c.SetHeader("Allow", a.router.allow)
		return nil
	}
	path, err := cleanPath(c.pathSpace, req.Path)
	if err != nil {
		return err
	}
	route, allowed := a.router.find(req.Method, path, &c.params)
	if len(path) > 0 && &path[0] != &req.Path[0] {
		c.pathSpace = path
		if bytes.IndexByte(path, escapedSlash) >= 0 {
			c.pathShown = appendShown(c.pathShown[:0], path)
			path = c.pathShown
		}
	}
	c.path = path
	switch {
	case route != nil:
		c.setRoute(route)
	case allowed == "":
		c.handler = a.notFound
	default:
		c.SetHeader("Allow", allowed)
		if c.handler = a.methodNotAllowed; options {
			c.handler = a.options204
		}
	}
	if c.req.ContentLength > c.bodyMax {
		return c.refuseBody()
	}
	return nil
}

// refuseBody has a body refused that is announced as too large: before any of it is read, but within the middlewares, whose headers
// let a page of another origin read why.
func (c *Context) refuseBody() error {
	if len(c.app.outer) == 0 && (c.route == nil || len(c.route.middlewares) == 0) {
		return refusedBody
	}
	c.body.err = refusedBody
	if c.handler = c.app.tooLarge; c.route != nil {
		c.handler = c.route.tooLarge
	}
	return nil
}

func (c *Context) setRoute(r *Route) {
	c.route, c.handler, c.routeName = r, r.serve, &r.Pattern
	if r.BodyMax > 0 {
		c.bodyMax = r.BodyMax
	}
	if r.Timeout > 0 {
		c.timeout = r.Timeout
	}
}

// identify gives the request its id.
func (c *Context) identify() {
	if c.app.options.TrustRequestID {
		if id := c.req.Header("X-Request-ID"); len(id) <= requestIDBytesMax && validID(id) {
			c.idBytes = copy(c.id[:], id)
			return
		}
	}
	c.idBytes = copy(c.id[:], c.hub.nextID())
}

// Run is the task: the handler within its middlewares.
func (x *exchange) Run(t *loop.Task) {
	c := (*Context)(x)
	c.task = t
	c.hub.active++
	c.hub.counts.Requests++
	t.Observe().Describe(c.routeName, methodName(c.req.Method), c.path, c.id[:c.idBytes], c.req.Traceparent, c.cycle.conn.Label())
	if c.route != nil && c.route.Budget > 0 {
		t.SetBudget(c.route.Budget)
	}
	blocking := false
	if r := c.route; r != nil {
		if r.Handoff != 0 {
			t.SetHandoff(r.Handoff)
		}
		if r.Blocking || r.placement.beside.Load() {
			blocking = r.placement.starts(r, c.hub.wall())
		}
	}
	if c.timeout > 0 {
		c.deadline = c.hub.loop.Now() + int64(c.timeout)
		t.SetDeadline(c.timeout)
	}
	if blocking {
		t.Beside()
	} else {
		t.Leave(true) // the handler may be slow: its loop may be taken from it
	}
	c.err = c.handler(c)
	if s := &c.stream; c.err == nil && c.resp.choose != nil && s.open && !s.begun && (c.resp.headless || s.status == 304) {
		c.err = s.begin() // nothing else begins an answer without a body
	}
	c.resp.choose = nil // what is left is answered by the loop, which cannot wait
	if c.err == nil && c.resp.coder != nil {
		c.err = c.endCoding()
	}
	t.Enter()
}

// Done concludes the answer and gives the connection back to its cycle.
func (x *exchange) Done(t *loop.Task, err error) {
	c := (*Context)(x)
	c.hub.active--
	if c.push.Armed() {
		c.hub.loop.StopTimer(&c.push)
	}
	if err == nil {
		err = c.err
	}
	c.timedOut = t.Err() == context.DeadlineExceeded
	c.place()
	c.conclude(err)
	c.hub.traffic.count(c)
	if c.app.options.AccessLog != nil || len(c.whenDone) > 0 {
		c.logAccess()
	}
	if !c.retained.Load() {
		c.task = nil // it is reused from here on
	}
	c.cycle.answered(c)
}

func methodName(method []byte) *string {
	for i := range methodNames {
		if methodNames[i] == string(method) {
			return &methodNames[i]
		}
	}
	name := string(method)
	return &name
}

func (c *Context) logAccess() {
	now := c.hub.loop.Now()
	c.hub.entry = Entry{
		Time:   c.hub.wall().Add(time.Duration(c.arrived - now)),
		Timing: c.timing(now),
		Remote: c.RemoteAddr(), ClientIP: c.ClientIP(), Method: c.Method(), Target: view(c.req.Target), Minor: c.req.Minor, Route: *c.routeName,
		Status: c.resp.status, Bytes: c.resp.bytes, RequestID: c.RequestID(),
		UserAgent: c.Header("User-Agent"), Referer: c.Header("Referer"), Reason: c.reason,
	}
	if c.app.options.AccessLog != nil {
		c.app.options.AccessLog(&c.hub.entry)
	}
	for _, f := range slices.Backward(c.whenDone) {
		f(&c.hub.entry)
	}
	c.hub.entry = Entry{}
}
