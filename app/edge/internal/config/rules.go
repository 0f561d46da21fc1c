// Rules between the values of a file. decode.go has checked each value by itself; patterns and the arguments of middlewares are checked in build.go.

package config

import (
	"cmp"
	"net/url"
	"regexp"
	"strings"
)

func (d *decoder) rules(c *Config) {
	below := func(p path, fits bool, want string) {
		if !fits {
			d.problem(p, "%s: want %s", p, want)
		}
	}
	l, w := &c.Limits, &c.Watchdog
	below(path{"limits", "target_bytes_max"}, l.TargetBytesMax < l.HeadBytesMax, "less than limits.head_bytes_max, which it is part of")
	below(path{"limits", "inbound_bytes_max"}, l.InboundBytesMax >= l.HeadBytesMax, "at least limits.head_bytes_max, or no such head could come")
	below(path{"watchdog", "quiet_max"}, w.QuietMax >= w.QuietMin, "at least watchdog.quiet_min")
	held := func(limit Duration) bool { return limit == 0 || limit >= w.Budget }
	below(path{"watchdog", "unready_after"}, held(w.UnreadyAfter), "0s, or at least watchdog.budget")
	below(path{"watchdog", "abort_after"}, held(w.AbortAfter), "0s, or at least watchdog.budget")
	if e := c.Tracing.Endpoint; e != "" {
		u, err := url.Parse(e)
		below(path{"tracing", "endpoint"}, err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", `a URL such as "http://127.0.0.1:4318/v1/traces"`)
	}
	d.acme(c)
	d.checkListeners(c)
	d.addresses(c)
	d.compiled(c)
	d.middleware(path{"middleware"}, &c.Middleware)
	d.logLines(path{"access_log"}, &c.AccessLog.LogLines)
	d.sites(c)
	d.siteLogs(c)
	if c.RouteCount() == 0 && len(d.problems) == 0 {
		d.problem(nil, "has no [[route]]: nothing would be served")
	}
	c.eachRoute(d.route)
}

func (d *decoder) route(p path, r *Route) {
	switch {
	case r.Path == "" && r.Match != nil && r.Match.Path != "":
		r.Path = "/{path...}"
	case r.Path == "" && !d.hasKey(p.child("path")):
		d.problem(p, "%s lacks the key path", p)
	}
	if r.Rewrite != "" && (r.Respond != nil || r.Redirect != nil) {
		d.problem(p.child("rewrite"), "route %s: rewrite has no effect on respond and redirect", r.Path)
	}
	if r.Rewrite != "" && r.Proxy != nil && (r.Proxy.StripPrefix != "" || r.Proxy.AddPrefix != "") {
		d.problem(p.child("rewrite"), "route %s has both rewrite and strip_prefix or add_prefix: want one", r.Path)
	}
	actions := 0
	for _, given := range []bool{r.Handler != "", r.Respond != nil, r.Redirect != nil, r.Static != nil, r.Proxy != nil} {
		if given {
			actions++
		}
	}
	if actions != 1 {
		d.problem(p, "route %s has %d actions: want one of handler, respond, redirect, static, proxy", r.Path, actions)
	}
	d.foreignPattern(p.child("path"), r.Path)
	for i, method := range r.Methods {
		if method != strings.ToUpper(method) {
			d.problem(p.child("methods"), "route.methods has %q: want %q; methods are upper case", method, strings.ToUpper(method))
		}
		for _, other := range r.Methods[:i] {
			if method == other {
				d.problem(p.child("methods"), "route.methods has %q twice", method)
			}
		}
	}
	if r.Methods != nil && len(r.Methods) == 0 {
		d.problem(p.child("methods"), "route.methods is empty: leave it out for every method")
	}
	if r.Respond != nil && (r.Respond.Status == 204 || r.Respond.Status == 304) && r.Respond.Body != "" {
		d.problem(p.child("respond").child("body"), "route.respond.body: a response with status %d has no body", r.Respond.Status)
	}
	d.middleware(p, &r.Middleware)
}

// foreign matches path segments in the syntax of other routers. Here they are literal.
var foreign = regexp.MustCompile(`^(?::(\w+)|<(?:\w+:)?(\w+)>|\*+(\w*))$`)

// foreignPattern warns of a path that has another meaning in other routers.
func (d *decoder) foreignPattern(p path, pattern string) {
	for segment := range strings.SplitSeq(pattern, "/") {
		switch m := foreign.FindStringSubmatch(segment); {
		case m == nil:
		case strings.HasPrefix(segment, "*"):
			d.warn(p, "route.path = %q: %q is taken literally; the rest of a path is {%s...}", pattern, segment, cmp.Or(m[3], "path"))
		default:
			d.warn(p, "route.path = %q: %q is taken literally; a parameter is {%s}", pattern, segment, cmp.Or(m[1], m[2]))
		}
	}
}

func (d *decoder) middleware(p path, m *Middleware) {
	if m.AllowIP != nil && len(m.AllowIP) == 0 {
		d.problem(p.child("allow_ip"), "%s is empty, so every client would get 403; remove it to admit all", p.child("allow_ip"))
	}
	if m.DenyIP != nil && len(m.DenyIP) == 0 {
		d.problem(p.child("deny_ip"), "%s is empty: leave it out", p.child("deny_ip"))
	}
	if m.BasicAuth != nil && len(m.BasicAuth.Users) == 0 {
		d.problem(p.child("basic_auth"), "%s has no users", p.child("basic_auth"))
	}
	if m.ForwardAuth != nil {
		d.checkForwardAuth(p.child("forward_auth"), m.ForwardAuth)
	}
}
