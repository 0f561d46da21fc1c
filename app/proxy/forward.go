// This file owns one request on its way through: its tries, and its answer.

package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"unsafe"

	"tafe/app"
	"tafe/app/client"
	"tafe/httpparse"
	"time"
)

// Options say how requests and answers are rewritten. Zero fields take the defaults.
type Options struct {
	StripPrefix string // of the path, at a slash; only where it is there
	AddPrefix   string // to the path, after that
	// RawPath passes the path as the client wrote it, for upstreams that check a signature of it. Without it, they get its normal
	// form. With a prefix, a path with dot segments is refused.
	RawPath bool
	// Via is the name of this hop in the Via field, both ways (RFC 9110 section 7.6.3); "" means "tafe", "-" omits it.
	Via string
	// Forwarded adds the Forwarded field (RFC 7239) beside X-Forwarded-For, -Proto and -Host.
	Forwarded bool
	Request   Rules // for what the servers are sent
	Response  Rules // for what the client is sent

	// HashBy is the key of Hashed: "client" (its address), "path", "header:NAME" or "cookie:NAME". Default "client". Requests
	// without the header or cookie go by the client.
	HashBy string
	// BodyMemoryMax is up to where a request body is gathered before a server is asked, in bytes; default 64 KiB. Larger ones,
	// and those of unknown length, are streamed, and never sent twice.
	BodyMemoryMax int64
	// TunnelIdle closes an upgraded connection that carries nothing for so long; default 5 min.
	TunnelIdle time.Duration
}

// Handler passes requests on to a group.
type Handler struct {
	group    *Group
	options  Options
	hashBy   func(c *app.Context) string
	via      [2]string // by minor version
	forwards sync.Pool // of *exchange
}

// New makes a Handler. The error tells what is wrong with o.
func New(g *Group, o Options) (*Handler, error) {
	if o.BodyMemoryMax <= 0 {
		o.BodyMemoryMax = 64 << 10
	}
	if o.TunnelIdle <= 0 {
		o.TunnelIdle = 5 * time.Minute
	}
	h := &Handler{group: g, options: o}
	var err error
	if h.hashBy, err = hashKeyFunc(o.HashBy); err != nil {
		return nil, err
	}
	if h.via, err = viaMembers(o.Via); err != nil {
		return nil, err
	}
	for _, prefix := range []string{o.StripPrefix, o.AddPrefix} {
		if prefix != "" && !isPlainPrefix(prefix) {
			return nil, fmt.Errorf("proxy: the prefix %q is no path of plain characters", prefix)
		}
	}
	return h, errors.Join(o.Request.check(), o.Response.check())
}

// plainPrefix: its normal form is itself.
func isPlainPrefix(s string) bool {
	for i := range len(s) {
		if !unreserved(s[i]) && s[i] != '/' {
			return false
		}
	}
	return s[0] == '/' && !strings.Contains(s+"/", "/./") && !strings.Contains(s+"/", "/../")
}

func hashKeyFunc(by string) (func(c *app.Context) string, error) {
	client := (*app.Context).ClientIP
	kind, name, _ := strings.Cut(by, ":")
	switch {
	case by == "" || by == "client":
		return client, nil
	case by == "path":
		return (*app.Context).Path, nil
	case kind == "header" && httpparse.ValidToken(name):
		return func(c *app.Context) string {
			if v := c.Header(name); v != "" {
				return v
			}
			return client(c)
		}, nil
	case kind == "cookie" && httpparse.ValidToken(name):
		return func(c *app.Context) string {
			if v := cookie(c, name); v != "" {
				return v
			}
			return client(c)
		}, nil
	}
	return nil, fmt.Errorf("proxy: %q is not client, path, header:NAME or cookie:NAME", by)
}

// cookie finds a cookie of the request.
func cookie(c *app.Context, name string) string {
	for header, value := range c.Headers() {
		if !strings.EqualFold(header, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(value, ";") {
			if n, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && n == name {
				return v
			}
		}
	}
	return ""
}

// exchange is what one request needs on its way. Reused.
type forward struct {
	c                 *app.Context
	rules             *Rules // for what the client is sent
	req               client.Request
	resp              client.Response
	path              []byte
	prefixRewritten   bool // a prefix of the path was rewritten
	last              bool // Max-Forwards ends here
	hops              string
	target            []byte
	text              []byte // of fields that are made here
	connectionOptions []string
	tried             []*server
	interim           func(status int, fields []httpparse.Header)
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (h *Handler) newForward(c *app.Context) *forward {
	x, _ := h.forwards.Get().(*forward)
	if x == nil {
		x = &forward{}
		x.interim = x.passInterim
	}
	x.c, x.rules = c, &h.options.Response
	return x
}

func (h *Handler) recycle(x *forward) {
	x.resp.Close()
	x.req.Reset()
	clear(x.connectionOptions)
	clear(x.tried)
	x.prefixRewritten, x.last, x.hops = false, false, ""
	x.c, x.connectionOptions, x.tried, x.text = nil, x.connectionOptions[:0], x.tried[:0], x.text[:0]
	h.forwards.Put(x)
}

// Serve is the app.Handler.
func (h *Handler) Serve(c *app.Context) error {
	x := h.newForward(c)
	defer h.recycle(x)
	if err := h.prepare(c, x); err != nil {
		return err
	}
	if x.last {
		return answerFinalHop(c)
	}
	g := h.group
	g.addRetryCredit()
	key := uint64(0)
	if g.options.Policy == Hashed {
		key = hashKey(h.hashBy(c))
	}
	for {
		s := g.pick(key, x.tried)
		if s == nil {
			g.counts.noServer.Add(1)
			return &app.HTTPError{Status: http.StatusServiceUnavailable, Message: "no upstream server can be asked", Reason: "upstream-none", Err: errNoServer}
		}
		again, err := h.try(c, x, s)
		if err == nil || !again {
			return err
		}
		x.tried = append(x.tried, s)
		if len(x.tried) >= g.options.Tries {
			return err
		}
		if !g.takeRetry() {
			g.counts.exhausted.Add(1)
			return err
		}
		g.counts.retries.Add(1)
	}
}

// prepare makes the request that the servers are sent.
func (h *Handler) prepare(c *app.Context, x *forward) (err error) {
	if x.hops, x.last, err = hopsLeft(c); err != nil || x.last {
		return err
	}
	if err = h.preparePath(c, x); err != nil {
		return err
	}
	if c.HasQuery() {
		x.target = append(append(x.target, '?'), c.RawQuery()...)
	}
	r, o := &x.req, &h.group.options
	r.Method, r.Target, r.TLS, r.Host = c.Method(), x.target, o.TLS != nil, o.Host
	if r.Host == "" {
		r.Host = c.Host()
	}
	r.Interim = nil
	if c.ProtoMinor() > 0 {
		r.Interim = x.interim
	}
	h.copyRequestFields(c, x)
	switch n := c.ContentLength(); {
	case n == 0:
		r.Upgrade = forwardedUpgrade(c)
		r.Hedge = o.Hedge != nil && r.Upgrade == ""
	case n > 0 && n <= h.options.BodyMemoryMax:
		r.Body, err = c.Body()
	default:
		r.Stream, r.StreamLength = c.BodyReader(), n
	}
	return err
}

// preparePath sets x.target to the path that the servers are sent.
func (h *Handler) preparePath(c *app.Context, x *forward) (err error) {
	o := &h.options
	prefixed := o.StripPrefix != "" || o.AddPrefix != ""
	switch {
	case !o.RawPath:
		if x.path, err = appendPath(x.path[:0], []byte(c.RawPath())); err != nil {
			return err
		}
	case prefixed && hasDotSegment(c.RawPath()): // it could lead out of the prefix
		return errRawPath
	default:
		x.path = append(x.path[:0], c.RawPath()...)
	}
	if x.target = x.target[:0]; !prefixed {
		x.target = append(x.target, x.path...)
		return nil
	}
	x.target, x.prefixRewritten = rewrite(x.target, x.path, o.StripPrefix, o.AddPrefix)
	return nil
}

// try asks one server. again tells whether another may be asked instead.
func (h *Handler) try(c *app.Context, x *forward, s *server) (again bool, err error) {
	g, failed, over := h.group, false, false
	finish := func() {
		if !over {
			over = true
			g.finish(s, failed)
		}
	}
	defer finish() // also when the task is unwound
	x.req.Addr = s.Addr
	s.counts.requests.Add(1)
	began := c.Loop().Clock()
	if err := g.client.Do(c.Task(), nil, &x.req, &x.resp); err != nil {
		why, upstream, err := h.failure(c, err)
		if !upstream {
			return false, err
		}
		s.counts.failures[why].Add(1)
		failed = why != reasonBusy && why != reasonTooLarge
		unsent := why == reasonDial || why == reasonBusy
		return unsent || !answerBegan(err) && x.req.Stream == nil && x.req.Upgrade == "" && idempotent(x.req.Method), err
	}
	status := x.resp.Status
	s.counts.headNanos.Add(c.Loop().Clock() - began)
	s.counts.byClass[status/100%len(s.counts.byClass)].Add(1)
	failed = status >= http.StatusBadGateway && status <= http.StatusGatewayTimeout
	if status == http.StatusSwitchingProtocols {
		over = true // the tunnel ends it
		return false, h.upgrade(c, x, s)
	}
	h.copyResponseFields(c, x)
	out := c.Stream(status, "")
	err = out.Begin() // the body may be late
	if err == nil {
		_, err = x.resp.WriteTo(out)
	}
	if err != nil {
		why, upstream, err := h.failure(c, err)
		if upstream {
			s.counts.failures[why].Add(1)
			failed = true
		}
		return false, err
	}
	return false, nil
}

// failure is what an error of the client means to ours; upstream tells whether the server is to blame, and why what for.
func (h *Handler) failure(c *app.Context, err error) (why reason, upstream bool, _ error) {
	var e *client.Error
	if !errors.As(err, &e) {
		return 0, false, err // of our client's connection
	}
	if e.Kind == client.KindCancelled || c.Err() != nil {
		return 0, false, e.Err
	}
	why, upstream = reasonOf(e)
	if !upstream {
		if e.Stage == client.StageWrite { // the request body did not come
			return 0, false, e.Err
		}
		return 0, false, &app.HTTPError{Status: http.StatusBadGateway, Message: "the request cannot be passed on", Reason: "upstream-request", Err: e}
	}
	return why, true, &app.HTTPError{Status: statuses[why], Message: messages[why], Reason: why.String(), Err: e}
}

// answered tells whether some of an answer came before err: the request is not sent again then.
func answerBegan(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Answered
}

var errRawPath = &app.HTTPError{Status: http.StatusBadRequest, Message: "the path has dot segments", Reason: "raw-path"}

var statuses = [reasons]int{
	http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusBadGateway, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusBadGateway,
}

// messages do not tell clients how the servers behind are called.
var messages = [reasons]string{
	"the upstream server cannot be reached", "the upstream server does not answer in time", "the upstream server broke the connection off",
	"the upstream server's answer is no HTTP", "all connections to the upstream server are in use",
	"the head of the upstream server's answer is too large",
}

// idempotent methods may be sent again (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// passInterim sends an interim answer on: 103, mostly. 100 is not for our client, who got its own.
func (x *forward) passInterim(status int, fields []httpparse.Header) {
	if status == http.StatusContinue {
		return
	}
	x.setConnectionOptions(fields)
	kept := make([]httpparse.Header, 0, len(fields))
	for _, f := range fields {
		if x.passes(view(f.Name)) && !computed(view(f.Name)) {
			kept = append(kept, f)
		}
	}
	_ = x.c.Interim(status, kept) // a client that is gone learns nothing
}
