package proxy

// HTTP/2 in front of and behind the proxy.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"tafe/app"
	"tafe/app/client"
	"tafe/httpparse"
	"tafe/loop/testrig"
)

// http2Backend starts a server of net/http that speaks one protocol, and returns options for it.
func http2Backend(t testing.TB, p client.Protocol, h http.HandlerFunc) GroupOptions {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(p == client.HTTP1)
	s.Config.Protocols.SetUnencryptedHTTP2(p == client.H2C)
	s.Config.Protocols.SetHTTP2(p == client.HTTP2)
	o := GroupOptions{Protocol: p}
	if p == client.HTTP2 {
		s.EnableHTTP2 = true
		s.StartTLS()
		o.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		o.TLS.RootCAs.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	o.Servers = to(s.Listener.Addr().String())
	return o
}

// serveHTTP2 is serve with a listener that takes HTTP/2 without TLS, too.
func serveHTTP2(t testing.TB, g GroupOptions) *front {
	t.Helper()
	g.Log = quiet
	group, err := NewGroup(g)
	require.NoError(t, err)
	h, err := New(group, Options{})
	require.NoError(t, err)
	a := app.New(app.Options{Log: quiet, Limits: httpparse.Limits{BodyBytesMax: 1 << 30}})
	a.Handle("", "/{path...}", h.Serve)
	s, err := app.Listen(a, app.ServerConfig{Loops: 2, Listeners: []app.Listener{{Addr: "127.0.0.1:0", H2C: true}}})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
		_ = group.Close()
	})
	return &front{s, group, "http://" + s.Addr().String()}
}

// httpClient returns a client of net/http that speaks one protocol.
func httpClient(t testing.TB, p client.Protocol) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetHTTP1(p == client.HTTP1)
	transport.Protocols.SetUnencryptedHTTP2(p == client.H2C)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

var allProtocols = []client.Protocol{client.HTTP1, client.H2C, client.HTTP2}

// A request and its response are the same on all ways, trailers included.
func TestHTTP2Ways(t *testing.T) {
	for _, behind := range allProtocols {
		g := http2Backend(t, behind, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("X-Seen", fmt.Sprint(r.Proto, " ", r.Host, " ", r.Method, " ", r.RequestURI, " ", r.Header.Get("Te"), " ", r.Trailer.Get("X-Client")))
			w.Header().Set("X-Via", r.Header.Get("Via"))
			w.Header().Add("X-Many", "a")
			w.Header().Add("X-Many", "b")
			_, _ = w.Write(body)
			w.Header().Set("X-Sum", fmt.Sprint(len(body)))
		})
		f := serveHTTP2(t, g)
		for _, front := range []client.Protocol{client.HTTP1, client.H2C} {
			c := httpClient(t, front)
			for _, size := range []int{0, 5, 1 << 20} {
				t.Run(fmt.Sprintf("%s to %s, %d bytes", front, behind, size), func(t *testing.T) {
					body := bytes.Repeat([]byte("x"), size)
					req, err := http.NewRequestWithContext(t.Context(), "POST", f.url+"/a?b", struct{ io.Reader }{bytes.NewReader(body)})
					require.NoError(t, err)
					req.Host = "site.test"
					req.Header.Set("Te", "trailers")
					req.Trailer = http.Header{"X-Client": {"it"}}
					resp, err := c.Do(req)
					require.NoError(t, err)
					got, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
					require.Equal(t, 200, resp.StatusCode)
					require.True(t, bytes.Equal(body, got), "%d bytes", len(got))
					require.Equal(t, []string{"a", "b"}, resp.Header.Values("X-Many"))
					require.Equal(t, fmt.Sprint(size), resp.Trailer.Get("X-Sum"))
					proto := map[client.Protocol]string{client.HTTP1: "HTTP/1.1", client.H2C: "HTTP/2.0", client.HTTP2: "HTTP/2.0"}
					require.Equal(t, proto[behind]+" site.test POST /a?b trailers it", resp.Header.Get("X-Seen"))
					require.Equal(t, strings.TrimPrefix(proto[front], "HTTP/")+" tafe", resp.Header.Get("X-Via"))
					require.Equal(t, strings.TrimPrefix(proto[behind], "HTTP/")+" tafe", resp.Header.Get("Via"))
				})
			}
		}
	}
}

// rawHTTP2 is a client that sends frames.
type rawHTTP2 struct {
	*http2.Framer
	conn net.Conn
	out  bytes.Buffer
	enc  *hpack.Encoder
}

func dialHTTP2(t testing.TB, addr string) *rawHTTP2 {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	c := &rawHTTP2{Framer: http2.NewFramer(conn, bufio.NewReader(conn)), conn: conn}
	c.enc = hpack.NewEncoder(&c.out)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, c.WriteSettings())
	return c
}

func (c *rawHTTP2) section(t testing.TB, id uint32, end bool, fields ...string) {
	c.out.Reset()
	for i := 0; i < len(fields); i += 2 {
		require.NoError(t, c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.out.Bytes(), EndStream: end, EndHeaders: true}))
}

// next returns the next HEADERS, DATA or RST_STREAM frame.
func (c *rawHTTP2) next(t testing.TB) http2.Frame {
	for {
		f, err := c.ReadFrame()
		require.NoError(t, err)
		switch f.(type) {
		case *http2.MetaHeadersFrame, *http2.DataFrame, *http2.RSTStreamFrame:
			return f
		}
	}
}

// Trailers of a request arrive without those that must not be trailers.
func TestHTTP2RequestTrailers(t *testing.T) {
	upstream := recordAll(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	f := serveHTTP2(t, GroupOptions{Servers: to(upstream.addr)})
	c := dialHTTP2(t, f.Addr().String())
	c.section(t, 1, false, ":method", "POST", ":scheme", "http", ":authority", "site.test", ":path", "/", "te", "trailers")
	require.NoError(t, c.WriteData(1, false, []byte("hello")))
	c.section(t, 1, true, "x-client", "it", "content-length", "7")
	require.Equal(t, "200", c.next(t).(*http2.MetaHeadersFrame).PseudoValue("status"))
	require.Contains(t, upstream.String(), "5\r\nhello\r\n0\r\nx-client: it\r\n\r\n")
	require.Contains(t, upstream.String(), "Connection: TE\r\nTE: trailers\r\n")

	seen := make(chan string, 1)
	g := http2Backend(t, client.H2C, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		seen <- fmt.Sprint(r.Trailer)
	})
	f = serveHTTP2(t, g)
	conn, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Client\r\n\r\n5\r\nhello\r\n0\r\nX-Client: it\r\n\r\n")
	require.NoError(t, err)
	require.Equal(t, "map[X-Client:[it]]", <-seen)
}

// A WebSocket of HTTP/2 (RFC 8441) reaches an upstream of HTTP/1.
func TestHTTP2WebSocket(t *testing.T) {
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-Websocket-Key") == "" || r.Method != "GET" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
		_, _ = io.Copy(conn, rw)
	})
	f := serveHTTP2(t, GroupOptions{Servers: to(upstream)})
	c := dialHTTP2(t, f.Addr().String())
	c.section(t, 1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "site.test", ":path", "/chat",
		"sec-websocket-version", "13", "sec-websocket-protocol", "chat")
	head := c.next(t).(*http2.MetaHeadersFrame)
	require.Equal(t, "200", head.PseudoValue("status"), "%v", head.Fields)
	require.False(t, head.StreamEnded())
	for _, message := range []string{"hello", "world"} {
		require.NoError(t, c.WriteData(1, false, []byte(message)))
		var got []byte
		for len(got) < len(message) {
			got = append(got, c.next(t).(*http2.DataFrame).Data()...)
		}
		require.Equal(t, message, string(got))
	}
	require.NoError(t, c.WriteData(1, true, nil))
	require.True(t, c.next(t).(*http2.DataFrame).StreamEnded())
}

// A client that resets its stream cancels the request to the server, and the connection to the server stays.
func TestHTTP2ClientResets(t *testing.T) {
	began, ended := make(chan bool), make(chan bool)
	g := http2Backend(t, client.H2C, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/wait" {
			return
		}
		began <- true
		<-r.Context().Done()
		ended <- true
	})
	f := serveHTTP2(t, g)
	c := dialHTTP2(t, f.Addr().String())
	for i := range 3 {
		id := uint32(2*i + 1)
		c.section(t, id, true, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/wait")
		<-began
		require.NoError(t, c.WriteRSTStream(id, http2.ErrCodeCancel))
		<-ended
	}
	c.section(t, 7, true, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
	require.Equal(t, "200", c.next(t).(*http2.MetaHeadersFrame).PseudoValue("status"))
	require.EqualValues(t, 1, f.group.Stats().Client.Dials)
}

// A request that a server refuses goes to another one, also if its method is not idempotent.
func TestHTTP2Refused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone := make(chan bool)
	go func() { // refuses every stream
		defer close(gone)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		in := bufio.NewReader(conn)
		_, _ = in.Discard(len(http2.ClientPreface))
		fr := http2.NewFramer(conn, in)
		_ = fr.WriteSettings()
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			if f.Header().Type == http2.FrameHeaders {
				_ = fr.WriteRSTStream(f.Header().StreamID, http2.ErrCodeRefusedStream)
			}
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-gone })
	g := http2Backend(t, client.H2C, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	g.Servers = append(to(ln.Addr().String()), g.Servers...)
	g.FailuresMax, g.RetryBurst = -1, 100
	f := serveHTTP2(t, g)
	for range 4 {
		resp, err := http.Post(f.url, "text/plain", strings.NewReader("hello"))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, "200 hello", fmt.Sprint(resp.StatusCode, " ", string(body)))
	}
	http.DefaultClient.CloseIdleConnections()
	require.NotZero(t, f.group.Stats().Retries)
}

// nginx as an upstream that speaks HTTP/2 without TLS.
func TestHTTP2Nginx(t *testing.T) {
	path := testrig.Program(t, "nginx")
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large"), large, 0o644))
	addr := "127.0.0.1:" + testrig.Port(t)
	conf := fmt.Sprintf(`daemon off; user root; worker_processes 1; pid %[1]s/pid; error_log /dev/null;
events {}
http {
  access_log off; client_max_body_size 10m; http2_max_concurrent_streams 8; keepalive_requests 50;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s http2; root %[1]s; location = /proto { return 200 $server_protocol; } }
}`, dir, addr)
	file := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o644))
	cmd := exec.Command(path, "-p", dir, "-c", file, "-e", "/dev/null")
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, patience, 5*time.Millisecond)
	f := serveHTTP2(t, GroupOptions{Servers: to(addr), Protocol: client.H2C})
	// More at once than nginx allows on a connection, and more on a connection than it takes before GOAWAY.
	results := make(chan error, 400)
	for _, p := range []client.Protocol{client.HTTP1, client.H2C} {
		c := httpClient(t, p)
		for i := range 200 {
			go func() {
				path, want := "/proto", []byte("HTTP/2.0")
				if i%10 == 0 {
					path, want = "/large", large
				}
				resp, err := c.Get(f.url + path)
				if err == nil {
					var body []byte
					body, err = io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err == nil && (resp.StatusCode != 200 || !bytes.Equal(body, want)) {
						err = fmt.Errorf("%d, %d bytes", resp.StatusCode, len(body))
					}
				}
				results <- err
			}()
		}
	}
	for range 400 {
		require.NoError(t, <-results)
	}
}
