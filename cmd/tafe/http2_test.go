// HTTP/2 by configuration: which listeners speak it, and what upstreams are spoken to.

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
	"tafe/loop/testrig"
)

// protocolServer answers with the protocol of the request.
func protocolServer(t *testing.T, set func(p *http.Protocols), secure bool) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	s.Config.Protocols = new(http.Protocols)
	set(s.Config.Protocols)
	if s.EnableHTTP2 = secure; secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TLS offers HTTP/2 unless it is off; without TLS, it is off unless it is on.
func TestHTTP2ByConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", time.Now().Add(24*time.Hour), "localhost", "127.0.0.1")
	one := protocolServer(t, func(p *http.Protocols) { p.SetHTTP1(true) }, false)
	h2c := protocolServer(t, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, false)
	h2 := protocolServer(t, func(p *http.Protocols) { p.SetHTTP2(true) }, true)

	listeners := []struct {
		keys             string
		secure           bool
		adapted, certain string // protocol of a client that speaks both, and of one that insists on HTTP/2
	}{
		{"", true, "HTTP/2.0", "HTTP/2.0"},
		{"http2 = true", true, "HTTP/2.0", "HTTP/2.0"},
		{"http2 = false", true, "HTTP/1.1", ""},
		{"", false, "HTTP/1.1", ""},
		{"http2 = true", false, "HTTP/1.1", "HTTP/2.0"},
		{"http2 = false", false, "HTTP/1.1", ""},
	}
	var text strings.Builder
	var addrs []string
	for _, l := range listeners {
		addr := "127.0.0.1:" + testrig.Port(t)
		addrs = append(addrs, addr)
		fmt.Fprintf(&text, "[[listener]]\nlisten = %q\n%s\n", addr, l.keys)
		if l.secure {
			fmt.Fprintf(&text, "[listener.tls]\ncerts = [{ cert = %q, key = %q }]\n", f.Cert, f.Key)
		}
	}
	for _, u := range [][3]string{{"one", one, ""}, {"h2c", h2c, "proto = \"h2c\"\n"}, {"h2", h2, "proto = \"h2\"\ntls = { insecure = true }\n"}} {
		fmt.Fprintf(&text, "[[upstream]]\nname = %q\nservers = [{ addr = %q }]\n%s[[route]]\npath = \"/%s\"\nproxy = { upstream = %[1]q }\n", u[0], u[1], u[2], u[0])
	}
	text.WriteString("[[route]]\npath = \"/\"\nrespond = { body = \"front\" }\n")
	file := filepath.Join(dir, "edge.toml")
	writeConfig(t, file, text.String())
	p := start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
	line := p.line()
	admin := line[strings.LastIndex(line, "//")+2:]
	admin = strings.TrimSuffix(admin, "/")

	requests := map[string]int{}
	for i, l := range listeners {
		for _, insists := range []bool{false, true} {
			want := l.adapted
			if insists {
				want = l.certain
			}
			why := fmt.Sprintf("listener %d: %q, TLS %v, HTTP/2 only %v", i, l.keys, l.secure, insists)
			got, err := protocolOf(t, l.secure, insists, addrs[i])
			if want == "" {
				require.Error(t, err, why)
				continue
			}
			require.NoError(t, err, why)
			require.Equal(t, want, got, why)
			requests[want]++
		}
	}
	client := secureClient(nil)
	for path, want := range map[string]string{"/one": "HTTP/1.1", "/h2c": "HTTP/2.0", "/h2": "HTTP/2.0"} {
		resp, err := client.Get("https://" + addrs[0] + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, want, string(body), path)
		requests[resp.Proto]++
	}
	client.CloseIdleConnections()
	_, metrics := get(t, admin, "/metrics")
	require.Contains(t, metrics, fmt.Sprintf("tafe_protocol_requests_total{protocol=\"HTTP/2.0\"} %d\n", requests["HTTP/2.0"]))

	// The first command of edge.md.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, testrig.Program(t, "curl"), "-sS", "--http2", "-k", "-w", " %{http_version}", "https://"+addrs[0]+"/").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "front 2", string(out))
}

// protocolOf makes a request and returns its protocol.
func protocolOf(t *testing.T, secure, insists bool, addr string) (string, error) {
	transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	transport.Protocols.SetHTTP1(!insists)
	transport.Protocols.SetHTTP2(secure)
	transport.Protocols.SetUnencryptedHTTP2(!secure && insists)
	transport.DialContext = (&net.Dialer{}).DialContext
	defer transport.CloseIdleConnections()
	url := "http://" + addr + "/"
	if secure {
		url = "https://" + addr + "/"
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "front", string(body))
	return resp.Proto, nil
}

const alikeConfig = `
[[listener]]
listen = %q
http2 = true
[access_log]
file = %q
fields = ["protocol", "method", "uri", "status", "client_ip", "header.User-Agent"]
[middleware]
compress = {}
secure_headers = { content_security_policy = "default-src 'self'" }
[limits]
body_bytes_max = "1MiB"
[[upstream]]
name = "up"
servers = [{ addr = %q }]
[[route]]
path = "/files/{path...}"
static = { dir = %q }
[[route]]
path = "/up/{path...}"
proxy = { upstream = "up", strip_prefix = "/up" }
[[route]]
path = "/private"
basic_auth = { realm = "private", users = { admin = "secret" } }
respond = { body = "for {header.X-Test} at {uri}" }
[[route]]
path = "/moved/{path...}"
redirect = { to = "/files/{path}", status = 301 }
[[route]]
path = "/cors"
cors = { origins = ["https://app.example"], max_age = "1h" }
respond = { content_type = "application/json", body = '{"a":1}' }
[[route]]
path = "/again"
rewrite = "/big.txt"
static = { dir = %[4]q }
`

// Static files, the proxy, middlewares, errors and the access log make no difference between the protocols, but for its name.
func TestProtocolsAlike(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	require.NoError(t, os.Mkdir(files, 0o755))
	big := strings.Repeat("tafe serves files over both protocols. ", 20_000)
	require.NoError(t, os.WriteFile(filepath.Join(files, "big.txt"), []byte(big), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(files, "raw.bin"), []byte(big), 0o644))
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("Set-Cookie", "a=b")
		w.Header().Add("Set-Cookie", "c=d")
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprint(w, r.Method, r.URL, r.Host, r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Test"), r.Header.Get("Cookie"), len(body))
	}))
	t.Cleanup(up.Close)
	addr, log := "127.0.0.1:"+testrig.Port(t), filepath.Join(dir, "access.log")
	file := filepath.Join(dir, "edge.toml")
	writeConfig(t, file, fmt.Sprintf(alikeConfig, addr, log, up.Listener.Addr().String(), files))
	p := start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
	p.line()

	var clients []*http.Client
	for i := range 2 {
		transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
		transport.Protocols.SetHTTP1(i == 0)
		transport.Protocols.SetUnencryptedHTTP2(i == 1)
		t.Cleanup(transport.CloseIdleConnections)
		clients = append(clients, &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }})
	}
	var etag string
	for _, c := range []struct {
		why, method, path string
		fields            [][2]string
		body              string
		status            int
	}{
		{"a file", "GET", "/files/raw.bin", nil, "", 200},
		{"its head", "HEAD", "/files/raw.bin", nil, "", 200},
		{"a compressed one", "GET", "/files/big.txt", [][2]string{{"Accept-Encoding", "gzip"}}, "", 200},
		{"one that did not change", "GET", "/files/raw.bin", [][2]string{{"If-None-Match", "ETAG"}}, "", 304},
		{"a range", "GET", "/files/raw.bin", [][2]string{{"Range", "bytes=100-200000"}}, "", 206},
		{"no range", "GET", "/files/raw.bin", [][2]string{{"Range", "bytes=999999999-"}}, "", 416},
		{"no file", "GET", "/files/none", nil, "", 404},
		{"another method", "POST", "/files/raw.bin", nil, "x", 405},
		{"a rewrite", "GET", "/again", nil, "", 200},
		{"no route", "GET", "/none", nil, "", 404},
		{"a redirect", "GET", "/moved/a%20b?c=d", nil, "", 301},
		{"no password", "GET", "/private", nil, "", 401},
		{"a password", "GET", "/private?a=b", [][2]string{{"Authorization", "Basic YWRtaW46c2VjcmV0"}, {"X-Test", "it"}}, "", 200},
		{"a preflight", "OPTIONS", "/cors", [][2]string{{"Origin", "https://app.example"}, {"Access-Control-Request-Method", "GET"}}, "", 204},
		{"another origin", "GET", "/cors", [][2]string{{"Origin", "https://app.example"}}, "", 200},
		{"the proxy", "PUT", "/up/a%2fb?c", [][2]string{{"X-Test", "it"}, {"Cookie", "a=b; c=d"}}, strings.Repeat("x", 100_000), 202},
		{"a body that is too large", "POST", "/up/", nil, strings.Repeat("x", 1<<20+1), 413},
	} {
		var seen []string
		for i, client := range clients {
			r, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+addr+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header.Set("User-Agent", "both")
			for _, f := range c.fields {
				r.Header.Set(f[0], strings.ReplaceAll(f[1], "ETAG", etag))
			}
			resp, err := client.Do(r)
			require.NoError(t, err, c.why)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err, c.why)
			_ = resp.Body.Close()
			if resp.Header.Get("Content-Encoding") == "gzip" { // its blocks depend on how the output was flushed
				z, err := gzip.NewReader(bytes.NewReader(body))
				require.NoError(t, err, c.why)
				body, err = io.ReadAll(z)
				require.NoError(t, err, c.why)
			}
			require.Equal(t, i+1, resp.ProtoMajor, c.why)
			require.Equal(t, c.status, resp.StatusCode, c.why)
			if etag == "" {
				etag = resp.Header.Get("Etag")
				require.NotEmpty(t, etag)
			}
			for _, name := range []string{"Date", "Connection", "Transfer-Encoding"} {
				resp.Header.Del(name)
			}
			seen = append(seen, fmt.Sprintf("%d %v %d %d %x %.200s", resp.StatusCode, resp.Header, resp.ContentLength, len(body), sha256.Sum256(body), body))
		}
		require.Equal(t, seen[0], seen[1], c.why)
	}
	p.signal(syscall.SIGTERM)
	code, _ := p.wait()
	require.Zero(t, code)
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(t, lines, 2*17)
	for i := 0; i < len(lines); i += 2 {
		require.Contains(t, lines[i], "HTTP/1.1")
		require.Equal(t, strings.ReplaceAll(lines[i], "HTTP/1.1", "HTTP/2.0"), lines[i+1])
	}
}
