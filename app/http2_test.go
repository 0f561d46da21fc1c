package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

// serveH2C serves a by prior knowledge, with a client of net/http.
func serveH2C(t *testing.T, a *App) (*Server, *http.Client) {
	t.Helper()
	s := serveWith(t, a, ServerConfig{Loops: 1, Listeners: []Listener{{Addr: "127.0.0.1:0", H2C: true}}})
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &p}
	t.Cleanup(transport.CloseIdleConnections)
	return s, &http.Client{Transport: transport}
}

func TestHTTP2(t *testing.T) {
	a := demo(Options{RequestIDHeader: "X-Request-ID", ServerTiming: true})
	a.Post("/read", func(c *Context) error {
		body, err := c.Body()
		if err != nil {
			return err
		}
		var trailers []string
		for _, f := range c.Trailers() {
			trailers = append(trailers, string(f.Name)+"="+string(f.Value))
		}
		return c.String(200, fmt.Sprintf("%s %s %d %s %v", c.Proto(), c.Method(), c.ContentLength(), body, trailers))
	})
	a.Get("/cookie", func(c *Context) error { return c.String(200, c.Header("Cookie")+" "+c.Header("Host")) })
	a.Get("/trailers", func(c *Context) error {
		s := c.Stream(200, "text/plain")
		_, _ = io.WriteString(s, "body")
		return s.AddTrailer("X-Sum", "4")
	})
	a.Get("/early", func(c *Context) error {
		_ = c.Interim(103, []httpparse.Header{{Name: []byte("Link"), Value: []byte("</a.css>")}})
		c.SetHeader("Connection", "keep-alive")
		c.SetHeader("Keep-Alive", "1")
		c.AddHeader("Set-Cookie", "a=b")
		c.AddHeader("Set-Cookie", "c=d")
		return c.String(200, "late")
	})
	a.Get("/large", func(c *Context) error { return c.Bytes(200, "a/b", bytes.Repeat([]byte("x"), 3<<20)) })
	a.Get("/fail", func(c *Context) error {
		s := c.Stream(200, "text/plain")
		_, _ = io.WriteString(s, "begun")
		_ = s.Flush()
		return io.ErrUnexpectedEOF
	})
	s, client := serveH2C(t, a)
	url := "http://" + s.Addr().String()
	do := func(method, path, body string, change func(r *http.Request)) (*http.Response, string, error) {
		t.Helper()
		r, err := http.NewRequest(method, url+path, strings.NewReader(body))
		require.NoError(t, err)
		if change != nil {
			change(r)
		}
		resp, err := client.Do(r)
		require.NoError(t, err, path)
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		require.Equal(t, 2, resp.ProtoMajor)
		return resp, string(got), err
	}

	resp, got, err := do("GET", "/plaintext", "", nil)
	require.NoError(t, err)
	require.Equal(t, "Hello, World!", got)
	require.Equal(t, int64(13), resp.ContentLength)
	require.Equal(t, "tafe", resp.Header.Get("Server"))
	require.NotEmpty(t, resp.Header.Get("Date"))
	require.NotEmpty(t, resp.Header.Get("X-Request-Id"))
	require.Contains(t, resp.Header.Get("Server-Timing"), "queue;dur=")

	_, got, err = do("POST", "/read", "abc", nil)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0 POST 3 abc []", got)
	_, got, err = do("POST", "/read", "", func(r *http.Request) {
		r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader("unknown"))
		r.Trailer = http.Header{"X-Sum": {"7"}, "Content-Type": {"a/b"}}
	})
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0 POST -1 unknown [x-sum=7]", got)
	big := strings.Repeat("y", 2<<20)
	_, got, err = do("POST", "/read", big, nil)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0 POST 2097152 "+big+" []", got)

	_, got, err = do("GET", "/cookie", "", func(r *http.Request) { r.Header.Set("Cookie", "a=b; c=d") })
	require.NoError(t, err)
	require.Equal(t, "a=b; c=d "+s.Addr().String(), got)

	resp, got, err = do("GET", "/trailers", "", nil)
	require.NoError(t, err)
	require.Equal(t, "body", got)
	require.Equal(t, http.Header{"X-Sum": {"4"}}, resp.Trailer)

	var hints []string
	resp, got, err = do("GET", "/early", "", func(r *http.Request) {
		*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, header.Get("Link")))
				return nil
			},
		}))
	})
	require.NoError(t, err)
	require.Equal(t, "late", got)
	require.Equal(t, []string{"103</a.css>"}, hints)
	require.Empty(t, resp.Header.Get("Keep-Alive"))
	require.Equal(t, []string{"a=b", "c=d"}, resp.Header["Set-Cookie"])

	resp, got, err = do("HEAD", "/plaintext", "", nil)
	require.NoError(t, err)
	require.Empty(t, got)
	require.Equal(t, "13", resp.Header.Get("Content-Length"))

	_, got, err = do("GET", "/large", "", nil)
	require.NoError(t, err)
	require.Len(t, got, 3<<20)

	_, _, err = do("GET", "/fail", "", nil)
	var reset xhttp2.StreamError
	require.ErrorContains(t, err, "INTERNAL_ERROR", "%T", reset)

	resp, _, err = do("GET", "/missing", "", nil)
	require.NoError(t, err)
	require.Equal(t, 404, resp.StatusCode)
	require.Equal(t, uint64(11), s.Stats().Protos[2])
	require.Equal(t, 1, s.Stats().ConnsHTTP2)
}

// Requests run together, in any order of their ends, and a cancelled one ends the wait of its handler.
func TestHTTP2Concurrency(t *testing.T) {
	ended := make(chan error, 1)
	a := New(Options{Log: quiet})
	release := make(chan struct{})
	a.Get("/slow", func(c *Context) error {
		_, err := Offload(c, func() (int, error) { <-release; return 0, nil })
		if err != nil {
			return err
		}
		return c.String(200, "slow")
	})
	a.Get("/fast", func(c *Context) error { return c.String(200, "fast") })
	a.Get("/cancelled", func(c *Context) error {
		err := c.Sleep(time.Hour)
		ended <- err
		return err
	})
	s, client := serveH2C(t, a)
	url := "http://" + s.Addr().String()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			resp, err := client.Get(url + "/slow")
			if err == nil {
				_ = resp.Body.Close()
			}
			if err != nil || resp.StatusCode != 200 {
				t.Error(err)
			}
		})
	}
	counted(t, s, func(s Stats) bool { return s.Active == 50 })
	resp, err := client.Get(url + "/fast")
	require.NoError(t, err)
	_ = resp.Body.Close()
	close(release)
	wg.Wait()

	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", url+"/cancelled", nil)
	go func() {
		counted(t, s, func(s Stats) bool { return s.Active == 1 })
		cancel()
	}()
	_, err = client.Do(r)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, <-ended, ErrClientGone)
	require.Equal(t, 1, s.Stats().ConnsHTTP2)
}

// A drain answers what is in progress, tells the client to go, and ends.
func TestHTTP2Drain(t *testing.T) {
	a := New(Options{Log: quiet})
	began := make(chan struct{})
	a.Get("/", func(c *Context) error {
		close(began)
		if err := c.Sleep(50 * time.Millisecond); err != nil {
			return err
		}
		return c.String(200, "whole")
	})
	s, client := serveH2C(t, a)
	got := make(chan string, 1)
	go func() {
		resp, err := client.Get("http://" + s.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		got <- string(b)
	}()
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Drain(ctx))
	require.Equal(t, "whole", <-got)
}

// A WebSocket over HTTP/2 reaches the handler as the upgrade of HTTP/1 that it stands for.
func TestHTTP2ExtendedConnect(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/ws", func(c *Context) error {
		require.Equal(t, "websocket", c.Upgrade())
		require.NotEmpty(t, c.Header("Sec-WebSocket-Key"))
		conn, err := c.Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello ")
		_, err = io.Copy(conn, conn)
		return err
	})
	a.Get("/other", func(c *Context) error {
		_, err := c.Hijack()
		return c.String(200, fmt.Sprint(err))
	})
	s, client := serveH2C(t, a)
	w := rawHTTP2(t, s)
	w.headers(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/ws", ":authority", "h", "sec-websocket-version", "13")
	require.Equal(t, map[string]string{":status": "200", "sec-websocket-protocol": "chat"}, w.head(1))
	require.NoError(t, w.framer.WriteData(1, false, []byte("world")))
	require.Equal(t, "hello world", w.data(1, len("hello world")))
	require.NoError(t, w.framer.WriteData(1, true, []byte("!")))
	require.Equal(t, "!", w.data(1, 1))
	require.Empty(t, w.data(1, -1), "the end follows")

	resp, err := client.Get("http://" + s.Addr().String() + "/other")
	require.NoError(t, err)
	defer resp.Body.Close()
	got, _ := io.ReadAll(resp.Body)
	require.Equal(t, "unsupported operation", string(got))
	counted(t, s, func(s Stats) bool { return s.Active == 0 })
}

func TestHTTP2OverTLS(t *testing.T) {
	cert, pool := selfSigned(t, "a.test")
	a := demo(Options{})
	s := serveWith(t, a, ServerConfig{Loops: 1, Listeners: []Listener{{
		Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{cert}}},
		Covers: func(_, host string) bool { return host == "a.test" },
	}, {
		Addr: "127.0.0.1:0", NoHTTP2: true, TLS: &reactor.TLS{Config: &tls.Config{Certificates: []tls.Certificate{cert}}},
	}}})
	for _, c := range []struct {
		listener int
		host     string
		major    int
		status   int
		why      string
	}{
		{listener: 0, host: "a.test", major: 2, status: 200, why: "ALPN"},
		{listener: 0, host: "b.test", major: 2, status: 421, why: "the certificate is not for that host"},
		{listener: 1, host: "a.test", major: 1, status: 200, why: "HTTP/2 is off"},
	} {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "a.test"}, ForceAttemptHTTP2: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, s.Addrs()[c.listener].String())
			},
		}
		resp, err := (&http.Client{Transport: transport}).Get("https://" + c.host + "/plaintext")
		require.NoError(t, err, c.why)
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		require.Equal(t, c.major, resp.ProtoMajor, c.why)
		require.Equal(t, c.status, resp.StatusCode, c.why)
	}
	// TLS 1.2 with a cipher suite that HTTP/2 does not allow.
	conn, err := tls.Dial("tcp", s.Addrs()[0].String(), &tls.Config{
		RootCAs: pool, ServerName: "a.test", NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
	})
	require.NoError(t, err)
	defer conn.Close()
	all, _ := io.ReadAll(conn)
	require.Contains(t, string(all), "h2-inadequate-security")
}

func TestHTTP2Malformed(t *testing.T) {
	a := demo(Options{})
	s, _ := serveH2C(t, a)
	for _, c := range []struct {
		fields []string
		reason string
		why    string
	}{
		{[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h", "X", "y"}, "bad-header-name", "names are in lower case"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h", "connection", "close"}, "connection-field", "HTTP/1 only"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h", "te", "gzip"}, "connection-field", "TE is trailers"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h", "x", " y"}, "control-byte", "no space around values"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h", "x", "a\r\nb"}, "control-byte", "no CR and LF"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/"}, "missing-host", "an authority"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h", "host", "i"}, "bad-host", "and one only"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "x", ":authority", "h"}, "target-form", "a path begins with a slash"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/ x", ":authority", "h"}, "bad-target", "and has no spaces"},
		{[]string{":method", "GET", ":path", "/", ":authority", "h"}, "bad-pseudo-field", "a scheme"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h", "content-length", "3"}, "content-length-mismatch", "a body that is not there"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h", ":path", "/"}, "bad-pseudo-field", "once"},
		{[]string{":method", "GET", ":scheme", "http", "x", "y", ":path", "/", ":authority", "h"}, "bad-pseudo-field", "first"},
	} {
		w := rawHTTP2(t, s)
		w.headers(1, true, c.fields...)
		require.Equal(t, "1 RST_STREAM PROTOCOL_ERROR", w.next(xhttp2.FrameRSTStream), c.why)
		requireReason(t, s, c.reason, int(reasonsOf(t, s)[c.reason]), c.why)
		require.NotZero(t, reasonsOf(t, s)[c.reason], c.why)
	}
	for _, c := range []struct {
		fields []string
		status string
		why    string
	}{
		{[]string{":method", "GET", ":scheme", "http", ":path", "/plaintext", ":authority", "h", "x", strings.Repeat("y", 40<<10)}, "431", "too many bytes"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/" + strings.Repeat("y", 9<<10), ":authority", "h"}, "414", "a long target"},
		{[]string{":method", "CONNECT", ":authority", "h:1"}, "501", "no tunnels"},
		{[]string{":method", "CONNECT", ":protocol", "other", ":scheme", "http", ":path", "/", ":authority", "h"}, "501", "WebSocket only"},
		{[]string{":method", "GET", ":scheme", "http", ":path", "/plaintext", ":authority", "h"}, "200", "after all of that"},
	} {
		w := rawHTTP2(t, s)
		w.headers(1, true, c.fields...)
		require.Equal(t, c.status, w.head(1)[":status"], c.why)
	}
}

// A client has been told how many requests it may have open. A Swap to a lower bound refuses or delays none of them.
func TestHTTP2SwapKeepsStreams(t *testing.T) {
	const streams = 8
	arrived, leave := make(chan struct{}, streams), make(chan struct{})
	version := func(streamsMax int) *App {
		a := New(Options{Log: quiet, HTTP2: HTTP2{StreamsMax: streamsMax}})
		a.Get("/wait", func(c *Context) error {
			arrived <- struct{}{}
			select {
			case <-leave:
			case <-c.Done():
			}
			return c.NoContent(204)
		})
		return a
	}
	s := serveWith(t, version(streams), ServerConfig{Loops: 1, Listeners: []Listener{{Addr: "127.0.0.1:0", H2C: true}}})
	w := rawHTTP2(t, s)
	w.get(1, "/wait")
	<-arrived
	require.NoError(t, s.Swap(t.Context(), version(2)))
	for id := uint32(3); id < 2*streams; id += 2 {
		w.get(id, "/wait")
		<-arrived
	}
	close(leave)
	for id := uint32(1); id < 2*streams; id += 2 {
		require.Equal(t, "204", w.head(id)[":status"], "stream %d", id)
	}
	require.Zero(t, s.Stats().Reasons["h2-streams-max"])
}
