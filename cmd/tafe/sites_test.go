// Two TLS sites, tested from outside: certificates, 421, error pages, logs and their rotation, and a reload that adds a site.

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
	"tafe/loop/testrig"
)

const sitesConfig = `
[[listener]]
listen = "127.0.0.1:%s"
tls = { certs = [] }

[[site]]
host = ["www.one.example"]
certs = [{ cert = %[2]q, key = %[3]q }]
[[site.route]]
path = "/{path...}"
redirect = { to = "https://one.example{uri}" }

[[site]]
host = ["one.example"]
certs = [{ cert = %[2]q, key = %[3]q }]
error_pages = { 404 = %[4]q }
access_log = { file = %[5]q, line = "{host} {server_name} {uri} {status} {protocol}", rotate_bytes = 200, rotate_keep = 2, flush_every = "1ms" }
[[site.route]]
path = "/"
respond = { body = "one" }
`

const secondSite = `
[[site]]
host = ["two.example"]
certs = [{ cert = %q, key = %q }]
[[site.route]]
path = "/"
respond = { body = "two" }
`

// askSite sends a request over TLS by a server name, and returns status, body and Location.
func askSite(t *testing.T, addr, serverName, host, target string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: serverName})
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return strings.TrimSpace(fmt.Sprintf("%d %s %s %s", resp.StatusCode, conn.ConnectionState().PeerCertificates[0].Subject.CommonName, body, resp.Header.Get("Location")))
}

func TestTwoSites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := certstest.Write(t, dir, "one", later, "one.example", "www.one.example")
	two := certstest.Write(t, dir, "two", later, "two.example")
	page, log := filepath.Join(dir, "404.html"), filepath.Join(dir, "one.log")
	require.NoError(t, os.WriteFile(page, []byte("<b>no {uri} at {host}</b>"), 0o644))
	port := testrig.Port(t)
	file := filepath.Join(dir, "edge.toml")
	text := fmt.Sprintf(sitesConfig, port, one.Cert, one.Key, page, log)
	writeConfig(t, file, text)
	p := start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
	addr := "127.0.0.1:" + port
	require.Contains(t, p.line(), "serving https://"+addr+"/")

	for _, c := range []struct{ serverName, host, target, want, why string }{
		{"one.example", "one.example", "/", "200 one.example one", "the site and its certificate"},
		{"www.one.example", "www.one.example", "/a%20b?c", "308 one.example  https://one.example/a%20b?c", "a redirect to another host"},
		{"www.one.example", "one.example", "/", "200 one.example one", "another site with the same certificate"},
		{"one.example", "one.example", "/x", "404 one.example <b>no /x at one.example</b>", "an error page"},
		{"one.example", "two.example", "/", "421 one.example this connection was made for another host", "no certificate of the other host"},
	} {
		require.Equal(t, c.want, askSite(t, addr, c.serverName, c.host, c.target), c.why)
	}

	writeConfig(t, file, text+fmt.Sprintf(secondSite, two.Cert, two.Key))
	p.signal(syscall.SIGHUP)
	await(t, "the second site", func() bool { return strings.Contains(p.stderr.String(), "configuration reloaded") })
	for _, c := range []struct{ serverName, host, want, why string }{
		{"two.example", "two.example", "200 two.example two", "a new site with its certificate"},
		{"one.example", "one.example", "200 one.example one", "beside the old one"},
		{"one.example", "two.example", "421 one.example this connection was made for another host", "a connection for the one"},
		{"two.example", "one.example", "421 two.example this connection was made for another host", "for the other"},
	} {
		require.Equal(t, c.want, askSite(t, addr, c.serverName, c.host, "/"), c.why)
	}

	for range 20 {
		askSite(t, addr, "one.example", "one.example", "/")
	}
	p.signal(syscall.SIGTERM)
	code, _ := p.wait()
	require.Zero(t, code)
	moved, err := filepath.Glob(log + ".*")
	require.NoError(t, err)
	require.Len(t, moved, 2, "older files are deleted")
	last, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(last), "one.example one.example / 200 HTTP/1.1\n")
	require.LessOrEqual(t, len(last), 200)
}
