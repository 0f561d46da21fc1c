package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

func says(text string) Handler {
	return func(c *Context) error { return c.String(200, text) }
}

// hostsOf builds a table in which each Host has one name.
func hostsOf(names ...string) *App {
	a := New(Options{Log: quiet})
	for _, name := range names {
		a.Host(name).Get("/{path...}", says(name))
	}
	return a
}

func frozen(names ...string) *App {
	a := hostsOf(names...)
	a.freeze()
	return a
}

func TestHostTable(t *testing.T) {
	a := frozen("example.com", "www.example.com", "*.example.com", "*.a.example.com", "[::1]", "192.0.2.1", "under_score.example", "*")
	for _, c := range []struct{ host, want, why string }{
		{"example.com", "example.com", "an exact name"},
		{"EXAMPLE.Com", "example.com", "case does not matter"},
		{"example.com.", "example.com", "nor does a final dot"},
		{"example.com:8080", "example.com", "nor a port"},
		{"example.com.:80", "example.com", "nor both"},
		{"example.com:", "example.com", "nor an empty port"},
		{"www.example.com", "www.example.com", "an exact name before a wildcard"},
		{"w.example.com", "*.example.com", "a wildcard"},
		{"x.y.example.com", "*.example.com", "of any depth"},
		{"x.a.example.com", "*.a.example.com", "the longest wildcard"},
		{"a.example.com", "*.example.com", "a wildcard does not match its own parent"},
		{"x.aexample.com", "*", "a wildcard ends at a dot"},
		{".example.com", "*", "a wildcard needs a label"},
		{"[::1]", "[::1]", "an IPv6 address"},
		{"[::1]:443", "[::1]", "with a port"},
		{"192.0.2.1:1", "192.0.2.1", "an IPv4 address"},
		{"under_score.example", "under_score.example", "not a host name in DNS, but sent by clients"},
		{"other.example", "*", "none of them"},
		{"", "*", "no host, in HTTP/1.0"},
		{".", "*", "a dot alone"},
	} {
		require.Equal(t, c.want, a.hostFor([]byte(c.host)).names[0], "%q: %s", c.host, c.why)
	}
	long := make([]byte, 1000)
	for i := range long {
		long[i] = 'a'
	}
	require.Equal(t, "*", a.hostFor(long).names[0], "longer than any name")
	require.Nil(t, frozen("a.example").hostFor([]byte("b.example")))
	require.Nil(t, New(Options{}).hostFor([]byte("b.example")))
}

func TestHostRefuses(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
		why   string
	}{
		{nil, "no name", "nothing to serve"},
		{[]string{""}, "empty label", "an empty name"},
		{[]string{"*."}, "empty label", "a wildcard of nothing"},
		{[]string{"a..b"}, "empty label", "two dots"},
		{[]string{"www.*.example"}, `"*"`, "a wildcard in the middle"},
		{[]string{"*foo.example"}, `"*"`, "a wildcard within a label"},
		{[]string{"https://a.example"}, "not a URL", "a URL"},
		{[]string{"a.example:443"}, "without a port", "a port"},
		{[]string{"::1"}, "in brackets", "an IPv6 address without brackets"},
		{[]string{"b\u00fccher.example"}, "A-label", "no ASCII"},
		{[]string{"a b"}, "character", "a space"},
		{[]string{"taken.example"}, "taken", "a name of another Host"},
		{[]string{"TAKEN.example."}, "taken", "in another spelling"},
		{[]string{"a.example", "a.example"}, "taken", "twice"},
		{[]string{"*.taken.example"}, "taken", "a wildcard"},
		{[]string{"*"}, "taken", "the default"},
	} {
		a := hostsOf("taken.example", "*.taken.example", "*")
		require.Contains(t, panicText(func() { a.Host(c.names...) }), c.want, "%q: %s", c.names, c.why)
	}
}

// sitesApp has two sites, and routes for all hosts.
func sitesApp(o Options) *App {
	o.Log = quiet
	mark := func(name string) Middleware {
		return func(next Handler) Handler {
			return func(c *Context) error {
				c.AddHeader("X-Around", name)
				return next(c)
			}
		}
	}
	a := New(o)
	a.Use(mark("app"))
	a.Get("/healthz", says("ok"))
	a.Post("/shared", says("shared post"))
	a.Get("/only/", says("only"))
	one := a.Host("one.example", "www.one.example")
	one.Use(mark("one"))
	one.Get("/", says("one"))
	one.Get("/shared", says("one shared"))
	one.Group("/g", mark("group")).Get("/x", says("one group"))
	two := a.Host("two.example")
	two.Get("/", func(c *Context) error { return c.String(200, "two "+c.Site()+" "+c.RouteName()) })
	two.NotFound(func(*Context) error { return Error(404, "nothing at two") })
	return a
}

func TestSites(t *testing.T) {
	r := newRig(t, sitesApp(Options{ServerName: "-"}), reactor.Limits{})
	for _, c := range []struct{ method, host, path, status, body, around, why string }{
		{"GET", "one.example", "/", "200", "one", "app one", "the route of a site"},
		{"GET", "WWW.one.example:80", "/", "200", "one", "app one", "by its other name"},
		{"GET", "two.example", "/", "200", "two two.example two.example/", "app", "of another site"},
		{"GET", "three.example", "/", "404", "Not Found\n", "app", "a host without a site"},
		{"GET", "one.example", "/healthz", "200", "ok", "app", "a route for all hosts"},
		{"GET", "three.example", "/healthz", "200", "ok", "app", "also without a site"},
		{"GET", "one.example", "/shared", "200", "one shared", "app one", "a route of the site before one for all"},
		{"POST", "one.example", "/shared", "200", "shared post", "app", "a route for all hosts has the method"},
		{"PUT", "one.example", "/shared", "405", "Method Not Allowed\n", "app one", "neither has it"},
		{"GET", "one.example", "/g/x", "200", "one group", "app one group", "a group of a site"},
		{"GET", "one.example", "/nothing", "404", "Not Found\n", "app one", "a 404 is within the site's middlewares"},
		{"GET", "two.example", "/nothing", "404", "nothing at two\n", "app", "a site's own 404"},
		{"GET", "one.example", "/only", "308", "", "app one", "only the path with a slash exists"},
	} {
		p := r.dial()
		p.send(c.method + " " + c.path + " HTTP/1.1\r\nHost: " + c.host + "\r\nConnection: close\r\n\r\n")
		got := answerOf(t, p.taken())
		require.Equal(t, c.status, got.status, c.why)
		require.Equal(t, c.body, got.body, c.why)
		require.Equal(t, c.around, got.headers["X-Around"], c.why)
		if c.status == "405" {
			require.Equal(t, "GET, HEAD, OPTIONS, POST", got.headers["Allow"], "of the site and of all hosts")
		}
	}
}

func TestAddSlash(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/dir/", says("dir"))
	a.Get("/files/{path...}", says("files"))
	a.Post("/post/", says("post"))
	a.Get("/both", says("both"))
	a.Get("/both/", says("both/"))
	r := newRig(t, a, reactor.Limits{})
	for _, c := range []struct{ method, target, status, location, why string }{
		{"GET", "/dir", "308", "./dir/", "only /dir/ exists"},
		{"HEAD", "/dir", "308", "./dir/", "HEAD like GET"},
		{"GET", "/dir?a=%2F", "308", "./dir/?a=%2F", "the query is kept as it is"},
		{"GET", "/x/../dir", "308", "./dir/", "relative to the path of the request"},
		{"GET", "/d%69r", "308", "./d%69r/", "in the encoding of the client"},
		{"GET", "/files", "308", "./files/", "a catch-all begins with its slash"},
		{"POST", "/dir", "404", "", "not with this method"},
		{"POST", "/post", "308", "./post/", "308 keeps the method"},
		{"GET", "/both", "200", "", "both exist"},
		{"GET", "/files%2F", "404", "", "an escaped slash is not a final slash"},
		{"GET", "//dir", "404", "", "another path"},
		{"GET", "/dir/x", "404", "", "below it is nothing"},
	} {
		p := r.dial()
		p.send(c.method + " " + c.target + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		got := answerOf(t, p.taken())
		require.Equal(t, c.status, got.status, "%s: %s", c.target, c.why)
		require.Equal(t, c.location, got.headers["Location"], "%s: %s", c.target, c.why)
	}
}

func TestErrorPages(t *testing.T) {
	a := New(Options{Log: quiet})
	fails := func(status int) Handler { return func(*Context) error { return Error(status, "") } }
	register := func(r *registry) {
		for _, status := range []int{403, 404, 410, 500, 502, 503} {
			r.Get(fmt.Sprintf("/%d", status), fails(status))
		}
		r.Get("/panic", func(*Context) error { panic("boom") })
		r.Get("/cors", func(c *Context) error { c.SetHeader("Access-Control-Allow-Origin", "*"); return Error(403, "") })
	}
	register(&a.registry)
	a.ErrorPages(func(c *Context, e *HTTPError) error {
		if e.Status < 500 {
			return nil // the default
		}
		return c.Bytes(e.Status, "text/html", fmt.Appendf(nil, "<h1>all %d</h1>", e.Status))
	})
	one := a.Host("one.example")
	register(&one.registry)
	one.ErrorPages(func(c *Context, e *HTTPError) error {
		switch e.Status {
		case 410:
			panic("page")
		case 503:
			return fmt.Errorf("broken page")
		}
		return c.Bytes(e.Status, "text/html", fmt.Appendf(nil, "<h1>one %d</h1>", e.Status))
	})
	r := newRig(t, a, reactor.Limits{})
	for _, c := range []struct{ host, path, status, body, why string }{
		{"a", "/404", "404", "Not Found\n", "a page that writes nothing"},
		{"a", "/502", "502", "<h1>all 502</h1>", "the page of the App"},
		{"a", "/nothing", "404", "Not Found\n", "without a route"},
		{"one.example", "/404", "404", "<h1>one 404</h1>", "the page of a site"},
		{"one.example", "/nothing", "404", "<h1>one 404</h1>", "also without a route"},
		{"one.example", "/panic", "500", "<h1>one 500</h1>", "a panic of a handler"},
		{"one.example", "/410", "410", "Gone\n", "a page that panics"},
		{"one.example", "/503", "503", "Service Unavailable (request {id})\n", "a page that fails"},
		{"one.example", "/cors", "403", "<h1>one 403</h1>", "headers are kept"},
	} {
		p := r.dial()
		p.send("GET " + c.path + " HTTP/1.1\r\nHost: " + c.host + "\r\nConnection: close\r\n\r\n")
		got := answerOf(t, p.taken())
		require.Equal(t, c.status, got.status, c.why)
		require.Equal(t, c.body, requestIDForm.ReplaceAllString(got.body, "{id}"), c.why)
		if c.path == "/cors" {
			require.Equal(t, "*", got.headers["Access-Control-Allow-Origin"], c.why)
		}
	}
	require.EqualValues(t, 2, r.state.reasons.snapshot()["error-page"])
}

var requestIDForm = regexp.MustCompile(`[A-Z2-7]{8}-[0-9a-z]{11}`)

func TestAccessLogOfHosts(t *testing.T) {
	var all, one []string
	a := sitesApp(Options{AccessLog: func(e *Entry) { all = append(all, e.Context.Host()+e.Target) }})
	a.hosts.names["one.example"].AccessLog(func(e *Entry) { one = append(one, e.Context.Host()+e.Target) })
	r := newRig(t, a, reactor.Limits{})
	p := r.dial()
	p.send("GET / HTTP/1.1\r\nHost: one.example\r\n\r\nGET /healthz HTTP/1.1\r\nHost: one.example\r\n\r\nGET / HTTP/1.1\r\nHost: two.example\r\n\r\n")
	require.Equal(t, []string{"two.example/"}, all)
	require.Equal(t, []string{"one.example/", "one.example/healthz"}, one)
}

// A request for another site than the one that TLS was negotiated for gets 421, unless its certificate covers both.
func TestMisdirected(t *testing.T) {
	a := sitesApp(Options{})
	a.Host("three.example").Get("/", says("three"))
	covers := func(serverName, host string) bool { return serverName == "one.example" && host == "three.example" }
	for _, c := range []struct {
		sni, host string
		covers    func(serverName, host string) bool
		want      int
		why       string
	}{
		{"one.example", "one.example", nil, 200, "they agree"},
		{"one.example", "www.one.example", nil, 200, "another name of the site"},
		{"one.example", "ONE.example:8443", nil, 200, "with a port, in capitals"},
		{"one.example", "two.example", nil, 421, "another site"},
		{"", "two.example", nil, 200, "no server name"},
		{"two.example", "one.example", covers, 421, "the certificate is not one of the host"},
		{"one.example", "three.example", covers, 200, "one certificate for both sites"},
		{"other.example", "one.example", nil, 421, "the server name belongs to no site"},
		{"one.example", "other.example", nil, 421, "the host belongs to no site"},
	} {
		s := listenTLS(t, a, c.covers)
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: c.sni})
		require.NoError(t, err, c.why)
		require.Equal(t, c.want, statusOver(t, conn, c.host), "%s, %s: %s", c.sni, c.host, c.why)
		if c.want == 421 && c.sni != "other.example" {
			require.Equal(t, 200, statusOver(t, conn, c.sni), "the connection still serves its own site")
		}
		require.NoError(t, conn.Close())
	}
}

func TestWhen(t *testing.T) {
	a := New(Options{Log: quiet, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	header := func(name string, values ...string) FieldMatch { return FieldMatch{Name: name, Values: values} }
	pattern := func(name, expr string) FieldMatch { return FieldMatch{Name: name, Pattern: regexp.MustCompile(expr)} }
	a.Get("/x", says("plain"))
	a.Handle("", "/x", says("any"))
	a.Get("/x", says("beta"), When(Match{Headers: []FieldMatch{header("X-Env", "beta", "alpha")}}))
	a.Get("/x", says("beta cookie"), When(Match{Headers: []FieldMatch{header("x-env", "beta")}, Cookies: []FieldMatch{header("who", "me")}}))
	a.Get("/x", says("query"), When(Match{Query: []FieldMatch{header("q", "a b")}}))
	a.Get("/x", says("version"), When(Match{Query: []FieldMatch{pattern("v", "^[0-9]+$")}}))
	a.Get("/x", says("inside"), When(Match{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}))
	a.Get("/x", says("present"), When(Match{Headers: []FieldMatch{header("X-Debug")}}))
	a.Get("/cond", says("cond"), When(Match{Headers: []FieldMatch{header("X-Debug")}}))
	a.Post("/cond", says("cond post"), When(Match{Headers: []FieldMatch{header("X-Other")}}))
	a.Get("/{path...}", func(c *Context) error {
		return c.String(200, fmt.Sprintf("re %q %q %q %q", c.Capture(0), c.Capture(1), c.EncodedCapture(c.CaptureIndex("b")), c.Capture(7)))
	}, When(Match{Path: regexp.MustCompile(`^/re/([^/]+)/(?P<b>.*)$`)}))
	r := newRig(t, a, reactor.Limits{})
	for _, c := range []struct{ target, fields, status, body, why string }{
		{"/x", "", "200", "plain", "no condition is met"},
		{"/x", "X-Env: beta\r\n", "200", "beta", "a header"},
		{"/x", "x-env: gamma\r\nX-ENV: alpha\r\n", "200", "beta", "one of several values, on the second line"},
		{"/x", "X-Env: BETA\r\n", "200", "plain", "values are compared with case"},
		{"/x", "X-Env: beta\r\nCookie: a=b; who=\"me\"\r\n", "200", "beta cookie", "more conditions win"},
		{"/x", "Cookie: who=me\r\n", "200", "plain", "all conditions must be met"},
		{"/x?q=a+b", "", "200", "query", "a query parameter, decoded"},
		{"/x?q=z&q=a%20b", "", "200", "query", "any of its values"},
		{"/x?q=a+b", "X-Env: beta\r\n", "200", "beta", "a tie goes to the first"},
		{"/x?v=12", "", "200", "version", "a pattern"},
		{"/x?v=1x", "", "200", "plain", "that does not match"},
		{"/x", "X-Forwarded-For: 10.1.2.3\r\n", "200", "inside", "the client's network"},
		{"/x", "X-Forwarded-For: 2001:db8::9\r\n", "200", "inside", "another one"},
		{"/x", "X-Forwarded-For: 11.1.2.3\r\n", "200", "plain", "none of them"},
		{"/x", "X-Debug:\r\n", "200", "present", "present, though empty"},
		{"/cond", "", "404", "Not Found\n", "a route that is skipped is as good as none"},
		{"/cond", "X-Other: 1\r\n", "405", "Method Not Allowed\n", "a route with another method whose conditions are met"},
		{"/re/a%2Fb/c%20d/e", "", "200", `re "/re/a%2Fb/c d/e" "a%2Fb" "c%20d/e" ""`, "captures"},
		{"/./re/a%2Fb/c%20d", "", "200", `re "/re/a%2Fb/c d" "a%2Fb" "c%20d" ""`, "captures of a path with dot segments"},
		{"/re/a", "", "308", "", "the expression matches the path with a slash only"},
		{"/re", "", "404", "Not Found\n", "the expression does not match"},
	} {
		p := r.dial()
		p.send("GET " + c.target + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + c.fields + "\r\n")
		got := answerOf(t, p.taken())
		require.Equal(t, c.status, got.status, "%s %s: %s", c.target, c.fields, c.why)
		require.Equal(t, c.body, got.body, "%s %s: %s", c.target, c.fields, c.why)
	}
}

func TestWhenRefuses(t *testing.T) {
	debug := When(Match{Headers: []FieldMatch{{Name: "X-Debug"}}})
	for _, c := range []struct {
		do   func(a *App)
		want string
		why  string
	}{
		{func(*App) { When(Match{}) }, "no condition", "nothing to match"},
		{func(*App) { When(Match{Headers: []FieldMatch{{Name: "a b"}}}) }, "not the name", "not a header"},
		{func(*App) { When(Match{Cookies: []FieldMatch{{}}}) }, "not the name", "not a cookie"},
		{func(*App) { When(Match{Query: []FieldMatch{{}}}) }, "without a name", "not a parameter"},
		{func(a *App) {
			a.Get("/", none, debug)
			a.Get("/", none, When(Match{Headers: []FieldMatch{{Name: "x-debug"}}}))
		},
			"under the same conditions", "the second would never be reached"},
		{func(a *App) { a.Get("/", none, debug); a.Get("/", none); a.Post("/", none, debug) }, "", "all different"},
	} {
		require.Contains(t, panicText(func() { c.do(New(Options{})) }), c.want, c.why)
	}
}

// EncodedParam and EncodedPath keep the percent-encoding of the client.
func TestEncodedParts(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/p/{one}/{rest...}", func(c *Context) error {
		return c.String(200, c.EncodedParam("one")+" "+c.EncodedParam("rest")+" "+c.EncodedPath()+" "+c.EncodedParam("none"))
	})
	r := newRig(t, a, reactor.Limits{})
	for _, c := range []struct{ path, want, why string }{
		{"/p/a/b/c", "a b/c /p/a/b/c ", "plain"},
		{"/p/%41/%7e", "%41 %7e /p/%41/%7e ", "escapes of unreserved characters"},
		{"/p/a%2fb/c%2Fd/e", "a%2fb c%2Fd/e /p/a%2fb/c%2Fd/e ", "escaped slashes"},
		{"/p/(a)/'b'", "(a) 'b' /p/(a)/'b' ", "sub-delimiters"},
		{"/p/%28a%29/", "%28a%29  /p/%28a%29/ ", "escaped ones, and an empty rest"},
		{"/p/./%41/x/../b%20c", "A b%20c /p/A/b%20c ", "dot segments: encoded anew"},
		{"/p/%0d%0a/x", "%0d%0a x /p/%0d%0a/x ", "a line break"},
	} {
		p := r.dial()
		p.send("GET " + c.path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		require.Equal(t, c.want, answerOf(t, p.taken()).body, "%s: %s", c.path, c.why)
	}
}

// seen is a response by its parts; a body that is delimited by the end of the connection.
type seen struct {
	status, body string
	headers      map[string]string // values of one name joined with a space
}

func answerOf(t *testing.T, wire string) seen {
	t.Helper()
	head, body, ok := strings.Cut(wire, "\r\n\r\n")
	require.True(t, ok, "no head: %q", wire)
	lines := strings.Split(head, "\r\n")
	a := seen{status: strings.Split(lines[0], " ")[1], body: body, headers: map[string]string{}}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		a.headers[name] = strings.TrimSpace(a.headers[name] + " " + value)
	}
	return a
}

func listenTLS(t *testing.T, a *App, covers func(serverName, host string) bool) *Server {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // its certificate will do
	defer lender.Close()
	s, err := Listen(a, ServerConfig{Loops: 1, Listeners: []Listener{
		{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{Certificates: lender.TLS.Certificates}}, Covers: covers},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s
}

// statusOver asks for / of a host on an open connection.
func statusOver(t *testing.T, conn net.Conn, host string) int {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"))
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	return resp.StatusCode
}

func TestHasUpper(t *testing.T) {
	for n := range 20 {
		for at := range n {
			name := bytes.Repeat([]byte("a"), n)
			for b := range 256 {
				name[at] = byte(b)
				require.Equal(t, 'A' <= b && b <= 'Z', hasUpper(name), "%q", name)
			}
		}
	}
}
