// Forwarder: one request, its tries and its response.

package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"time"

	"tafe/app"
	"tafe/app/client"
	"tafe/httpparse"
)

// Options configures a Forwarder. Zero fields mean the defaults.
type Options struct {
	StripPrefix string // prefix removed from the path, if present; matched at a slash
	AddPrefix   string // prefix added to the path afterwards
	// RawPath forwards the path as received, for upstreams that verify a signature of it. Otherwise the path is
	// normalized. With a prefix option, a raw path with dot segments is rejected with status 400.
	RawPath bool
	// Via is the name of this proxy in the Via field of requests and responses (RFC 9110 section 7.6.3). "" means
	// "tafe"; "-" omits the field.
	Via string
	// Forwarded adds the Forwarded field (RFC 7239) in addition to X-Forwarded-For, -Proto and -Host.
	Forwarded bool
	Request   Rules // changes to requests
	Response  Rules // changes to responses

	// HashBy is the key for Hashed: "client" (its address, as ip_hash of nginx), "path", "header:NAME" or "cookie:NAME". Default "client",
	// which is also used for requests without the header or cookie.
	HashBy string
	// BodyMemoryMax is the size, in bytes, up to which a request body is read into memory before a server is
	// contacted; default 64 KiB. Larger bodies and those of unknown length are streamed and never sent twice.
	BodyMemoryMax int64
	// StreamIdle is the time without a byte after which the body of a response, or a tunnel, ends. If it is 0, it is
	// StreamIdleDefault for tunnels and for bodies of the types text/event-stream and application/grpc, and
	// GroupOptions.BodyTimeout for others. It also replaces app.Options.BodyTimeout for request bodies of these types.
	StreamIdle time.Duration
	// ClientCert passes the verified certificate of the client on (RFC 9440). Fields of that name in requests are
	// removed in any case, unless a trusted proxy has sent them.
	ClientCert ClientCert
}

// StreamIdleDefault is the default of Options.StreamIdle for streams.
const StreamIdleDefault = time.Hour

// Forwarder forwards requests to a group.
type Forwarder struct {
	group    *Group
	options  Options
	hashBy   func(c *app.Context) string
	via      [3]string // for HTTP/1.0, 1.1 and 2
	forwards sync.Pool // of *forward
}

// New returns a Forwarder. The error describes the invalid option.
func New(g *Group, o Options) (*Forwarder, error) {
	if o.BodyMemoryMax <= 0 {
		o.BodyMemoryMax = 64 << 10
	}
	f := &Forwarder{group: g, options: o}
	var err error
	if f.hashBy, err = hashKeyFunc(o.HashBy); err != nil {
		return nil, err
	}
	if f.via, err = viaMembers(o.Via); err != nil {
		return nil, err
	}
	for _, prefix := range []string{o.StripPrefix, o.AddPrefix} {
		if prefix != "" && !isPlainPrefix(prefix) {
			return nil, fmt.Errorf("proxy: the prefix %q is not an absolute path of unreserved characters without dot segments", prefix)
		}
	}
	switch o.ClientCert {
	case NoClientCert, LeafClientCert, ChainClientCert:
	default:
		return nil, fmt.Errorf("proxy: %q is not leaf or chain", o.ClientCert)
	}
	return f, errors.Join(o.Request.check(), o.Response.check())
}

// isPlainPrefix reports whether s is a path in normal form.
func isPlainPrefix(s string) bool {
	for i := range len(s) {
		if !httpparse.IsUnreserved(s[i]) && s[i] != '/' {
			return false
		}
	}
	return s[0] == '/' && !strings.Contains(s+"/", "/./") && !strings.Contains(s+"/", "/../")
}

func hashKeyFunc(by string) (func(c *app.Context) string, error) {
	client := (*app.Context).ClientIPView
	kind, name, _ := strings.Cut(by, ":")
	switch {
	case by == "" || by == "client":
		return client, nil
	case by == "path":
		return (*app.Context).PathView, nil
	case kind == "header" && httpparse.ValidToken(name):
		return func(c *app.Context) string {
			if v := c.HeaderView(name); v != "" {
				return v
			}
			return client(c)
		}, nil
	case kind == "cookie" && httpparse.ValidToken(name):
		return func(c *app.Context) string {
			if v := c.CookieView(name); v != "" {
				return v
			}
			return client(c)
		}, nil
	}
	return nil, fmt.Errorf("proxy: %q is not client, path, header:NAME or cookie:NAME", by)
}

// forward is the state of one forwarded request. It is reused.
type forward struct {
	c                 *app.Context
	rules             *Rules // changes to the response
	req               client.Request
	resp              client.Response
	path              []byte
	prefixRewritten   bool // a prefix of the path was rewritten
	last              bool // Max-Forwards is 0: this is the final hop
	hops              string
	target            []byte
	text              []byte // buffer for field values
	connectionOptions []string
	tried             []*server
	server            *server // of the current try
	bound             string  // value of the sticky cookie
	interim           func(status int, fields []httpparse.Header)
	trailers          func() []httpparse.Header // of the request
}

func (f *Forwarder) newForward(c *app.Context) *forward {
	x, _ := f.forwards.Get().(*forward)
	if x == nil {
		x = &forward{}
		x.interim, x.trailers = x.passInterim, x.requestTrailers
	}
	x.c, x.rules = c, &f.options.Response
	return x
}

func (f *Forwarder) recycle(x *forward) {
	x.resp.Close()
	x.req.Reset()
	clear(x.connectionOptions)
	clear(x.tried)
	x.prefixRewritten, x.last, x.hops, x.server, x.bound = false, false, "", nil, ""
	x.c, x.connectionOptions, x.tried, x.text = nil, x.connectionOptions[:0], x.tried[:0], x.text[:0]
	f.forwards.Put(x)
}

// Serve forwards the request and its response. It implements app.Handler.
func (f *Forwarder) Serve(c *app.Context) error {
	x := f.newForward(c)
	defer f.recycle(x)
	if err := f.prepare(c, x); err != nil {
		return err
	}
	if x.last {
		return answerFinalHop(c)
	}
	g := f.group
	if c.IsGRPC() {
		limitGRPC(c)
	}
	g.addRetryCredit()
	key := uint64(0)
	if g.options.Policy == Hashed {
		key = hashKey(f.hashBy(c))
	}
	var own *server
	if g.options.Sticky != nil {
		x.bound = c.Cookie(g.options.Sticky.Cookie)
		own = g.roster.Load().byID[x.bound]
	}
	for {
		s, err := g.server(c.Task(), key, x.tried, own)
		if err != nil {
			return unavailable(err)
		}
		again, err := f.try(c, x, s)
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

// prepare sets x.req, the request to the servers.
func (f *Forwarder) prepare(c *app.Context, x *forward) (err error) {
	if x.hops, x.last, err = hopsLeft(c); err != nil || x.last {
		return err
	}
	if err = f.preparePath(c, x); err != nil {
		return err
	}
	if c.HasQuery() {
		x.target = append(append(x.target, '?'), c.RawQueryView()...)
	}
	r, o := &x.req, &f.group.options
	r.Method, r.Target, r.TLS, r.Host, r.Preface = c.Method(), x.target, o.TLS != nil, o.Host, preface(c, o.ProxyProtocol)
	if r.Host == "" {
		r.Host = c.HostView()
	}
	r.Interim = nil
	if c.Proto() != "HTTP/1.0" {
		r.Interim = x.interim
	}
	f.copyRequestFields(c, x)
	r.AcceptTrailers = httpparse.HasMember(c.HeaderListView("TE"), "trailers")
	switch n := c.ContentLength(); {
	case n == 0:
		if !o.Protocol.Multiplexed() {
			r.Upgrade = forwardedUpgrade(c)
		}
		r.Hedge = o.Hedge != nil && r.Upgrade == ""
	case n > 0 && n <= f.options.BodyMemoryMax:
		r.Body, err = c.Body()
	default:
		if isStream(c.HeaderView("Content-Type")) {
			c.SetBodyTimeout(cmp.Or(f.options.StreamIdle, StreamIdleDefault))
		}
		r.Stream, r.StreamLength, r.Trailers = c.BodyReader(), n, x.trailers
		if announced := c.HeaderListView("Trailer"); announced != "" {
			r.AddHeader("Trailer", announced)
		}
	}
	return err
}

// preparePath sets x.target to the path of the request to the servers.
func (f *Forwarder) preparePath(c *app.Context, x *forward) (err error) {
	o := &f.options
	prefixed := o.StripPrefix != "" || o.AddPrefix != ""
	switch {
	case !o.RawPath:
		if x.path, err = appendPath(x.path[:0], []byte(c.RawPathView())); err != nil {
			return err
		}
	case prefixed && hasDotSegment(c.RawPathView()): // the path could leave the prefix
		return errRawPath
	default:
		if x.path, err = appendPath(x.path[:0], []byte(c.RawPathView())); err != nil { // the same paths are refused
			return err
		}
		x.path = append(x.path[:0], c.RawPathView()...)
	}
	if x.target = x.target[:0]; !prefixed {
		x.target = append(x.target, x.path...)
		return nil
	}
	x.target, x.prefixRewritten = rewrite(x.target, x.path, o.StripPrefix, o.AddPrefix)
	return nil
}

// try sends the request to one server. again reports whether it may be sent to another server after the error.
func (f *Forwarder) try(c *app.Context, x *forward, s *server) (again bool, err error) {
	g, failed, over := f.group, false, false
	finish := func() {
		if !over {
			over = true
			g.finish(s, failed)
		}
	}
	defer finish() // also when the task is unwound
	x.req.Addr, x.req.ServerName, x.server = s.Addr, s.host, s
	app.SetUpstream(c, s.Addr)
	s.counts.requests.Add(1)
	began := c.Loop().Clock()
	if err := g.client.Do(c.Task(), nil, &x.req, &x.resp); err != nil {
		why, upstream, err := f.failure(c, err)
		if !upstream {
			return false, err
		}
		s.counts.failures[why].Add(1)
		failed = why.isFailure()
		return why.isUnsent() || isUnprocessed(err) || !answerBegan(err) && x.req.Stream == nil && x.req.Upgrade == "" && client.IdempotentMethod(x.req.Method), err
	}
	status := x.resp.Status
	s.counts.headNanos.Add(c.Loop().Clock() - began)
	s.counts.byClass[status/100%len(s.counts.byClass)].Add(1)
	failed = status >= http.StatusBadGateway && status <= http.StatusGatewayTimeout || string(x.resp.Header("Grpc-Status")) == grpcUnavailable
	if status == http.StatusSwitchingProtocols {
		over = true // the tunnel calls finish
		return false, f.upgrade(c, x, s)
	}
	f.copyResponseFields(c, x)
	x.announceTrailers()
	if idle := f.streamIdle(x); idle > 0 {
		x.resp.SetBodyTimeout(idle)
	}
	out := c.Stream(status, "")
	err = out.Begin() // the body may follow later
	if err == nil {
		_, err = x.resp.WriteTo(out)
	}
	if err == nil {
		x.passTrailers(out)
		s.counts.countGRPC(c, x)
	}
	if err != nil {
		why, upstream, err := f.failure(c, err)
		if upstream {
			s.counts.failures[why].Add(1)
			failed = true
		}
		return false, err
	}
	return false, nil
}

// streamIdle returns the time without a byte after which the body of a response ends; 0 means BodyTimeout.
func (f *Forwarder) streamIdle(x *forward) time.Duration {
	if f.options.StreamIdle == 0 && isStream(httpparse.ViewString(x.resp.Header("Content-Type"))) {
		return StreamIdleDefault
	}
	return f.options.StreamIdle
}

// isStream reports whether bodies of a type may be silent for long: events, and the messages of gRPC.
func isStream(contentType string) bool {
	for _, streamed := range [...]string{"text/event-stream", "application/grpc"} {
		if len(contentType) >= len(streamed) && strings.EqualFold(contentType[:len(streamed)], streamed) {
			return true
		}
	}
	return false
}

// failure returns the error for the client's response. upstream reports whether the server caused err, for the reason
// why.
func (f *Forwarder) failure(c *app.Context, err error) (why reason, upstream bool, _ error) {
	var e *client.Error
	if !errors.As(err, &e) {
		return 0, false, err // an error of the client's connection
	}
	if e.Kind == client.KindCancelled || c.Err() != nil {
		return 0, false, e.Err
	}
	why, upstream = reasonOf(e)
	if !upstream {
		if e.Stage == client.StageWrite { // reading the request body failed
			return 0, false, e.Err
		}
		return 0, false, &app.HTTPError{Status: http.StatusBadGateway, Message: "the request cannot be forwarded", Reason: "upstream-request", Err: e}
	}
	return why, true, &app.HTTPError{Status: statuses[why], Message: messages[why], Reason: why.String(), Err: e}
}

// answerBegan reports whether part of a response had been received. The request is then not sent again.
func answerBegan(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Answered
}

// isUnprocessed reports whether the server has said that it has not processed the request.
func isUnprocessed(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Unprocessed
}

var errRawPath = &app.HTTPError{Status: http.StatusBadRequest, Message: "the path has dot segments", Reason: "raw-path"}

var statuses = [reasons]int{
	http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusBadGateway, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusBadGateway,
}

// messages are sent to clients and contain no addresses of servers.
var messages = [reasons]string{
	"the upstream server is unreachable", "the upstream server timed out", "the upstream server closed the connection",
	"the upstream server sent an invalid response", "all connections to the upstream server are in use",
	"the response head of the upstream server is too large",
}

// passInterim forwards an interim response other than 100, usually 103. The client has received its own 100 already.
func (x *forward) passInterim(status int, fields []httpparse.Header) {
	if status == http.StatusContinue {
		return
	}
	x.setConnectionOptions(fields)
	kept := make([]httpparse.Header, 0, len(fields))
	for _, f := range fields {
		if x.passes(httpparse.ViewString(f.Name)) && !computed(httpparse.ViewString(f.Name)) {
			kept = append(kept, f)
		}
	}
	_ = x.c.Interim(status, kept) // an error means that the client has disconnected
}
