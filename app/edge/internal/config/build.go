// Config.App: a Config becomes an App. Package app and the middlewares panic on meaningless arguments; here such a panic becomes a Problem
// with the line of the file.

package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"tafe/app"
	"tafe/app/middleware"
	"tafe/app/tracing"
	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// Options returns the options of the App, without log and access log.
func (c *Config) Options() app.Options {
	l, t, h := &c.Limits, &c.Timeouts, &c.HTTP2
	rate := l.BodyRateMin
	if rate == 0 {
		rate = -1
	}
	return app.Options{
		Limits: httpparse.Limits{
			HeadBytesMax: int(l.HeadBytesMax), HeaderCountMax: l.HeaderCountMax, TargetBytesMax: int(l.TargetBytesMax),
			BodyBytesMax: int64(l.BodyBytesMax), ChunkOverheadMax: int(l.ChunkOverheadBytesMax), TrailerBytesMax: int(l.TrailerBytesMax),
		},
		HeadTimeout: time.Duration(t.Head), BodyTimeout: time.Duration(t.Body), IdleTimeout: time.Duration(t.Idle),
		HandlerTimeout: time.Duration(t.Handler), BodyRateMin: rate,
		HTTP2: app.HTTP2{
			StreamsMax: h.StreamsMax, StreamWindowMax: int(h.StreamWindowBytesMax), ConnWindowMax: int(h.ConnWindowBytesMax),
			LoopWindowMax: max(int(h.LoopWindowBytesMax), 1), ContinuationsMax: h.ContinuationsMax, ResetsMax: h.ResetsMax,
			ControlFramesMax: h.ControlFramesMax, EmptyFramesMax: h.EmptyFramesMax,
			SettingsTimeout: time.Duration(h.SettingsTimeout), WriteTimeout: time.Duration(t.Write),
		},
		TrustedProxies: prefixes(c.Server.TrustedProxies), ServerTiming: c.Server.ServerTiming,
		TrustRequestID: c.Server.TrustRequestID, RequestIDHeader: string(c.Server.RequestIDHeader), ServerName: string(c.Server.Name),
	}
}

// LoopLimits returns the limits of a loop.
func (c *Config) LoopLimits() reactor.Limits {
	l := &c.Limits
	return reactor.Limits{
		Limits: loop.Limits{
			TaskMax: l.TaskMax, IdleTaskMax: l.IdleTaskMax, PostMax: l.PostMax, ReleasedMax: l.ReleasedMax,
			SliceBudget: time.Duration(c.Watchdog.Budget), FIFO: c.Server.Order == "arrival",
		},
		InboundMax: int(l.InboundBytesMax), OutboundMax: int(l.OutboundBytesMax), WriteTimeout: time.Duration(c.Timeouts.Write),
	}
}

// LogLevel returns the lowest level that is logged.
func (c *Config) LogLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		panic("config: log.level was not checked: " + err.Error())
	}
	return level
}

// App makes the App of the routes, and the Resources that it uses. options began as those of Options. Resources of before whose
// definition has not changed are reused; before and t may be nil. The error is Problems. Parts that cannot be used are not an
// error: see Resources.Broken.
func (c *Config) App(options app.Options, t *tracing.Tracing, before *Resources) (*app.App, *Resources, error) {
	b := builder{decoder: decoder{source: c.source, spoilt: c.spoilt, registry: c.registry}, config: c, serverName: string(c.Server.Name), log: options.Log, tracing: t,
		before: before, unusable: map[string]app.Handler{}}
	b.resources = &Resources{groups: map[string]upstream{}}
	b.attempt(path{"server"}, func() { b.app = app.New(options) })
	if b.app == nil {
		if len(b.problems) > 0 {
			return nil, nil, b.problems
		}
		b.app = app.New(Default().Options()) // to find the problems of the rest
	}
	b.upstreams(c.Upstreams)
	if t != nil {
		b.app.Use(t.Middleware())
	}
	b.modules()
	b.app.Use(b.middlewares(path{"middleware"}, &c.Middleware, "")...)
	if pages := b.pages(path{"error_pages"}, c.ErrorPages); pages != nil {
		b.app.ErrorPages(pages)
	}
	b.register(b.app, path{"route"}, c.Routes)
	for i := range c.Sites {
		b.site(i)
	}
	c.warnings = append(c.warnings, b.warnings...)
	if len(b.problems) > 0 {
		b.resources.Discard(before)
		b.problems = append(b.problems, b.resources.broken...)
		return nil, nil, b.sorted()
	}
	return b.app, b.resources, nil
}

type builder struct {
	decoder
	config     *Config
	app        *app.App
	serverName string
	log        *slog.Logger
	tracing    *tracing.Tracing // nil: none
	before     *Resources       // nil: none
	resources  *Resources
	unusable   map[string]app.Handler // upstreams: what routes to them answer; nil after a problem
	exports    map[string]Exports     // of modules
}

// broken records a part that cannot be used, and returns the handler for it.
func (b *builder) broken(p path, format string, args ...any) app.Handler {
	b.resources.broken = append(b.resources.broken, b.newProblem(p, b.place(p), format, args...))
	return func(*app.Context) error { return app.Error(503, "this part of the server is unavailable") }
}

// attempt calls do. A panic of do with a string becomes a problem.
func (b *builder) attempt(p path, do func()) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case string:
			text := strings.TrimPrefix(strings.TrimPrefix(reason, "app: "), "middleware: ")
			b.problem(p, "%s: %s", p, text)
		default:
			panic(reason)
		}
	}()
	do()
}

// middlewares returns the middlewares of m, outermost first. route is the path of its route, or "".
func (b *builder) middlewares(p path, m *Middleware, route string) (all []app.Middleware) {
	add := func(name string, construct func() app.Middleware) {
		b.attempt(p.child(name), func() {
			if made := construct(); made != nil { // nil: the problem is named
				all = append(all, made)
			}
		})
	}
	if s := m.SecureHeaders; s != nil {
		add("secure_headers", func() app.Middleware { return middleware.Secure(s.options()) })
	}
	if k := m.CORS; k != nil {
		add("cors", func() app.Middleware { return middleware.CORS(k.options()) })
	}
	if m.AllowIP != nil {
		add("allow_ip", func() app.Middleware { return middleware.AllowIP(prefixes(m.AllowIP)...) })
	}
	if m.DenyIP != nil {
		add("deny_ip", func() app.Middleware { return middleware.DenyIP(prefixes(m.DenyIP)...) })
	}
	if s := m.Shed; s != nil {
		add("shed", func() app.Middleware { return middleware.Shed(middleware.ShedOptions{LagMax: time.Duration(s.LagMax)}) })
	}
	if r := m.RateLimit; r != nil {
		add("rate_limit", func() app.Middleware { return b.rateLimit(p.child("rate_limit"), r) })
	}
	if m.ConcurrencyMax > 0 {
		add("concurrency_max", func() app.Middleware { return middleware.Concurrency(m.ConcurrencyMax) })
	}
	if z := m.Compress; z != nil {
		add("compress", func() app.Middleware { return middleware.Compress(z.options()) })
	}
	if a := m.BasicAuth; a != nil {
		add("basic_auth", func() app.Middleware {
			users := make(map[string]string, len(a.Users))
			for user, password := range a.Users {
				users[user] = password.text
			}
			return middleware.BasicAuth(string(a.Realm), users)
		})
	}
	if f := m.ForwardAuth; f != nil {
		add("forward_auth", func() app.Middleware { return b.forwardAuth(p.child("forward_auth"), f) })
	}
	return append(all, b.uses(p.child("use"), m.Use, route)...)
}

func (r *RateLimit) options() middleware.RateOptions {
	o := middleware.RateOptions{Rate: r.Rate, Burst: r.Burst, Keys: r.ClientsMax}
	if name := string(r.Header); name != "" {
		o.Key = func(c *app.Context) string { return c.HeaderView(name) }
	}
	return o
}

func (z *Compress) options() middleware.CompressOptions {
	return middleware.CompressOptions{Codings: z.Codings, BytesMin: int64(z.BytesMin), Types: z.Types}
}

func prefixes(networks []Network) (all []netip.Prefix) {
	for _, n := range networks {
		all = append(all, n.Prefix)
	}
	return all
}

func (k *CORS) options() middleware.CORSOptions {
	return middleware.CORSOptions{
		Origins: k.Origins, Methods: k.Methods, Headers: k.Headers, Expose: k.Expose,
		Credentials: k.Credentials, MaxAge: time.Duration(k.MaxAge),
	}
}

func (s *SecureHeaders) options() middleware.SecureOptions {
	return middleware.SecureOptions{
		ContentTypeOptions: string(s.ContentTypeOptions), FrameOptions: string(s.FrameOptions),
		ReferrerPolicy: string(s.ReferrerPolicy), OpenerPolicy: string(s.OpenerPolicy),
		ContentSecurityPolicy: string(s.ContentSecurityPolicy), PermissionsPolicy: string(s.PermissionsPolicy),
		HSTS: time.Duration(s.HSTS), HSTSSubdomains: s.HSTSSubdomains,
	}
}

// routes registers routes: the App, or the Host of a site.
type routes interface {
	Group(prefix string, middlewares ...app.Middleware) *app.Group
}

// register registers the routes of a list at p.
func (b *builder) register(in routes, p path, list []Route) {
	known := map[string]path{}
	for i := range list {
		if at := p.index(i); !b.spoilt[at.part()] {
			b.route(in, at, &list[i], known)
		}
	}
	for i := range list {
		b.preflight(in, p, list, i)
	}
}

// action returns the handler of a route, or nil after reporting a problem.
func (b *builder) action(p path, r *Route) (h app.Handler) {
	scope := r.scope()
	switch {
	case r.Handler != "":
		h = b.compiled(p, r)
	case r.Respond != nil:
		h = b.respond(p.child("respond"), r.Respond, scope)
	case r.Redirect != nil:
		h = b.redirect(p.child("redirect"), r.Redirect, scope)
	case r.Static != nil:
		h = b.static(p.child("static"), r)
	case r.Proxy != nil:
		h = b.proxy(p.child("proxy"), r.Proxy, scope)
	}
	if r.Rewrite != "" {
		h = b.rewrite(p.child("rewrite"), r.Rewrite, scope, h)
	}
	return h
}

// route registers one route for each of its methods that no earlier route of the list has under the same conditions. known are the
// routes of the list so far, by what they match.
func (b *builder) route(in routes, p path, r *Route, known map[string]path) {
	h := b.action(p, r)
	options := r.options()
	var conditions app.Match
	if r.Match != nil {
		var ok bool
		if conditions, ok = b.match(p.child("match"), r.Match); !ok {
			return
		}
		options = append(options, app.When(conditions))
	}
	middlewares := b.middlewares(p, &r.Middleware, r.Path)
	if h == nil {
		return // a problem that was named
	}
	group := in.Group("", middlewares...)
	var earlier []path
	methods := r.methods()
	for _, method := range methods {
		key := method + " " + shape(r.Path) + " " + conditions.String()
		if first, taken := known[key]; taken {
			earlier = append(earlier, first)
			continue
		}
		known[key] = p
		b.attempt(p.child("path"), func() { group.Handle(method, r.Path, h, options...) })
	}
	if len(methods) > 0 && len(earlier) == len(methods) {
		b.problem(p.child("path"), "%s %s is never reached: %s the same requests", p, r.Path, b.routesIn(earlier))
	}
}

// routesIn returns "the route in line 1 matches", or "the routes in lines 1 and 5 match".
func (b *builder) routesIn(routes []path) string {
	var lines []int
	for _, p := range routes {
		lines = append(lines, b.line(p))
	}
	slices.Sort(lines)
	if lines = slices.Compact(lines); len(lines) == 1 {
		return fmt.Sprintf("the route in line %d matches", lines[0])
	}
	last := len(lines) - 1
	all := strings.ReplaceAll(strings.Trim(fmt.Sprint(lines[:last]), "[]"), " ", ", ")
	return fmt.Sprintf("the routes in lines %s and %d match", all, lines[last])
}

// options returns the options of the route but for its conditions.
func (r *Route) options() (options []app.RouteOption) {
	if r.Name != "" {
		options = append(options, app.Name(r.Name))
	}
	if r.Handoff != 0 {
		options = append(options, app.Handoff(time.Duration(r.Handoff)))
	}
	if r.Blocking {
		options = append(options, app.Blocking())
	}
	if r.Budget > 0 {
		options = append(options, app.Budget(time.Duration(r.Budget)))
	}
	if r.Timeout > 0 {
		options = append(options, app.Timeout(time.Duration(r.Timeout)))
	}
	if r.SlowBody {
		options = append(options, app.SlowBody())
	}
	if r.BodyBytesMax > 0 {
		options = append(options, app.BodyMax(int64(r.BodyBytesMax)))
	}
	return options
}

// methods returns the methods to register; "" is every method.
func (r *Route) methods() []string {
	if r.Methods == nil {
		return []string{""}
	}
	return r.Methods
}

// preflight registers OPTIONS for the path of a route with CORS, unless another route has it. All routes of a path must have
// the same cors, because a browser asks for all of them at once.
func (b *builder) preflight(in routes, at path, list []Route, i int) {
	r, p := &list[i], at.index(i)
	if r.CORS == nil || b.spoilt[p.part()] {
		return
	}
	allow := []string{"OPTIONS"}
	for j := range list {
		other := &list[j]
		switch {
		case shape(other.Path) != shape(r.Path):
		case slices.Contains(other.methods(), "OPTIONS") || slices.Contains(other.methods(), ""):
			return
		case other.CORS != nil && !reflect.DeepEqual(other.CORS, r.CORS):
			if j < i {
				b.problem(p.child("cors"), "route.cors: the route in line %d has the same path and a different cors", b.line(at.index(j)))
				return
			}
		case other.CORS != nil && j < i:
			return // it was registered with that one
		}
		if shape(other.Path) == shape(r.Path) {
			allow = append(allow, other.methods()...)
		}
	}
	if slices.Contains(allow, "GET") && !slices.Contains(allow, "HEAD") {
		allow = append(allow, "HEAD")
	}
	b.attempt(p.child("cors"), func() {
		list := strings.Join(allow, ", ")
		in.Group("", middleware.CORS(r.CORS.options())).Handle("OPTIONS", r.Path, func(c *app.Context) error {
			c.SetHeader("Allow", list)
			return c.NoContent(204)
		})
	})
}
