package config

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

var sprintf = fmt.Sprintf

// build reads a text and makes its App.
func build(text string) (*Config, error) {
	c, err := Parse("f.toml", []byte(text), nil)
	if err != nil {
		return nil, err
	}
	_, resources, err := c.App(quietly(c), nil, nil)
	if err == nil {
		resources.Close()
	}
	return c, err
}

func quietly(c *Config) app.Options {
	o := c.Options()
	o.Log = slog.New(slog.DiscardHandler)
	return o
}

func appOf(t *testing.T, text string) *app.App {
	t.Helper()
	c, err := Parse("f.toml", []byte(text), nil)
	require.NoError(t, err)
	a, resources, err := c.App(quietly(c), nil, nil)
	require.NoError(t, err)
	t.Cleanup(resources.Close)
	return a
}

// ask has h answer "METHOD TARGET" with headers in pairs.
func ask(h http.Handler, method, target string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(r *http.Response) string {
	text := make([]byte, 1<<16)
	n, _ := r.Body.Read(text)
	return string(text[:n])
}

func TestRespond(t *testing.T) {
	a := appOf(t, `
[server]
name = "edge"
request_id_header = "X-Id"

[[route]]
path = "/hello"
methods = ["GET"]
[route.respond]
body = "hello\n"

[[route]]
path = "/any"
respond = { status = 418, content_type = "text/html", body = "<p>", headers = { Cache-Control = "no-store", X-A = "b" } }

[[route]]
path = "/none"
respond = { status = 204 }

[[route]]
path = "/old/{id}/{rest...}"
redirect = { to = "https://new.example/{rest}?id={id}#top", status = 301 }

[[route]]
path = "/moved/{path...}"
redirect = { to = "/{path}", keep_query = false }
`)
	for _, c := range []struct {
		method, target   string
		status           int
		contentType, was string
		why              string
	}{
		{"GET", "/hello", 200, "text/plain; charset=utf-8", "hello\n", "the defaults"},
		{"HEAD", "/hello", 200, "text/plain; charset=utf-8", "", "GET takes HEAD"},
		{"POST", "/hello", 405, "text/plain; charset=utf-8", "Method Not Allowed\n", "no other"},
		{"DELETE", "/any", 418, "text/html", "<p>", "without methods, every one"},
		{"GET", "/none", 204, "", "", "a status without a body"},
		{"GET", "/nowhere", 404, "text/plain; charset=utf-8", "Not Found\n", "no route"},
	} {
		r := ask(a, c.method, c.target)
		require.Equal(t, c.status, r.StatusCode, c.why)
		require.Equal(t, c.contentType, r.Header.Get("Content-Type"), c.why)
		require.Equal(t, c.was, body(r), c.why)
		require.Equal(t, "edge", r.Header.Get("Server"), c.why)
		require.NotEmpty(t, r.Header.Get("X-Id"), c.why)
	}
	require.Equal(t, "no-store", ask(a, "GET", "/any").Header.Get("Cache-Control"))
	for _, c := range []struct {
		target, want string
		status       int
		why          string
	}{
		{"/old/7/a/b", "https://new.example/a/b?id=7#top", 301, "parameters"},
		{"/old/7/a%20b/%3F?x=1&y=2", "https://new.example/a%20b/%3F?id=7&x=1&y=2#top", 301, "values are escaped, the query is kept"},
		{"/old/a%2Fb%26c/", "https://new.example/?id=a%2Fb%26c#top", 301, "a value that holds delimiters"},
		{"/moved/a?x=1", "/a", 308, "the query is dropped"},
		{"/moved//evil.example/", "/evil.example/", 308, "another host is out of reach"},
		{"/moved/%2F%2Fevil.example", "/%2F%2Fevil.example", 308, "escaped slashes stay escaped"},
		{"/moved/a%2fb/c%252Fd", "/a%2fb/c%252Fd", 308, "in a path too, and nothing is decoded twice"},
		{"/moved/%5Cevil.example", "/%5Cevil.example", 308, "and backslashes, which browsers take for slashes"},
		{"/moved/", "/", 308, "nothing behind"},
	} {
		r := ask(a, "GET", c.target)
		require.Equal(t, c.status, r.StatusCode, c.why)
		require.Equal(t, c.want, r.Header.Get("Location"), c.why)
	}
}

func TestAnEmptyCatchAllLeavesNoHost(t *testing.T) {
	a := appOf(t, "[[route]]\npath = \"/{host}/{rest...}\"\nredirect.to = \"/{rest}/{host}\"\n")
	require.Equal(t, "/evil.example", ask(a, "GET", "/evil.example/").Header.Get("Location"))
}

func TestMiddlewares(t *testing.T) {
	t.Setenv("TAFE_TEST_PASSWORD", "open sesame")
	const origin = "https://a.example"
	a := appOf(t, `
[middleware]
secure_headers = {}

[[route]]
path = "/limited"
rate_limit = { rate = 0.001, burst = 2 }
respond = {}

[[route]]
path = "/by-key"
rate_limit = { rate = 0.001, burst = 1, header = "X-Api-Key" }
respond = {}

[[route]]
path = "/users"
basic_auth = { realm = "staff", users = { ali = "env:TAFE_TEST_PASSWORD" } }
respond = { body = "in" }

[[route]]
path = "/here"
allow_ip = ["192.0.2.0/24"]
respond = {}

[[route]]
path = "/there"
allow_ip = ["198.51.100.1"]
respond = {}

[[route]]
path = "/denied"
deny_ip = ["192.0.2.0/24"]
respond = {}

[[route]]
path = "/compressed"
compress = { bytes_min = 10 }
shed = {}
respond = { body = "a long text, in a way" }

[[route]]
path = "/api"
methods = ["GET"]
basic_auth = { users = { a = "b" } }
cors = { origins = ["https://a.example"], methods = ["PUT"], headers = ["Content-Type"], max_age = "1h" }
respond = {}

[[route]]
path = "/api"
methods = ["PUT"]
cors = { origins = ["https://a.example"], methods = ["PUT"], headers = ["Content-Type"], max_age = "1h" }
respond = {}

[[route]]
path = "/small"
body_bytes_max = 3
concurrency_max = 1
secure_headers = { frame_options = "-", hsts = "24h" }
respond = {}
`)
	for _, c := range []struct {
		method, target string
		headers        []string
		status         int
		header, value  string
		why            string
	}{
		{"GET", "/nowhere", nil, 404, "X-Frame-Options", "DENY", "around what no route takes, too"},
		{"GET", "/limited", nil, 200, "", "", "the first"},
		{"GET", "/limited", nil, 200, "", "", "and the second of a burst"},
		{"GET", "/limited", nil, 429, "Retry-After", "1000", "and no third"},
		{"GET", "/by-key", []string{"X-Api-Key", "a"}, 200, "", "", "a client by its key"},
		{"GET", "/by-key", []string{"X-Api-Key", "a"}, 429, "", "", "the same"},
		{"GET", "/by-key", []string{"X-Api-Key", "b"}, 200, "", "", "another"},
		{"GET", "/users", nil, 401, "Www-Authenticate", `Basic realm="staff", charset="UTF-8"`, "nobody"},
		{"GET", "/users", []string{"Authorization", "Basic YWxpOm9wZW4gc2VzYW1l"}, 200, "", "", "somebody"},
		{"GET", "/here", nil, 200, "", "", "a network that is admitted"},
		{"GET", "/there", nil, 403, "", "", "and one that is not"},
		{"GET", "/denied", nil, 403, "", "", "a network that is refused"},
		{"GET", "/compressed", []string{"Accept-Encoding", "gzip"}, 200, "Content-Encoding", "gzip", ""},
		{"OPTIONS", "/api", []string{"Origin", origin, "Access-Control-Request-Method", "PUT"}, 204, "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT", "a preflight needs no password"},
		{"OPTIONS", "/api", nil, 204, "Allow", "OPTIONS, GET, PUT, HEAD", "what is no preflight learns the methods"},
		{"GET", "/api", []string{"Origin", origin}, 401, "Access-Control-Allow-Origin", origin, "a refusal is readable too"},
		{"PUT", "/api", []string{"Origin", origin}, 200, "Access-Control-Allow-Origin", origin, "the other method"},
		{"GET", "/small", nil, 200, "X-Frame-Options", "DENY", "the outer one still holds"},
		{"GET", "/small", nil, 200, "Strict-Transport-Security", "max-age=86400", "the inner one adds"},
	} {
		r := ask(a, c.method, c.target, c.headers...)
		require.Equal(t, c.status, r.StatusCode, "%s %s: %s", c.method, c.target, c.why)
		if c.header != "" {
			require.Equal(t, c.value, r.Header.Get(c.header), "%s %s: %s", c.method, c.target, c.why)
		}
	}
}

func TestRouteOptions(t *testing.T) {
	a := appOf(t, `
[[route]]
path = "/x"
methods = ["GET", "PUT"]
name = "the x"
budget = "3ms"
timeout = "2s"
body_bytes_max = "20MiB"
respond = {}
`)
	require.Len(t, a.Routes(), 2)
	for i, method := range []string{"GET", "PUT"} {
		r := a.Routes()[i]
		require.Equal(t, method, r.Method)
		require.Equal(t, "the x", r.Name)
		require.Equal(t, 3*time.Millisecond, r.Budget)
		require.Equal(t, 2*time.Second, r.Timeout)
		require.EqualValues(t, 20<<20, r.BodyMax)
	}
}

func TestNeedRestart(t *testing.T) {
	base := "[server]\nlisten = \":1\"\nname = \"a\"" + minimal
	for _, c := range []struct {
		next string
		want []string
		why  string
	}{
		{base, nil, "nothing"},
		{"[server]\nlisten = \":1\"\nname = \"b\"\n[timeouts]\nhead = \"1s\"\n[log]\nlevel = \"debug\"\n[[route]]\npath = \"/new\"\nrespond = {}", nil, "what can change"},
		{"[server]\nlisten = \":2\"\nloops = 3\nname = \"a\"" + minimal, []string{"2:1: server.listen", "3:1: server.loops"}, "what cannot"},
		{"[server]\nlisten = \":1\"\n[watchdog]\nbudget = \"1ms\"\n[limits]\ntask_max = 5\n[timeouts]\nwrite = \"1s\"" + minimal,
			[]string{"6:1: limits.task_max", "8:1: timeouts.write", "4:1: watchdog.budget"}, "in the order of the reference"},
		{"[server]\nname = \"a\"" + minimal, []string{"1:2: server.listen"}, "a key that is gone: its section"},
		{"[[listener]]\nlisten = \":1\"" + minimal, []string{"server.listen", "1:3: listener"}, "a new listener"},
	} {
		a, err := build(base)
		require.NoError(t, err)
		b, err := build(c.next)
		require.NoError(t, err)
		require.Equal(t, c.want, keysOfRestart(a.NeedRestart(b)), c.why)
	}
	const site = "[[site]]\nhost = [\"a\"]\n[[site.route]]\npath = \"/\"\nrespond = {}\n[site.access_log]\nfile = \"a.log\"\n"
	a, err := build(site)
	require.NoError(t, err)
	for _, key := range []string{"format = \"combined\"", "fields = [\"status\"]", "line = \"x\"", "sample = 0.5", "rotate_bytes = 1", "rotate_every = \"1h\"", "rotate_keep = 1", "buffer_bytes = \"1MiB\"", "flush_every = \"1s\""} {
		b, err := build(site + key + "\n")
		require.NoError(t, err)
		require.Empty(t, a.NeedRestart(b), "the access log of a site is opened again with %s", key)
	}
	const two = "[[listener]]\nlisten = \":1\"\n[[listener]]\nlisten = \":2\"\nproxy_protocol = [\"10.0.0.0/8\"]\n" + minimal
	for _, c := range []struct {
		next string
		want []string
		why  string
	}{
		{"[log]\nlevel = \"debug\"\n" + two, nil, "the same, elsewhere in the file"},
		{strings.Replace(two, ":2", ":3", 1), []string{"4:1: listener.listen"}, "another address"},
		{strings.Replace(two, "10.0.0.0/8", "11.0.0.0/8", 1), []string{"5:19: listener.proxy_protocol"}, "another network"},
		{strings.Replace(two, "\n\n[[route", "\n[[listener]]\nlisten = \":3\"\n[[route", 1), []string{"6:3: listener"}, "one more"},
		{"[[listener]]\nlisten = \":1\"\n" + minimal, []string{"1:3: listener"}, "one less"},
	} {
		a, err := build(two)
		require.NoError(t, err)
		b, err := build(c.next)
		require.NoError(t, err)
		require.Equal(t, c.want, keysOfRestart(a.NeedRestart(b)), c.why)
	}
}

// Each bound of the App has a key whose default is not 0: app.Options would replace a forgotten one by its own default.
func TestEveryLimitHasAKey(t *testing.T) {
	options := Default().Options()
	for _, limits := range []any{options.Limits, options.HTTP2} {
		v := reflect.ValueOf(limits)
		for i := range v.NumField() {
			require.False(t, v.Field(i).IsZero(), "%s.%s", v.Type(), v.Type().Field(i).Name)
		}
	}
}

// keysOfRestart returns the places and keys that need a restart.
func keysOfRestart(all Problems) (keys []string) {
	for _, p := range all {
		key, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(p.Error(), "f.toml:"), " "), " cannot change while the server runs")
		keys = append(keys, key)
	}
	return keys
}
