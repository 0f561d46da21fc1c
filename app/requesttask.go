// The task of one request: dispatch to a route, the handler's run, and the access log entry. http1.go finds requests in the input;
// conclude.go ends them.

package app

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"tafe/httpparse"
	"tafe/loop"
)

// requestTask is the loop.Runner of a Context, so that Run and Done are not methods of Context.
type requestTask Context

// methodNames are the methods that are counted and described under their own names.
var methodNames = [...]string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

var noRouteName = ""

// dispatch sets the route, handler and limits of a parsed request. The error is an *httpparse.Error that no middleware needs to see.
func (c *Context) dispatch() error {
	a, req := c.app, &c.req
	c.bodyMax, c.timeout = a.options.Limits.BodyBytesMax, a.options.HandlerTimeout
	c.routeName = &noRouteName
	if string(req.Method) == "CONNECT" {
		return c.refuse(refusedConnect)
	}
	if l := c.wire.listener(); l != nil && l.Challenge != nil && bytes.HasPrefix(req.Path, []byte(challengePath)) {
		c.path, c.handler = req.Path, answerChallenge
		return nil
	}
	return c.find()
}

// find sets the handler of a parsed request, and its route if it has one.
func (c *Context) find() error {
	a, req := c.app, &c.req
	if l := c.wire.listener(); l != nil && l.Redirect != nil {
		c.path, c.handler = req.Path, answerRedirect
		return nil
	}
	options := string(req.Method) == "OPTIONS"
	if options && len(req.Path) == 1 && req.Path[0] == '*' {
		c.path, c.handler = req.Path, a.options204
		c.SetHeader("Allow", a.allow)
		return nil
	}
	c.host = a.hostFor(req.Host)
	path, err := cleanPath(c.pathSpace, req.Path)
	if err != nil {
		return c.refuse(err)
	}
	c.routed = path
	route, allowed := c.lookUp(req.Method, path)
	if len(path) > 0 && &path[0] != &req.Path[0] {
		c.pathSpace = path
		if bytes.IndexByte(path, escapedSlash) >= 0 {
			c.pathShown = appendShown(c.pathShown[:0], path)
			path = c.pathShown
		}
	}
	c.path = path
	switch {
	case c.misdirected():
		c.handler, c.host = a.misdirected, nil
	case route != nil:
		c.setRoute(route)
	case allowed != "":
		c.SetHeader("Allow", allowed)
		if c.handler = c.fallbacks().methodNotAllowed; options {
			c.handler = c.fallbacks().options204
		}
	case c.lacksSlash(req.Method, c.routed):
		c.handler = c.fallbacks().addSlash
	default:
		c.handler = c.fallbacks().notFound
	}
	if c.req.ContentLength > c.bodyMax {
		return c.refuse(refusedBody) // before the body is read
	}
	return nil
}

// refuse has the request answered with err, an *httpparse.Error, in place of its handler, and the connection closed. The response passes
// through the middlewares, so that it has their headers: a page of another origin can read it (CORS). Without middlewares and error pages refuse returns err.
func (c *Context) refuse(err error) error {
	if len(c.app.outer) == 0 && (c.host == nil || len(c.host.outer) == 0) && (c.route == nil || len(c.route.middlewares) == 0) && c.errorPage() == nil {
		return err
	}
	c.refusal = refusalOf(err)
	if c.path == nil {
		c.path = c.req.Path
	}
	c.resp.keepAlive = false
	if c.refusal == refusedBody {
		c.body.err = refusedBody
	}
	if c.handler = c.fallbacks().refused; c.route != nil {
		c.handler = c.route.refused
	}
	return nil
}

// start starts the task of the request. Beyond the limit on tasks it starts one that refuses the request within the middlewares.
func (c *Context) start() (err error) {
	l := c.state.loop
	c.task, err = l.StartOf((*requestTask)(c), c.cost())
	if errors.Is(err, loop.ErrTooManyTasks) && c.refuse(refusedOverload) == nil {
		c.task, err = l.StartReserved((*requestTask)(c))
	}
	return err
}

func (c *Context) setRoute(r *Route) {
	c.route, c.handler, c.routeName = r, r.serve, &r.Name
	if r.when == nil || r.when.Path == nil {
		c.captures = nil // of a route that was skipped
	}
	if r.BodyMax > 0 {
		c.bodyMax = r.BodyMax
	}
	if r.Timeout > 0 {
		c.timeout = r.Timeout
	}
}

// identify sets the request ID.
func (c *Context) identify() {
	if c.app.options.TrustRequestID {
		if id := c.req.Header("X-Request-ID"); len(id) <= requestIDBytesMax && httpparse.ValidToken(id) {
			c.idBytes = copy(c.id[:], id)
			return
		}
	}
	c.idBytes = copy(c.id[:], c.state.nextID())
}

// Run runs the handler within its middlewares.
func (rt *requestTask) Run(t *loop.Task) {
	c := (*Context)(rt)
	c.task = t
	c.state.active++
	c.state.counts.Requests++
	c.state.counts.Protos[protoOf(c.req.Major, c.req.Minor)]++
	t.Describe(c.routeName, methodName(c.req.Method), c.path, c.id[:c.idBytes], c.req.Traceparent, c.wire.reactorConn().Label())
	if c.route != nil && c.route.Budget > 0 {
		t.SetBudget(c.route.Budget)
	}
	blocking := false
	if r := c.route; r != nil && c.refusal == nil {
		if r.Handoff != 0 {
			t.SetHandoff(r.Handoff)
		}
		if r.Blocking || r.placement.beside.Load() {
			blocking = r.placement.starts(r, c.state.wall())
		}
	}
	if c.timeout > 0 {
		c.deadline = c.state.loop.Now() + int64(c.timeout)
		t.SetDeadline(c.timeout)
	}
	if blocking {
		t.Beside()
	} else {
		t.Leave(true) // from here on the loop may be handed over
	}
	c.err = c.endBody(c.handler(c))
	t.Enter()
}

// endBody ends what a Coder does with the response, after the handler has returned err.
func (c *Context) endBody(err error) error {
	if s := &c.stream; err == nil && c.resp.choose != nil && s.open && !s.begun && (c.resp.bodiless || s.status == 304) {
		err = s.begin() // a response without a body has no Write that would begin it
	}
	c.resp.choose = nil // conclude runs on the loop, where a Coder must not wait
	if err == nil && c.resp.coder != nil {
		err = c.endCoding()
	}
	return err
}

// Done completes the response and continues the connection.
func (rt *requestTask) Done(t *loop.Task, err error) {
	c := (*Context)(rt)
	c.state.active--
	if c.push.Armed() {
		c.state.loop.StopTimer(&c.push)
	}
	if err == nil {
		err = c.err
	}
	if c.events != nil {
		err = c.events.end(err)
	}
	c.timedOut = t.Err() == context.DeadlineExceeded
	c.app.placeTask(c.route, t)
	c.conclude(err)
	c.state.traffic.count(c)
	grpc := c.countGRPC()
	if log := c.accessLog(); log != nil || len(c.whenDone) > 0 {
		c.logAccess(log, grpc)
	}
	if !c.retained.Load() {
		c.task = nil // the loop reuses it
	}
	c.wire.answered(c)
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

// accessLog returns the function that logs the request, or nil.
func (c *Context) accessLog() func(*Entry) {
	if c.host != nil && c.host.accessLog != nil {
		return c.host.accessLog
	}
	return c.app.options.AccessLog
}

func (c *Context) logAccess(log func(*Entry), grpcStatus string) {
	now := c.state.loop.Now()
	c.state.entry = Entry{
		Time:   c.state.wall().Add(time.Duration(c.arrived - now)),
		Timing: c.timing(now),
		Remote: c.RemoteAddr(), ClientIP: c.ClientIPView(), Method: c.Method(), Target: c.RawTargetView(), Proto: c.Proto(), Route: *c.routeName,
		Status: c.resp.status, Bytes: c.resp.bytes, RequestID: c.RequestIDView(),
		UserAgent: c.HeaderView("User-Agent"), Referer: c.HeaderView("Referer"), Reason: c.reason, GRPCStatus: grpcStatus, Context: c,
	}
	if log != nil {
		log(&c.state.entry)
	}
	for _, f := range slices.Backward(c.whenDone) {
		f(&c.state.entry)
	}
	c.state.entry = Entry{}
}
