// HTTPS, tested from outside: certificates in files, other TLS clients, renewal under load.

package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
	"tafe/loop/testrig"
)

var later = time.Now().Add(30 * 24 * time.Hour)

const secureConfig = `
[limits]
body_bytes_max = "100MiB"
[[listener]]
listen = "127.0.0.1:%d"
[listener.tls]
certs = [{ cert = %q, key = %q }]
%s
[[listener]]
listen = "127.0.0.1:%d"
redirect_https = %d
[[upstream]]
name = "up"
servers = [{ addr = %q }]
[[route]]
path = "/hello"
respond = { body = "hello" }
[[route]]
path = "/up/{path...}"
proxy = { upstream = "up" }
`

// secureEdge serves secureConfig; the addresses of its two listeners.
func secureEdge(t *testing.T, f certstest.Files, more string) (p *process, secure, plain string) {
	t.Helper()
	up := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Header.Get("X-Forwarded-Proto"))
		body, _ := io.ReadAll(r.Body) // an HTTP/1 server reads before it answers
		_, _ = w.Write(body)
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = up.Serve(ln) }()
	t.Cleanup(func() { _ = up.Close() })
	ports := [2]int{}
	for i := range ports {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ports[i] = free.Addr().(*net.TCPAddr).Port
		require.NoError(t, free.Close())
	}
	file := filepath.Join(t.TempDir(), "edge.toml")
	writeConfig(t, file, fmt.Sprintf(secureConfig, ports[0], f.Cert, f.Key, more, ports[1], ports[0], ln.Addr()))
	p = start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
	secure, plain = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	require.True(t, strings.HasPrefix(p.line(), "serving https://"+secure+"/, http://"+plain+"/, admin http://127.0.0.1:"))
	return p, secure, plain
}

func secureClient(config *tls.Config) *http.Client {
	if config == nil {
		config = &tls.Config{}
	}
	config.InsecureSkipVerify = true
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, secure, plain := secureEdge(t, certstest.Write(t, dir, "a", later, "localhost", "127.0.0.1"), "")
	client := secureClient(nil)
	defer client.CloseIdleConnections()
	for range 3 {
		resp, err := client.Get("https://" + secure + "/hello")
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, "hello", string(body))
	}

	// 20 MB up and down, through TLS and an upstream.
	out := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	resp, err := client.Post("https://"+secure+"/up/x", "application/octet-stream", bytes.NewReader(out))
	require.NoError(t, err)
	in, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, sha256.Sum256(out), sha256.Sum256(in))
	require.Equal(t, "https", resp.Header.Get("X-Proto"))

	for _, c := range []struct {
		host   string
		status int
		to     string
	}{
		{"localhost", 308, "https://localhost:" + strings.Split(secure, ":")[1] + "/a%20b?c=d"},
		{"LOCALHOST:80", 308, "https://LOCALHOST:" + strings.Split(secure, ":")[1] + "/a%20b?c=d"},
		{"evil.example", 421, ""},
	} {
		req, err := http.NewRequest("GET", "http://"+plain+"/a%20b?c=d", nil)
		require.NoError(t, err)
		req.Host = c.host
		resp, err := client.Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, c.status, resp.StatusCode, c.host)
		require.Equal(t, c.to, resp.Header.Get("Location"), c.host)
	}

	resp, err = client.Get("http://" + secure + "/hello")
	require.NoError(t, err)
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, string(body), "speaks HTTPS")
}

// OpenSSL's client and curl, with both versions.
func TestHTTPSForOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "localhost")
	_, secure, _ := secureEdge(t, f, "")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		path := testrig.Program(t, "openssl")
		session := filepath.Join(dir, "session"+version)
		for _, reuse := range [][]string{{"-sess_out", session}, {"-sess_in", session}} {
			cmd := exec.Command(path, append([]string{"s_client", "-connect", secure, "-servername", "localhost", "-CAfile", f.Cert, "-verify_return_error", "-ign_eof", version}, reuse...)...)
			cmd.Stdin = strings.NewReader("GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "\r\n\r\nhello")
			require.Contains(t, string(out), map[string]string{"-sess_out": "New, TLS", "-sess_in": "Reused, TLS"}[reuse[0]])
		}
	}
	path := testrig.Program(t, "curl")
	port := strings.Split(secure, ":")[1]
	out, err := exec.Command(path, "-sS", "--cacert", f.Cert, "--resolve", "localhost:"+port+":127.0.0.1", "https://localhost:"+port+"/hello", "https://localhost:"+port+"/hello").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "hellohello", string(out))
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	known, stranger := certstest.Write(t, dir, "known", later, "client"), certstest.Write(t, dir, "stranger", later, "client")
	_, secure, _ := secureEdge(t, certstest.Write(t, dir, "a", later, "localhost"), fmt.Sprintf("client_auth = \"require\"\nclient_ca = %q", known.Cert))
	for _, c := range []struct {
		files *certstest.Files
		ok    bool
	}{{&known, true}, {&stranger, false}, {nil, false}} {
		config := &tls.Config{}
		if c.files != nil {
			pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
			require.NoError(t, err)
			config.Certificates = []tls.Certificate{pair}
		}
		client := secureClient(config)
		resp, err := client.Get("https://" + secure + "/hello")
		require.Equal(t, c.ok, err == nil, "%v", err)
		if err == nil {
			_ = resp.Body.Close()
		}
		client.CloseIdleConnections()
	}
}

// Renewed certificates are loaded without a failed request; bad ones are ignored.
func TestRenewalUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "localhost")
	e, secure, _ := secureEdge(t, f, "")
	var wg sync.WaitGroup
	var asked atomic.Int64
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				client := secureClient(nil)
				resp, err := client.Get("https://" + secure + "/hello")
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				client.CloseIdleConnections()
				asked.Add(1)
			}
		})
	}
	serial := func() string {
		c, err := tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	old := serial()
	certstest.Write(t, dir, "a", later.Add(time.Hour), "localhost")
	require.NoError(t, e.cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { return serial() != old }, 20*time.Second, 5*time.Millisecond)
	renewed := serial()
	require.NoError(t, os.WriteFile(f.Cert, []byte("rubbish"), 0o600))
	require.NoError(t, e.cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Contains(e.stderr.String(), "certificate not renewed") }, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, renewed, serial())
	close(stop)
	wg.Wait()
	require.Positive(t, asked.Load())
}
