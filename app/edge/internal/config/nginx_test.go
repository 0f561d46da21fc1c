package config

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/loop/testrig"
)

// besideNginx serves a text of this configuration and servers of nginx, and returns the addresses.
func besideNginx(t *testing.T, text, nginx string) (ours, theirs string) {
	t.Helper()
	path := testrig.Program(t, "nginx", "/usr/sbin")
	s, err := app.Listen(appOf(t, text), app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
	})
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	port := testrig.Port(t)
	conf := fmt.Sprintf("daemon off; master_process off; pid %s/pid; error_log %s/error.log;\nevents {}\nhttp { access_log off; server_tokens off; default_type text/plain;\n%s}\n",
		dir, dir, strings.ReplaceAll(nginx, "PORT", "127.0.0.1:"+port))
	require.NoError(t, os.WriteFile(dir+"/conf", []byte(conf), 0o644))
	cmd := exec.Command(path, "-e", dir+"/error.log", "-p", dir, "-c", dir+"/conf")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	theirs = "127.0.0.1:" + port
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", theirs)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond, "nginx does not listen")
	return s.Addr().String(), theirs
}

// exchange sends a raw request, and returns status, body and Location of the response.
func exchange(t *testing.T, addr, raw string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, raw)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, "%q", raw)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.StatusCode >= 300 {
		text = nil // the texts of redirects and errors differ
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", resp.StatusCode, text, resp.Header.Get("Location")))
}

// Hosts are matched as nginx matches server_name.
func TestHostsBesideNginx(t *testing.T) {
	var ours, theirs strings.Builder
	for i, name := range []string{"*", "example.com", "www.example.com", "*.example.com", "*.a.example.com", "*.org", "localhost", "[::1]", "192.0.2.1", "xn--bcher-kva.example", "under_score.example", "1.2.3", "single"} {
		fmt.Fprintf(&ours, "[[site]]\nhost = [%q]\n[[site.route]]\npath = \"/{path...}\"\nrespond = { body = \"site %d\" }\n", name, i)
		if name == "*" {
			name = "_"
		}
		fmt.Fprintf(&theirs, "server { listen PORT; server_name %q; location / { return 200 \"site %d\"; } }\n", name, i)
	}
	us, them := besideNginx(t, ours.String(), theirs.String())
	for _, c := range []struct{ host, want, divergent, why string }{
		{"example.com", "1", "", "an exact name"},
		{"EXAMPLE.COM", "1", "", "capitals"},
		{"eXample.com:80", "1", "", "a port"},
		{"example.com:", "1", "", "an empty port"},
		{"example.com:65535", "1", "", "the last port"},
		{"example.com.", "1", "", "a final dot"},
		{"example.com.:8080", "1", "", "a final dot and a port"},
		{"www.example.com", "2", "", "an exact name before a wildcard"},
		{"WWW.example.com.", "2", "", "in another spelling"},
		{"w.example.com", "3", "", "a wildcard"},
		{"wwww.example.com", "3", "", "a longer label"},
		{"a.b.c.example.com", "3", "", "a wildcard at any depth"},
		{"a.example.com", "3", "", "the parent of a longer wildcard"},
		{"b.a.example.com", "4", "", "the longest wildcard"},
		{"c.b.a.example.com", "4", "", "at any depth"},
		{"B.A.EXAMPLE.COM:1", "4", "", "in capitals"},
		{"x.aa.example.com", "3", "", "a longer wildcard that ends within a label"},
		{"xexample.com", "0", "", "a suffix that is not a label"},
		{"example.com.evil.test", "0", "", "a name within another"},
		{"example.org", "5", "", "a wildcard of a single label"},
		{"a.b.org", "5", "", "and below"},
		{"org", "0", "", "but not the label itself"},
		{"localhost", "6", "", "a single label"},
		{"localhost:8080", "6", "", "with a port"},
		{"localhost.", "6", "", "with a dot"},
		{"[::1]", "7", "", "an IPv6 address"},
		{"[::1]:8080", "7", "", "with a port"},
		{"[::2]", "0", "", "another one"},
		{"192.0.2.1", "8", "", "an IPv4 address"},
		{"192.0.2.1:80", "8", "", "with a port"},
		{"192.0.2.10", "0", "", "another one"},
		{"xn--bcher-kva.example", "9", "", "an A-label"},
		{"XN--BCHER-KVA.example", "9", "", "in capitals"},
		{"under_score.example", "10", "", "an underscore"},
		{"1.2.3", "11", "", "digits"},
		{"single", "12", "", "no dot"},
		{"other.test", "0", "", "none of them"},
		{strings.Repeat("a", 250) + ".test", "0", "", "a long name"},
		{strings.Repeat("b.", 100) + "example.com", "3", "", "many labels"},
		{"-.example.com", "3", "", "a label that DNS does not allow"},
		{"*.example.com", "3", "", "a wildcard as a name"},
		{".example.com", "0", "nginx: takes the empty label for one", "an empty label"},
	} {
		raw := fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", c.host)
		require.Equal(t, "200 site "+c.want, exchange(t, us, raw), "%s: %s", c.host, c.why)
		if theirs := exchange(t, them, raw); c.divergent == "" {
			require.Equal(t, "200 site "+c.want, theirs, "nginx: %s: %s", c.host, c.why)
		} else {
			require.NotEqual(t, "200 site "+c.want, theirs, "not divergent any more: %s", c.divergent)
		}
	}
	for _, c := range []struct{ raw, want, why string }{
		{"GET / HTTP/1.0\r\n\r\n", "0", "no host"},
		{"GET http://www.example.com/ HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n", "2", "the host of the target counts"},
		{"GET / HTTP/1.0\r\nHost: www.example.com\r\n\r\n", "2", "a host in HTTP/1.0"},
	} {
		require.Equal(t, "200 site "+c.want, exchange(t, us, c.raw), c.why)
		require.Equal(t, "200 site "+c.want, exchange(t, them, c.raw), "nginx: %s", c.why)
	}
}

// Conditions, variables, redirects and rewrites, beside those of nginx that operators write for the same.
func TestSitesBesideNginx(t *testing.T) {
	files := t.TempDir()
	require.NoError(t, os.Chmod(files, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(files), 0o755))
	for name, text := range map[string]string{"index.html": "spa", "real.txt": "real"} {
		require.NoError(t, os.WriteFile(filepath.Join(files, name), []byte(text), 0o644))
	}
	us, them := besideNginx(t, `
[[site]]
host = ["www.shop.test"]
[[site.route]]
path = "/{path...}"
redirect = { to = "https://shop.test{uri}", status = 301 }

[[site]]
host = ["shop.test"]
[[site.route]]
path = "/vars"
respond = { body = "{host} {scheme} {method} {uri} {query} {query.a} {header.X-Two} {cookie.c} {protocol}" }
[[site.route]]
path = "/beta"
respond = { body = "plain" }
[[site.route]]
path = "/beta"
match = { header = { X-Beta = "~^(1|yes)$" } }
respond = { body = "header" }
[[site.route]]
path = "/beta"
match = { query = { v = "2" } }
respond = { body = "query" }
[[site.route]]
path = "/beta"
match = { cookie = { beta = "*" } }
respond = { body = "cookie" }
[[site.route]]
path = "/inside"
match = { client = ["127.0.0.0/8"] }
respond = { body = "loopback" }
[[site.route]]
match = { path = '^/re/([^/]+)/(?P<rest>.*)$' }
respond = { body = "{path.1}|{path.rest}" }
[[site.route]]
match = { path = '^/old/(\d+)$' }
redirect = { to = "/new/{path.1}", status = 302, keep_query = false }
[[site.route]]
path = "/keep/{rest...}"
redirect = { to = "/kept/{rest}", status = 302 }
[[site.route]]
path = "/dir/{rest...}"
respond = { body = "dir" }
[[site.route]]
path = "/app/{path...}"
static = { dir = "`+files+`", fallback = "index.html" }
[[site.route]]
path = "/short/{name}"
rewrite = "/{name}.txt"
static = { dir = "`+files+`" }
[[site.route]]
path = "/gone"
respond = { status = 410, body = "" }
`, `
server { listen PORT; server_name www.shop.test; return 301 https://shop.test$request_uri; }
server { listen PORT default_server; server_name shop.test; absolute_redirect off;
	location = /vars { return 200 "$host $scheme $request_method $request_uri $args $arg_a $http_x_two $cookie_c $server_protocol"; }
	location = /beta {
		if ($http_x_beta ~ ^(1|yes)$) { return 200 header; }
		if ($arg_v = 2) { return 200 query; }
		if ($cookie_beta) { return 200 cookie; }
		return 200 plain;
	}
	location = /inside { if ($remote_addr ~ ^127\.) { return 200 loopback; } return 404; }
	location ~ ^/re/([^/]+)/(?<rest>.*)$ { return 200 "$1|$rest"; }
	location ~ ^/old/(\d+)$ { return 302 /new/$1; }
	location /keep/ { rewrite ^/keep/(.*)$ /kept/$1 redirect; }
	location /dir/ { proxy_pass http://127.0.0.1:1; }
	location = /dir/ { return 200 dir; }
	location /app/ { alias `+files+`/; try_files $uri /app/index.html; }
	location /short/ { rewrite ^/short/([^/]+)$ /app/$1.txt last; }
	location = /gone { return 410; }
	location / { return 404; }
}
`)
	for _, c := range []struct{ host, target, fields, want, divergent, why string }{
		{"www.shop.test", "/", "", "301  https://shop.test/", "", "a redirect to another host"},
		{"www.shop.test:80", "/a%2Fb/c%20d?x=%26&y", "", "301  https://shop.test/a%2Fb/c%20d?x=%26&y", "", "path and query as they were sent"},
		{"www.shop.test", "/%0d%0aSet-Cookie:x=1", "", "301  https://shop.test/%0d%0aSet-Cookie:x=1", "", "a line break stays encoded"},
		{"shop.test", "/vars?a=1&b=2", "X-Two: a b\r\nCookie: x=y; c=d\r\n", "200 shop.test http GET /vars?a=1&b=2 a=1&b=2 1 a b d HTTP/1.1", "", "variables"},
		{"SHOP.test:81", "/vars?a", "", "200 shop.test http GET /vars?a a    HTTP/1.1", "", "without values"},
		{"shop.test", "/vars?a={host}", "X-Two: {uri}\r\n", "200 shop.test http GET /vars?a={host} a={host} {host} {uri}  HTTP/1.1", "", "values are not expanded again"},
		{"shop.test", "/vars?a=x%20y", "", "200 shop.test http GET /vars?a=x%20y a=x%20y x y   HTTP/1.1", "nginx: does not decode $arg_a", "values of a query are decoded"},
		{"shop.test", "/beta", "", "200 plain", "", "no condition"},
		{"shop.test", "/beta", "X-Beta: yes\r\n", "200 header", "", "a header"},
		{"shop.test", "/beta", "X-Beta: no\r\n", "200 plain", "", "with another value"},
		{"shop.test", "/beta?v=2", "", "200 query", "", "a query parameter"},
		{"shop.test", "/beta?v=2", "X-Beta: 1\r\n", "200 header", "", "two conditions: the first"},
		{"shop.test", "/beta?w=1&v=2", "Cookie: beta=1\r\n", "200 query", "", "two others"},
		{"shop.test", "/beta", "Cookie: a=b; beta=1\r\n", "200 cookie", "", "a cookie"},
		{"shop.test", "/inside", "", "200 loopback", "", "the client's network"},
		{"shop.test", "/re/a/b/c", "", "200 a|b/c", "", "captures by number and name"},
		{"shop.test", "/re/a%20b/c%2e", "", "200 a b|c.", "", "of the decoded path"},
		{"shop.test", "/re/a", "", "308  ./a/", "nginx: knows no redirect to what a regular expression matches", "not enough segments, but one slash"},
		{"shop.test", "/old/12", "", "302  /new/12", "", "a capture in a redirect"},
		{"shop.test", "/old/12?a=b", "", "302  /new/12", "", "the query is dropped"},
		{"shop.test", "/old/x", "", "404", "", "the expression does not match"},
		{"shop.test", "/keep/a/b?c=d", "", "302  /kept/a/b?c=d", "", "the query is kept"},
		{"shop.test", "/keep/a%20b", "", "302  /kept/a%20b", "", "spaces stay encoded"},
		{"shop.test", "/keep/a%2Fb", "", "302  /kept/a%2Fb", "nginx: decodes %2F, which makes another path of it", "slashes stay encoded"},
		{"shop.test", "/dir/", "", "200 dir", "", "a path with a slash"},
		{"shop.test", "/dir", "", "308  ./dir/", "nginx: 301 to /dir/; 308 keeps the method, and a relative target holds behind a proxy", "without it"},
		{"shop.test", "/app/real.txt", "", "200 real", "", "a file"},
		{"shop.test", "/app/any/route", "", "200 spa", "", "the fallback of a single-page application"},
		{"shop.test", "/short/real", "", "200 real", "", "a rewrite"},
		{"shop.test", "/short/real?x", "", "200 real", "", "with a query"},
		{"shop.test", "/gone", "", "410", "", "a status"},
		{"shop.test", "/none", "", "404", "", "no route"},
	} {
		raw := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", c.target, c.host, c.fields)
		require.Equal(t, c.want, exchange(t, us, raw), "%s %s: %s", c.host, c.target, c.why)
		if theirs := exchange(t, them, raw); c.divergent == "" {
			require.Equal(t, c.want, theirs, "nginx: %s %s: %s", c.host, c.target, c.why)
		} else {
			require.NotEqual(t, c.want, theirs, "not divergent any more: %s", c.divergent)
		}
	}
}
