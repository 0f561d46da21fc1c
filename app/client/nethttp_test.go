package client

// Real servers as peers: net/http with and without TLS, and nginx. The responses must equal those of net/http's
// client.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/testrig"
)

// handler responds with the status, size and framing in the query.
func handler(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, _ := strconv.Atoi(q.Get("size"))
	status, _ := strconv.Atoi(q.Get("status"))
	sum := sha256.New()
	sent, _ := io.Copy(sum, r.Body)
	w.Header().Set("Echo", fmt.Sprintf("%s %s %d %x", r.Method, r.Host, sent, sum.Sum(nil)[:4]))
	w.Header()["Date"] = nil
	if q.Has("length") {
		w.Header().Set("Content-Length", q.Get("size"))
	}
	if q.Has("close") {
		w.Header().Set("Connection", "close")
	}
	w.WriteHeader(max(status, 200))
	body := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	for len(body) > 0 && r.Method != "HEAD" {
		k := min(len(body), 10000)
		if _, err := w.Write(body[:k]); err != nil {
			return
		}
		body = body[k:]
		if q.Has("flush") {
			w.(http.Flusher).Flush()
		}
	}
}

type answerOf struct {
	status int
	length int64
	fields map[string][]string
	body   [32]byte
	size   int
}

func askNetHTTP(t *testing.T, c *http.Client, method, url string, body io.Reader) answerOf {
	req, err := http.NewRequest(method, url, body)
	require.NoError(t, err)
	req.Header["User-Agent"] = nil
	resp, err := c.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	fields := map[string][]string{}
	maps.Copy(fields, resp.Header)
	delete(fields, "Content-Length")
	if resp.StatusCode == 204 || resp.StatusCode == 304 {
		resp.ContentLength = -1 // net/http says 0; nothing was declared
	}
	return answerOf{resp.StatusCode, resp.ContentLength, fields, sha256.Sum256(b), len(b)}
}

func askClient(t *testing.T, c *Client, method, url string, stream io.Reader, length int64) answerOf {
	var resp Response
	req := Request{Method: method, URL: url, Stream: stream, StreamLength: length}
	req.AddHeader("Accept-Encoding", "identity")
	require.NoError(t, c.Do(nil, nil, &req, &resp))
	defer resp.Close()
	b, err := resp.ReadAll(1 << 26)
	require.NoError(t, err)
	fields := map[string][]string{}
	for _, h := range resp.Headers {
		name := http.CanonicalHeaderKey(string(h.Name))
		if name != "Content-Length" && name != "Transfer-Encoding" && name != "Connection" {
			fields[name] = append(fields[name], string(h.Value))
		}
	}
	return answerOf{resp.Status, resp.ContentLength, fields, sha256.Sum256(b), len(b)}
}

func TestSameAsNetHTTP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			s := httptest.NewUnstartedServer(http.HandlerFunc(handler))
			options := Options{}
			if secure {
				s.StartTLS()
				options.TLS = trust(s)
			} else {
				s.Start()
			}
			defer s.Close()
			c := newClient(t, options)
			theirs := s.Client()
			theirs.Transport.(*http.Transport).DisableCompression = true
			defer theirs.CloseIdleConnections()
			for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"} {
				for _, query := range []string{"", "size=0&length", "size=13", "size=13&length", "size=13&flush", "size=300000&flush", "size=300000&length",
					"status=204", "status=304", "status=404&size=9", "status=500&size=9&close", "size=100000&flush&close"} {
					for _, upload := range []int{0, 5, 200000} {
						if upload > 0 && method != "PUT" && method != "POST" {
							continue
						}
						url := s.URL + "/p?" + query
						why := fmt.Sprintf("%s %s %d", method, query, upload)
						sent := strings.Repeat("u", upload)
						want := askNetHTTP(t, theirs, method, url, strings.NewReader(sent))
						if upload == 0 {
							assert.Equal(t, want, askClient(t, c, method, url, nil, 0), why)
							continue
						}
						assert.Equal(t, want, askClient(t, c, method, url, strings.NewReader(sent), int64(upload)), why)
						assert.Equal(t, want, askClient(t, c, method, url, iotest.HalfReader(strings.NewReader(sent)), -1), why+" chunked")
					}
				}
			}
			assert.Greater(t, c.Stats().Reuses, c.Stats().Requests/2)
		})
	}
}

func trust(s *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(handler))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // failing handshakes are the test
	s.StartTLS()
	defer s.Close()
	t.Run("a certificate that is not trusted", func(t *testing.T) {
		c := newClient(t, Options{})
		_, _, err := fetch(c, s.URL)
		requireKind(t, err, KindDial, StageTLS)
		assert.Zero(t, c.Stats().Open)
	})
	t.Run("a certificate of another name", func(t *testing.T) {
		config := trust(s)
		config.ServerName = ""
		_, _, err := fetch(newClient(t, Options{TLS: config}), strings.Replace(s.URL, "127.0.0.1", "localhost", 1))
		requireKind(t, err, KindDial, StageTLS)
	})
	t.Run("the same connection again", func(t *testing.T) {
		c := newClient(t, Options{TLS: trust(s)})
		for range 5 {
			_, _, err := fetch(c, s.URL+"/?size=10")
			require.NoError(t, err)
		}
		assert.EqualValues(t, 1, c.Stats().Dials)
	})
	t.Run("a peer that says nothing", func(t *testing.T) {
		p := serve(t, func(w *wire) { w.drain() })
		_, _, err := fetch(newClient(t, Options{DialTimeout: 20 * time.Millisecond}), "https://"+p.addr)
		requireTimeout(t, err, StageTLS)
	})
	t.Run("a peer without TLS", func(t *testing.T) {
		p := serve(t, func(w *wire) { w.send(hello) })
		_, _, err := fetch(newClient(t, Options{}), "https://"+p.addr)
		requireKind(t, err, KindDial, StageTLS)
	})
	t.Run("cancelled in the handshake", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		p := serve(t, func(w *wire) { _, _ = w.r.ReadByte(); cancel(); w.drain() })
		var resp Response
		requireKind(t, newClient(t, Options{}).Do(nil, ctx, &Request{URL: "https://" + p.addr}, &resp), KindCancelled, StageTLS)
	})
}

// Through TLS, a body that ends with its connection is complete only after close_notify.
func TestTLSTruncation(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	p := serveOn(t, ln, func(w *wire) {
		req, _ := w.request()
		if req == nil {
			return
		}
		w.send("HTTP/1.1 200 OK\r\n\r\nhello")
		if req.URL.Path == "/cut" {
			_ = w.Conn.(*tls.Conn).NetConn().Close()
		}
	})
	c := newClient(t, Options{TLS: trust(s)})
	_, body, err := fetch(c, "https://"+p.addr+"/")
	require.NoError(t, err)
	assert.Equal(t, "hello", body)
	_, _, err = fetch(c, "https://"+p.addr+"/cut")
	requireKind(t, err, KindLost, StageBody)
}

// corked buffers writes, so that several records are sent together.
type corked struct {
	net.Conn
	held *[]byte
}

func (c corked) Write(p []byte) (int, error) {
	if *c.held == nil {
		return c.Conn.Write(p)
	}
	*c.held = append(*c.held, p...)
	return len(p), nil
}

// Extra data through TLS is detected in the same record, in the next one and beyond the bytes requested.
func TestPoisonInTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	long := strings.Repeat("b", 3000)
	evil := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	tests := []struct {
		why     string
		records []string
	}{
		{"in the record of the head", []string{hello + evil}},
		{"in a record of its own", []string{hello, evil}},
		{"after a chunked body", []string{chunkedOf("5\r\nhello\r\n0\r\n\r\n"), evil}},
		{"beyond the buffer for the head", []string{"HTTP/1.1 200 OK\r\nContent-Length: 4040\r\nFill: x\r\n\r\n" + strings.Repeat("b", 4040) + evil}},
		{"in the record that ends the body", []string{"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", long, long, long + evil}},
		{"after the record that ends the body", []string{"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", long, long, long, evil}},
		{"a farewell", []string{hello, "\x00"}},
	}
	e := loops(t, 1)
	for _, tt := range tests {
		for _, way := range ways {
			everywhere(t, e, tt.why+"/"+way.name, Options{TLS: trust(s)}, func(t *testing.T, c *Client, task *loop.Task) {
				p := serve(t, func(w *wire) {
					var held []byte
					server := tls.Server(corked{w.Conn, &held}, &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS13})
					r := bufio.NewReader(server)
					for {
						req, err := http.ReadRequest(r)
						if err != nil {
							return
						}
						if req.URL.Path == "/good" {
							_, _ = io.WriteString(server, hello)
							continue
						}
						held = make([]byte, 0, 1)
						for _, record := range tt.records {
							if record == "\x00" {
								_ = server.CloseWrite()
								continue
							}
							_, _ = io.WriteString(server, record)
						}
						_ = w.Conn.SetWriteDeadline(time.Time{}) // CloseWrite has set one
						_, _ = w.Conn.Write(held)
						held = nil
					}
				})
				url := "https://" + p.addr
				for _, path := range []string{"/bad", "/good", "/good"} {
					var resp Response
					require.NoError(t, c.Do(task, nil, &Request{URL: url + path}, &resp))
					body, err := way.read(&resp)
					require.NoError(t, err)
					assert.NotContains(t, body, "evil")
					if path == "/good" {
						assert.Equal(t, "hello", body)
					}
					resp.Close()
				}
				assert.EqualValues(t, 2, c.Stats().Dials, "the first connection is not used again, the second is")
			})
		}
	}
}

const nginxConfig = `
daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http {
  access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f;
  uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  keepalive_requests 7;
  server {
    listen 127.0.0.1:%[2]s;
    client_max_body_size 1k;
    location / { root %[1]s/files; }
    location /empty { return 204; }
    location /moved { return 302 /; }
  }
}`

// nginx closes a connection after seven requests and rejects large uploads early.
func TestNginx(t *testing.T) {
	path := testrig.Program(t, "nginx")
	addr := startNginx(t, path)
	c := newClient(t, Options{ConnsPerHostMax: 8})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 30 {
				status, body, err := fetch(c, "http://"+addr+"/large")
				if !assert.NoError(t, err) || !assert.Equal(t, 200, status) || !assert.Len(t, body, 300000) {
					return
				}
				status, _, err = fetch(c, "http://"+addr+"/empty")
				assert.NoError(t, err)
				assert.Equal(t, 204, status)
			}
		})
	}
	wg.Wait()
	assert.GreaterOrEqual(t, c.Stats().Dials, uint64(8*60/7))
	var resp Response
	require.NoError(t, c.Do(nil, nil, &Request{Method: "PUT", URL: "http://" + addr + "/large", Body: make([]byte, 8<<20)}, &resp))
	assert.Equal(t, 413, resp.Status)
	resp.Close()
}

func startNginx(t *testing.T, path string) (addr string) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Mkdir(dir+"/files", 0o755))
	require.NoError(t, os.WriteFile(dir+"/files/large", bytes.Repeat([]byte("x"), 300000), 0o644))
	port := testrig.Port(t)
	require.NoError(t, os.WriteFile(dir+"/conf", fmt.Appendf(nil, nginxConfig, dir, port), 0o644))
	cmd := exec.Command(path, "-e", dir+"/error.log", "-p", dir, "-c", dir+"/conf")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var out bytes.Buffer
	cmd.Stderr = &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	addr = "127.0.0.1:" + port
	eventually(t, "nginx listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return addr
}
