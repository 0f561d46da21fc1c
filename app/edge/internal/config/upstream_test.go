package config

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/app/proxy"
)

// upstream.policy accepts exactly the policies of package proxy, whose tests select servers with each of them.
func TestPoliciesAgree(t *testing.T) {
	field, _ := reflect.TypeFor[Upstream]().FieldByName("Policy")
	var names []string
	for _, p := range proxy.Policies {
		names = append(names, string(p))
	}
	require.Equal(t, strings.Join(names, "|"), field.Tag.Get("oneof"))
	require.Equal(t, string(proxy.RoundRobin), field.Tag.Get("default"))
}

const proxied = `
[[upstream]]
name = "app"
servers = [{ addr = "%s" }]
%s
[[route]]
path = "/api/{path...}"
[route.proxy]
upstream = "app"
%s
`

func TestProxyAction(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Secret", "1")
		_, _ = io.WriteString(w, r.Method+" "+r.URL.RequestURI()+" "+r.Host+" "+r.Header.Get("X-Env"))
	}))
	t.Cleanup(s.Close)
	a := appOf(t, sprintf(proxied, s.Listener.Addr(), `host = "up.example"`, `
strip_prefix = "/api"
request_headers = { X-Env = "staging" }
response_headers_remove = ["X-Secret"]`))
	server, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	r, err := http.Get("http://" + server.Addr().String() + "/api/users?q")
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "GET /users?q up.example staging", body(r))
	require.Empty(t, r.Header.Get("X-Secret"))
}

func TestWrongUpstreams(t *testing.T) {
	for _, c := range []struct{ addr, upstream, action, want string }{
		{"nowhere", "", "", `f.toml:4:14: upstream app: "nowhere" is neither host:port nor unix:/path`},
		{"a:1", `policy = "moon"`, "", `f.toml:5:1: upstream.policy = "moon": want one of round_robin, least_active, two_choices, hash`},
		{"a:1", `polcy = "hash"`, "", `f.toml:5:1: unknown key upstream.polcy; did you mean policy?`},
		{"a:1", "", `strip_prefix = "api"`, `f.toml:8:8: route.proxy: the prefix "api" is not an absolute path of unreserved characters without dot segments`},
		{"a:1", "", `hash_by = "moon"`, `f.toml:8:8: route.proxy: "moon" is not client, path, header:NAME or cookie:NAME`},
		{"a:1", "", `request_headers = { Connection = "close" }`, `f.toml:8:8: route.proxy: the header Connection cannot be changed by a rule`},
	} {
		_, err := build(sprintf(proxied, c.addr, c.upstream, c.action))
		require.ErrorContains(t, err, c.want)
	}
	for _, c := range []struct{ upstream, want string }{
		{`proxy_protocol = "v3"`, `f.toml:5:1: upstream.proxy_protocol = "v3": want one of off, v1, v2`},
		{`resolver = "dns.internal"`, `f.toml:5:1: upstream.resolver = "dns.internal": want the IP address and port of a DNS server`},
		{`resolve_ip = "5"`, `f.toml:5:1: upstream.resolve_ip = "5": want one of any, 4, 6`},
		{`sticky = { cookie = "a b" }`, `f.toml:5:12: upstream.sticky.cookie = "a b": want the name of a header`},
	} {
		_, err := build(sprintf(proxied, "a:1", c.upstream, ""))
		require.ErrorContains(t, err, c.want)
	}
	_, err := build("[[route]]\npath = \"/\"\nproxy = { upstream = \"x\" }\n")
	require.ErrorContains(t, err, `f.toml:3:11: route.proxy.upstream = "x": there is no such [[upstream]]`)
	_, err = build("[[upstream]]\nname = \"a\"\nservers = [{ addr = \"a:1\" }]\n[[upstream]]\nname = \"a\"\nservers = [{ addr = \"a:1\" }]\n[[route]]\npath = \"/\"\nrespond = {}\n")
	require.ErrorContains(t, err, `f.toml:5:1: upstream.name = "a": the name is already used`)
}

// A reload keeps unchanged groups with their state.
func TestUpstreamsOutliveReloads(t *testing.T) {
	load := func(text string, before *Resources) *Resources {
		c, err := Parse("f.toml", []byte(text), nil)
		require.NoError(t, err)
		_, r, err := c.App(quietly(c), nil, before)
		require.NoError(t, err)
		return r
	}
	first := load(sprintf(proxied, "a:1", "", ""), nil)
	same := load(sprintf(proxied, "a:1", "", "forwarded = true"), first)
	require.Same(t, first.Groups()[0], same.Groups()[0], "another route, the same upstream")
	other := load(sprintf(proxied, "a:2", "", ""), same)
	require.NotSame(t, first.Groups()[0], other.Groups()[0])
	first.TransferTo(same)
	same.TransferTo(other)
	first.Close()
	same.Close()
	other.Close()
}

// An upstream that cannot be used affects only its routes.
func TestOneBrokenUpstream(t *testing.T) {
	directory := t.TempDir()
	for _, c := range []struct{ tls, want, why string }{
		{`{ ca = "/no/such/file" }`, "f.toml:5:1: upstream app: /no/such/file: no such file or directory", "no file"},
		{sprintf("{ ca = %q }", directory), "is a directory", "no file that can be read"},
		{`{ ca = "/dev/null" }`, "holds no certificate in PEM", "an empty one"},
		{`{ cert = "/no/such", key = "/no/such" }`, "/no/such: no such file or directory", "a certificate to show"},
	} {
		c2, err := Parse("f.toml", []byte(sprintf(proxied, "a:1", "tls = "+c.tls, "")+"[[route]]\npath = \"/\"\nrespond = { body = \"good\" }\n"), nil)
		require.NoError(t, err)
		a, r, err := c2.App(quietly(c2), nil, nil)
		require.NoError(t, err, c.why)
		require.ErrorContains(t, r.Broken(), c.want, c.why)
		require.Equal(t, 503, ask(a, "GET", "/api/x").StatusCode, c.why)
		require.Equal(t, "good", body(ask(a, "GET", "/")), c.why)
		r.Close()
	}
}

// The keys of a group that has servers by name.
func TestUpstreamOptions(t *testing.T) {
	c, err := Parse("f.toml", []byte(sprintf(proxied, "srv:_http._tcp.api.test", `queue_max = 0
slow_start = "0s"
failures_max = 0
proxy_protocol = "v2"
resolver = "10.0.0.2:53"
resolve_every = "5s"
resolve_ip = "4"
sticky = { max_age = "1h" }`, "")), nil)
	require.NoError(t, err)
	o, err := c.Upstreams[0].options()
	require.NoError(t, err)
	require.Equal(t, []int{-1, -1, -1, 2}, []int{o.QueueMax, int(o.SlowStart), o.FailuresMax, o.ProxyProtocol})
	require.Equal(t, proxy.Names{Server: "10.0.0.2:53", Every: 5 * time.Second, Family: "4"}, o.Names)
	require.Equal(t, proxy.Sticky{Cookie: "tafe_server", MaxAge: time.Hour}, *o.Sticky)

	c, err = Parse("f.toml", []byte(sprintf(proxied, "a:1", "", "")), nil)
	require.NoError(t, err)
	o, err = c.Upstreams[0].options()
	require.NoError(t, err)
	require.Equal(t, []int{1024, int(10 * time.Second), 5, 0}, []int{o.QueueMax, int(o.SlowStart), o.FailuresMax, o.ProxyProtocol})
	require.Equal(t, proxy.Names{}, o.Names)
	require.Nil(t, o.Sticky)
}

// A reload that replaces a group keeps the changes of the operator.
func TestOperationsOutliveReloads(t *testing.T) {
	load := func(text string, before *Resources) *Resources {
		c, err := Parse("f.toml", []byte(text), nil)
		require.NoError(t, err)
		_, r, err := c.App(quietly(c), nil, before)
		require.NoError(t, err)
		return r
	}
	first := load(sprintf(proxied, "127.0.0.1:1", "", ""), nil)
	require.NoError(t, first.Groups()[0].Drain("127.0.0.1:1"))
	require.NoError(t, first.Groups()[0].Weigh("127.0.0.1:1", 7))
	changed := load(sprintf(proxied, "127.0.0.1:1", "tries = 3", ""), first)
	require.NotSame(t, first.Groups()[0], changed.Groups()[0])
	s := changed.Groups()[0].Stats().Servers[0]
	require.Equal(t, []any{proxy.Drained, 7}, []any{s.State, s.Weight})
	first.Close()
	changed.Close()
}

const authorized = `
[[upstream]]
name = "auth"
servers = [{ addr = "%s" }]
%s
[[route]]
path = "/{path...}"
respond = { body = "in" }
%s
`

func TestForwardAuthOfARoute(t *testing.T) {
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/verify?a=b" || r.Header.Get("X-Forwarded-Uri") != "/x" {
			w.WriteHeader(500)
		} else if r.Header.Get("Cookie") == "" {
			w.WriteHeader(401)
		}
	}))
	t.Cleanup(auth.Close)
	const keys = `forward_auth = { upstream = "auth", path = "/verify?a=b", send_headers = ["Cookie"], cache_time = "1s" }`
	a := appOf(t, sprintf(authorized, auth.Listener.Addr(), "", keys))
	addr := listening(t, a)
	get := func(addr, cookie string) (int, string) {
		req, err := http.NewRequest("GET", "http://"+addr+"/x", nil)
		require.NoError(t, err)
		if cookie != "" {
			req.Header.Set("Cookie", cookie)
		}
		r, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = r.Body.Close() }()
		return r.StatusCode, body(r)
	}
	status, text := get(addr, "a=1")
	require.Equal(t, "200 in", sprintf("%d %s", status, text))
	status, _ = get(addr, "")
	require.Equal(t, 401, status)

	status, _ = get(listening(t, appOf(t, sprintf(authorized, "127.0.0.1:1", "", keys))), "a=1")
	require.Equal(t, 503, status, "nothing is admitted without an answer")
	c, err := Parse("f.toml", []byte(sprintf(authorized, "127.0.0.1:1", `tls = { ca = "/no/such/file" }`, keys)), nil)
	require.NoError(t, err)
	broken, r, err := c.App(quietly(c), nil, nil)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	status, _ = get(listening(t, broken), "a=1")
	require.Equal(t, 503, status, "nor with an upstream that cannot be used")

	for _, c := range []struct{ keys, want string }{
		{`forward_auth = { upstream = "moon" }`, `f.toml:9:18: route.forward_auth.upstream = "moon": there is no such [[upstream]]; there are auth`},
		{`forward_auth = { upstream = "auth", path = "verify" }`, `f.toml:9:37: route.forward_auth.path = "verify": want a path, such as "/verify"`},
		{`forward_auth = { upstream = "auth", cache_time = "1s" }`, `f.toml:9:37: route.forward_auth.cache_time: want send_headers too`},
		{`forward_auth = { upstream = "auth", copy_headers = ["Host"] }`, `f.toml:9:53: route.forward_auth.copy_headers has "Host", which is not the name of a header that can be copied`},
		{`forward_auth = { }`, `f.toml:9:1: route.forward_auth lacks the key upstream`},
	} {
		_, err := build(sprintf(authorized, "127.0.0.1:1", "", c.keys))
		require.ErrorContains(t, err, c.want)
	}
}

// listening serves a and returns its address.
func listening(t *testing.T, a *app.App) string {
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s.Addr().String()
}

// Names are looked up when the server runs.
func TestUpstreamNameThatDoesNotResolveRefusesNothing(t *testing.T) {
	_, err := build(sprintf(proxied, "no-such-host.invalid:1", "", ""))
	require.NoError(t, err)
}
