package config

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

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
		{"nowhere", "", "", `f.toml:2: upstream app: group "app": "nowhere" is neither host:port nor unix:/path`},
		{"a:1", `policy = "moon"`, "", `f.toml:5: upstream.policy = "moon": want one of round_robin, least_active, two_choices, hash`},
		{"a:1", `polcy = "hash"`, "", `f.toml:5: unknown key upstream.polcy; did you mean policy?`},
		{"a:1", "", `strip_prefix = "api"`, `f.toml:8: route.proxy: the prefix "api" is not an absolute path of unreserved characters without dot segments`},
		{"a:1", "", `hash_by = "moon"`, `f.toml:8: route.proxy: "moon" is not client, path, header:NAME or cookie:NAME`},
		{"a:1", "", `request_headers = { Connection = "close" }`, `f.toml:8: route.proxy: the header Connection cannot be changed by a rule`},
	} {
		_, err := build(sprintf(proxied, c.addr, c.upstream, c.action))
		require.ErrorContains(t, err, c.want)
	}
	_, err := build("[[route]]\npath = \"/\"\nproxy = { upstream = \"x\" }\n")
	require.ErrorContains(t, err, `f.toml:3: route.proxy.upstream = "x": there is no such [[upstream]]`)
	_, err = build("[[upstream]]\nname = \"a\"\nservers = [{ addr = \"a:1\" }]\n[[upstream]]\nname = \"a\"\nservers = [{ addr = \"a:1\" }]\n[[route]]\npath = \"/\"\nrespond = {}\n")
	require.ErrorContains(t, err, `f.toml:5: upstream.name = "a": the name is already used`)
}

// A reload keeps unchanged groups with their state.
func TestUpstreamsOutliveReloads(t *testing.T) {
	load := func(text string, before *Resources) *Resources {
		c, err := Parse("f.toml", []byte(text))
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
		{`{ ca = "/no/such/file" }`, "f.toml:5: upstream app: /no/such/file: no such file or directory", "no file"},
		{sprintf("{ ca = %q }", directory), "is a directory", "no file that can be read"},
		{`{ ca = "/dev/null" }`, "holds no certificate in PEM", "an empty one"},
		{`{ cert = "/no/such", key = "/no/such" }`, "/no/such: no such file or directory", "a certificate to show"},
	} {
		c2, err := Parse("f.toml", []byte(sprintf(proxied, "a:1", "tls = "+c.tls, "")+"[[route]]\npath = \"/\"\nrespond = { body = \"good\" }\n"))
		require.NoError(t, err)
		a, r, err := c2.App(quietly(c2), nil, nil)
		require.NoError(t, err, c.why)
		require.ErrorContains(t, r.Broken(), c.want, c.why)
		require.Equal(t, 503, ask(a, "GET", "/api/x").StatusCode, c.why)
		require.Equal(t, "good", body(ask(a, "GET", "/")), c.why)
		r.Close()
	}
}

// Names are looked up when a connection is made.
func TestUpstreamNameThatDoesNotResolveRefusesNothing(t *testing.T) {
	_, err := build(sprintf(proxied, "no-such-host.invalid:1", "", ""))
	require.NoError(t, err)
}
