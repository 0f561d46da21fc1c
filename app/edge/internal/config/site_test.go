package config

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/app/edge/certstest"
	"tafe/app/middleware"
)

// askHost has h answer a GET for a host.
func askHost(h http.Handler, host, target string, headers ...string) *http.Response {
	r := httptest.NewRequest("GET", target, nil)
	r.Host = host
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	return name
}

func TestSites(t *testing.T) {
	dir := t.TempDir()
	html := write(t, filepath.Join(dir, "e.html"), "<style>b{color:red}</style><b>{status} {status_text}: {message}</b> {host}{uri} {unknown}")
	jsonFile := write(t, filepath.Join(dir, "e.json"), `{"status":{status},"uri":"{uri}"}`)
	write(t, filepath.Join(dir, "page.txt"), "page")
	a := appOf(t, `
[error_pages]
5xx = "`+html+`"

[[route]]
path = "/healthz"
respond = { body = "ok" }
[[route]]
path = "/fail"
respond = { status = 503, body = "own" }

[[site]]
host = ["One.Example", "*.one.example", "b\u00fccher.example"]
error_pages = { 404 = "`+html+`", 4xx = "`+jsonFile+`" }
[site.middleware]
secure_headers = {}
[[site.route]]
path = "/"
respond = { content_type = "text/html", body = "<p>{header.X-A}</p>", headers = { X-Id = "{query.id}", Vary = "{header.X-Vary}" } }
[[site.route]]
path = "/post"
methods = ["POST"]
cors = { origins = ["https://a.example"] }
respond = { content_type = "application/json", body = '{"h":"{header.X-A}","n":{"a":1}}' }
[[site.route]]
path = "/file/{name}"
rewrite = "/{name}.txt"
static = { dir = "`+dir+`" }
[[site.route]]
path = "/only/"
respond = {}
[[site.route]]
path = "/js"
respond = { content_type = "text/javascript", body = "f('{query.x}')" }

[[site]]
host = ["*"]
[[site.route]]
path = "/{path...}"
match = { path = "^/only-here$" }
respond = { body = "default {site} {route}" }
`)
	for _, c := range []struct {
		host, target string
		headers      []string
		status       int
		body, why    string
	}{
		{"one.example", "/", []string{"X-A", "<i>"}, 200, "<p>&lt;i&gt;</p>", "values in HTML are escaped"},
		{"www.ONE.example:443", "/", nil, 200, "<p></p>", "a wildcard"},
		{"xn--bcher-kva.example", "/", nil, 200, "<p></p>", "an international name"},
		{"one.example", "/healthz", nil, 200, "ok", "a route of all hosts"},
		{"one.example", "/file/page", nil, 200, "page", "a rewrite to a file"},
		{"one.example", "/file/..%2Fpage", nil, 400, "", "out of the directory"},
		{"one.example", "/file/none", nil, 404, "<style>b{color:red}</style><b>404 Not Found: Not Found</b> one.example/file/none {unknown}", "the page of a status"},
		{"one.example", "/x?'&", nil, 404, "<style>b{color:red}</style><b>404 Not Found: Not Found</b> one.example/x?&#39;&amp; {unknown}", "with escaped values"},
		{"one.example", "/x", []string{"Accept", "application/json"}, 404, "", "clients that want JSON get no HTML"},
		{"one.example", "/post", nil, 405, `{"status":405,"uri":"/post"}`, "the page of a class"},
		{"one.example", "/only", nil, 308, "", "the path with a slash exists"},
		{"one.example", "/js?x=')-alert(1)//", nil, 200, `f('\u0027)-alert(1)//')`, "values in a script are escaped"},
		{"other.example", "/only-here", nil, 200, "default * */{path...}", "the default"},
		{"other.example", "/none", nil, 404, "Not Found\n", "the pages of a site are its own"},
		{"one.example", "/fail", nil, 503, "own", "a response of a route is no error"},
	} {
		r := askHost(a, c.host, c.target, c.headers...)
		require.Equal(t, c.status, r.StatusCode, "%s%s: %s", c.host, c.target, c.why)
		if c.body != "" {
			require.Equal(t, c.body, body(r), "%s%s: %s", c.host, c.target, c.why)
		}
	}
	r := askHost(a, "one.example", "/?id=a%0d%0aX-Evil:+1", "X-Vary", "Origin, Accept")
	require.Equal(t, "a%0D%0AX-Evil: 1", r.Header.Get("X-Id"), "a line break cannot end a header")
	require.Equal(t, []string{"Origin", "Accept"}, r.Header.Values("Vary"))
	require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"), "the middlewares of the site")
	require.Empty(t, askHost(a, "other.example", "/only-here").Header.Get("X-Content-Type-Options"))
	require.Equal(t, "application/json", askHost(a, "one.example", "/post").Header.Get("Content-Type"))
	require.Equal(t, "nosniff", askHost(a, "one.example", "/none").Header.Get("X-Content-Type-Options"), "around its 404")
	require.Contains(t, body(askHost(a, "one.example", "/x", "Accept", "application/json")), `"status":404`)
}

// All mistakes are found at once, each with line, column and remedy.
func TestSiteMistakes(t *testing.T) {
	dir := t.TempDir()
	cert := certstest.Write(t, dir, "a", time.Now().Add(time.Hour), "a.example")
	file := write(t, filepath.Join(dir, "f.toml"), `
[[listener]]
listen = "127.0.0.1:0"
[listener.tls]
certs = [{ cert = "`+cert.Cert+`", key = "`+cert.Key+`" }]

[access_log]
file = "-"
line = '{client_ip} {statsu}'
fields = ["time", "bites"]

[[site]]
host = ["a.example", "b.example"]
error_pages = { 404 = "/no/such.html", 999 = "x.html" }
[[site.route]]
path = "/x/{id}"
redirect = { to = "https://n.example/{idd}/{path.9}" }
[[site.route]]
path = "/x/{other}"
respond = { body = """
first line
  {hots}""" }
[[site.route]]
path = "/x/{again}"
respond = {}
[[site.route]]
match = { path = "(", header = { X-A = "~[" } }
respond = {}
[[site.route]]
path = "/m"
match = {}
respond = {}
[[site.route]]
path = "/r"
rewrite = "x"
respond = {}
[[site.route]]
path = "/h"
respond = { headers = { X-A = "\u00e4 {bytes}", Connection = "x" } }

[[site]]
host = ["e.example", "http://c.example", "c.example:80"]

[[site]]
host = ["A.example", "d.example"]
access_log = { file = "-" }
`)
	_, problems, _, err := Check(file, nil)
	require.NoError(t, err)
	var got []string
	for _, p := range problems {
		require.Equal(t, file, p.File)
		got = append(got, strings.TrimPrefix(p.Error(), file+":"))
	}
	for _, want := range []string{
		`7:2: access_log has more than one of format, fields and line: want one`,
		`9:21: access_log.line: there is no variable {statsu}; the text {statsu} itself is written {{statsu}; did you mean {status}?`,
		`10:20: access_log.fields = "bites": there is no variable bites; did you mean bytes?`,
		`13:22: site.host: no certificate of the listener 127.0.0.1:0 is valid for b.example: name one in site.certs or listener.tls.certs, or obtain one with [acme]`,
		`14:17: site.error_pages.404: /no/such.html: no such file or directory`,
		`14:40: site.error_pages has "999": want a status from 400 to 599, or 4xx or 5xx`,
		`17:38: site.route.redirect.to: there is no variable {idd}`,
		`17:44: site.route.redirect.to: {path.9}: the route has no match.path`,
		`22:3: site.route.respond.body: there is no variable {hots}; the text {hots} itself is written {{hots}; did you mean {host}?`,
		`27:11: site.route.match.path: not a regular expression in the syntax of RE2: missing closing ): ` + "`(`",
		`27:34: site.route.match.header.X-A: not a regular expression in the syntax of RE2: missing closing ]`,
		`31:1: site.route.match has no condition: want header, query, cookie, client or path`,
		`35:1: route /r: rewrite has no effect on respond and redirect`,
		`39:39: site.route.respond.headers.X-A: {bytes} has no value here: it is known after the response, in the access log`,
		`39:49: site.route.respond.headers.Connection: the server sets it itself`,
		`45:9: site.host has "a.example", which line 13 has already`,
		`42:22: site.host = "http://c.example": has a '/': want a host, not a URL`,
		`42:42: site.host = "c.example:80": has a ':': want a host without a port`,
		`45:22: site.host: no certificate of the listener`,
		`46:16: site.access_log.file = "-" is the file of [access_log]`,
	} {
		require.True(t, contains(got, want), "%s\nis not in\n%s", want, strings.Join(got, "\n"))
	}
}

func contains(all []string, start string) bool {
	for _, s := range all {
		if strings.HasPrefix(s, start) {
			return true
		}
	}
	return false
}

// A route that another one hides is found, also in a site, and under the same conditions.
func TestShadowedRoutes(t *testing.T) {
	for _, c := range []struct{ text, want, why string }{
		{"[[route]]\npath = \"/{a}\"\nrespond = {}\n[[site]]\nhost = [\"a\"]\n[[site.route]]\npath = \"/{b}\"\nrespond = {}", "", "a site and all hosts"},
		{"[[site]]\nhost = [\"a\"]\n[[site.route]]\npath = \"/{a}\"\nrespond = {}\n[[site.route]]\npath = \"/{b}\"\nmethods = [\"GET\"]\nrespond = {}", "", "another method"},
		{"[[site]]\nhost = [\"a\"]\n[[site.route]]\npath = \"/{a}\"\nrespond = {}\n[[site.route]]\npath = \"/{b}\"\nrespond = {}",
			"f.toml:7:1: site.route /{b} is never reached: the route in line 3 matches the same requests", "within a site"},
		{"[[route]]\npath = \"/a\"\nmatch = { query = { a = \"1\" } }\nrespond = {}\n[[route]]\npath = \"/a\"\nmatch = { query = { a = [\"1\"] } }\nrespond = {}",
			"f.toml:6:1: route /a is never reached: the route in line 1 matches the same requests", "under the same conditions"},
		{"[[route]]\npath = \"/a\"\nmatch = { query = { a = \"1\" } }\nrespond = {}\n[[route]]\npath = \"/a\"\nmatch = { query = { a = \"2\" } }\nrespond = {}", "", "under others"},
		{"[[route]]\npath = \"/a\"\nmatch = { header = { X-A = \"~b\", Y = [\"1\", \"2\"] } }\nrespond = {}\n[[route]]\npath = \"/a\"\nmatch = { header = { y = [\"2\", \"1\"], x-a = \"~b\" } }\nrespond = {}",
			"f.toml:6:1: route /a is never reached: the route in line 1 matches the same requests", "names of headers have no case, and alternatives no order"},
		{"[[route]]\npath = \"/x/{a}\"\nrespond = {}\n[[route]]\npath = \"/x/{a...}\"\nrespond = {}", "", "one segment and all segments"},
		{withMethods("GET", "POST,GET"), "", "POST reaches the second"},
		{withMethods("POST,GET", "GET,PUT"), "", "PUT reaches the second"},
		{withMethods("GET,PUT", "POST,PUT"), "", "POST reaches the second"},
		{withMethods("GET", "GET,HEAD"), "", "a route for HEAD comes before one for GET"},
		{withMethods("POST,GET", "GET"), "f.toml:6:1: route /a is never reached: the route in line 1 matches the same requests", "fewer methods"},
		{withMethods("GET,POST", "POST,GET"), "f.toml:6:1: route /a is never reached: the route in line 1 matches the same requests", "in another order"},
		{withMethods("GET", "POST", "PUT,DELETE", "POST,GET,PUT"),
			"f.toml:14:1: route /a is never reached: the routes in lines 1, 5 and 9 match the same requests", "several hide it together"},
		{withMethods("GET", "POST", "POST,GET,PUT"), "", "PUT reaches the third"},
	} {
		_, err := build(c.text)
		if c.want == "" {
			require.NoError(t, err, c.why)
			continue
		}
		require.ErrorContains(t, err, c.want, c.why)
	}
}

// withMethods returns a file with one route for each list, four lines each, all with the same path.
func withMethods(lists ...string) string {
	text := ""
	for _, list := range lists {
		text += "[[route]]\npath = \"/a\"\nrespond = { body = \"" + list + "\" }\nmethods = [\"" + strings.ReplaceAll(list, ",", `", "`) + "\"]\n"
	}
	return text
}

// Of the routes with the same path, each method goes to the first in the file.
func TestSharedMethods(t *testing.T) {
	a := appOf(t, withMethods("GET,POST", "POST,PUT", "PUT,DELETE,HEAD"))
	for method, want := range map[string]string{"GET": "GET,POST", "POST": "GET,POST", "PUT": "POST,PUT", "DELETE": "PUT,DELETE,HEAD"} {
		require.Equal(t, want, body(ask(a, method, "/a")), method)
	}
	require.Equal(t, "15", ask(a, "HEAD", "/a").Header.Get("Content-Length"), "the third has HEAD")
	allow := ask(a, "PATCH", "/a").Header.Get("Allow")
	require.Equal(t, "DELETE, GET, HEAD, OPTIONS, POST, PUT", allow)
}

// A preflight is answered once for all routes that match the same paths, whatever their parameters are called.
func TestPreflightOfSharedPath(t *testing.T) {
	a := appOf(t, `
[[route]]
path = "/{a}"
methods = ["GET"]
respond = {}
cors.origins = ["https://a.example"]
[[route]]
path = "/{b}"
methods = ["PUT"]
respond = {}
cors.origins = ["https://a.example"]
`)
	require.Equal(t, "OPTIONS, GET, PUT, HEAD", ask(a, "OPTIONS", "/x").Header.Get("Allow"))
}

// logged is a SiteLog in memory.
type logged struct {
	*middleware.AccessLog
	out *bytes.Buffer
}

func (l *logged) Reopen() error { return nil }

// Sites log to files of their own, which a reload keeps open if nothing has changed.
func TestSiteLogs(t *testing.T) {
	opened := map[Path]*logged{}
	open := func(l *SiteAccessLog) (SiteLog, error) {
		if l.File == "/broken" {
			return nil, os.ErrPermission
		}
		out := &bytes.Buffer{}
		o := l.Options()
		opened[l.File] = &logged{middleware.NewAccessLog(out, o), out}
		return opened[l.File], nil
	}
	const first = `
[[route]]
path = "/"
respond = {}
[[site]]
host = ["a"]
access_log = { file = "/a", fields = ["status", "host", "uri", "site"] }
[[site.route]]
path = "/a"
respond = {}
[[site]]
host = ["a2"]
access_log = { file = "/a", fields = ["status", "host", "uri", "site"] }
[[site.route]]
path = "/a"
respond = {}
[[site]]
host = ["broken"]
access_log = { file = "/broken" }
[[site.route]]
path = "/"
respond = {}
`
	make := func(text string, before *Resources) (*app.App, *Resources, *bytes.Buffer) {
		c, err := Parse("f.toml", []byte(text), nil)
		require.NoError(t, err)
		c.OpenLog = open
		main := &bytes.Buffer{}
		o := quietly(c)
		o.AccessLog = func(e *app.Entry) { main.WriteString(e.Context.Host() + e.Target + "\n") }
		a, r, err := c.App(o, nil, before)
		require.NoError(t, err)
		return a, r, main
	}
	a, r, main := make(first+"[[site]]\nhost = [\"b\"]\naccess_log = { file = \"/b\", line = '{host} \"{uri}\" {status} {header.X-None}' }\n[[site.route]]\npath = \"/\"\nrespond = {}\n", nil)
	require.Len(t, opened, 2, "two sites share a log")
	require.ErrorContains(t, r.Broken(), "f.toml:19:16: site.access_log.file: permission denied")
	for _, target := range []string{"a/a", "a2/a", "a/", "b/?x='", "c/", "broken/"} {
		host, path, _ := strings.Cut(target, "/")
		_, _ = io.Copy(io.Discard, askHost(a, host, "/"+path).Body)
	}
	require.Equal(t, "c/\nbroken/\n", main.String(), "sites without a log of their own")
	before := opened["/a"]
	next, after, _ := make(first, r)
	r.TransferTo(after)
	r.Close()
	require.Same(t, before, opened["/a"], "the log goes on")
	require.Equal(t, "b \"/?x='\" 200 -\n", opened["/b"].out.String(), "closed with its last line")
	_, _ = io.Copy(io.Discard, askHost(next, "a", "/a").Body)
	after.Close()
	require.Equal(t, `{"status":200,"host":"a","uri":"/a","site":"a"}
{"status":200,"host":"a2","uri":"/a","site":"a2"}
{"status":200,"host":"a","uri":"/","site":"a"}
{"status":200,"host":"a","uri":"/a","site":"a"}
`, opened["/a"].out.String())
}

// Certificates of sites follow a reload, and so do the hosts that lack one.
func TestSiteCertificates(t *testing.T) {
	dir := t.TempDir()
	later := time.Now().Add(time.Hour)
	one, two := certstest.Write(t, dir, "one", later, "one.example", "*.one.example"), certstest.Write(t, dir, "two", later, "two.example")
	site := func(host string, f certstest.Files) string {
		return "[[site]]\nhost = [\"" + host + "\", \"*\"]\ncerts = [{ cert = \"" + f.Cert + "\", key = \"" + f.Key + "\" }]\n[[site.route]]\npath = \"/\"\nrespond = {}\n"
	}
	const listener = "[[listener]]\nlisten = \"127.0.0.1:0\"\ntls = { certs = [] }\n"
	c, err := Parse("f.toml", []byte(listener+site("*.one.example", one)), nil)
	require.NoError(t, err)
	listeners, stores, err := c.AppListeners(Sources{})
	require.NoError(t, err)
	require.Len(t, stores, 1)
	require.Empty(t, stores[0].Problems())
	require.True(t, listeners[0].Covers("www.one.example", "one.example"))
	require.False(t, listeners[0].Covers("one.example", "two.example"))

	next, err := Parse("f.toml", []byte(listener+site("one.example", two)), nil)
	require.NoError(t, err)
	stores[0].Follow(next)
	require.ErrorContains(t, stores[0].Problems(), "f.toml:5:9: site.host: no certificate of the listener 127.0.0.1:0 is valid for one.example")
	require.True(t, stores[0].Covers("two.example"))
	require.False(t, stores[0].Covers("one.example"))
}

// A certificate that cannot be used is reported where the file names it, also after a reload has moved it.
func TestPlacesOfCertificates(t *testing.T) {
	dir := t.TempDir()
	a, b := certstest.Write(t, dir, "a", time.Now().Add(time.Hour), "a"), certstest.Write(t, dir, "b", time.Now().Add(time.Hour), "b")
	site := func(cert, key string) string {
		return "[[site]]\nhost = [\"a\"]\n" + sprintf("certs = [\n{ cert = %q, key = %q },\n{ cert = %q, key = %q }]\n", a.Cert, a.Key, cert, key) + "[[site.route]]\npath = \"/\"\nrespond = {}\n"
	}
	const two = "[[listener]]\nlisten = \":1\"\ntls = { certs = [] }\n[[listener]]\nlisten = \":2\"\ntls = {}\n"
	for _, c := range []struct{ text, want, why string }{
		{two + site(b.Cert, a.Key), "f.toml:11:1: site.certs: " + b.Cert + " with " + a.Key, "a wrong key, once for all listeners"},
		{two + site("/no/such", a.Key), "f.toml:11:1: site.certs: /no/such: no such file", "no file"},
		{two + site(a.Cert, "/no/such"), "f.toml:11:1: site.certs: /no/such: no such file", "no key"},
		{sprintf("[[listener]]\nlisten = \":1\"\n[listener.tls]\ncerts = [{ cert = %q, key = %q }]\nclient_auth = \"verify\"\nclient_ca = \"/no/ca\"\n", a.Cert, a.Key) + minimal,
			"f.toml:6:1: listener.tls.client_ca: /no/ca: no such file", "the authorities"},
		{sprintf("[[listener]]\nlisten = \":1\"\n[listener.tls]\ncerts = [{ cert = %q, key = %q }]\nclient_auth = \"verify\"\nclient_ca = %q\nclient_crl = \"/no/crl\"\n", a.Cert, a.Key, a.Cert) + minimal,
			"f.toml:7:1: listener.tls.client_crl: /no/crl: no such file", "the revocation lists"},
	} {
		t.Chdir(dir)
		require.NoError(t, os.WriteFile("f.toml", []byte(c.text), 0o600))
		_, problems, _, err := Check("f.toml", nil)
		require.NoError(t, err)
		require.Len(t, problems, 1, c.why)
		require.ErrorContains(t, problems, c.want, c.why)
	}

	first, err := Parse("f.toml", []byte(two+site("/no/such", a.Key)), nil)
	require.NoError(t, err)
	_, stores, err := first.AppListeners(Sources{})
	require.NoError(t, err)
	next, err := Parse("f.toml", []byte("# longer\n"+two+site("/no/such", a.Key)), nil)
	require.NoError(t, err)
	stores[1].Follow(next)
	require.ErrorContains(t, stores[1].Problems(), "f.toml:12:1: site.certs: /no/such", "the line of the new file")
}

// With [acme], a site without certificates obtains some.
func TestSitesObtainCertificates(t *testing.T) {
	const sites = "[[site]]\nhost = [\"a.example\", \"*.b.example\", \"*\"]\n[[site.route]]\npath = \"/\"\nrespond = {}\n" +
		"[[site]]\nhost = [\"c.example\"]\ncerts = [{ cert = \"c.pem\", key = \"c.key\" }]\n[[site.route]]\npath = \"/\"\nrespond = {}\n"
	for _, c := range []struct {
		text string
		want []string
		why  string
	}{
		{sites, nil, "no [acme]"},
		{"[acme]\n" + sites, []string{"a.example"}, "those without certificates, but for wildcards"},
		{"[acme]\ndomains = [\"d.example\", \"a.example\"]\n" + sites, []string{"a.example", "d.example"}, "beside the domains"},
		{"[server]\nlisten = \":80\"\n[acme]\n" + sites, nil, "no TLS"},
	} {
		parsed, err := Parse("f.toml", []byte(c.text), nil)
		require.NoError(t, err, c.why)
		require.Equal(t, c.want, parsed.Names(), c.why)
	}
}
