package app

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"tafe/httpparse"
)

// standard is an http.Handler that does everything a plain one may.
func standard() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // else net/http drops what is unread when the answer begins
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, hello) })
	mux.HandleFunc("/html", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	mux.HandleFunc("/nothing", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) })
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(204)
		if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrBodyNotAllowed) {
			panic(err)
		}
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 20_000 {
			_, _ = fmt.Fprintf(w, "line %d\n", i)
		}
	})
	mux.HandleFunc("/declared", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, err := io.WriteString(w, "12345")
		if _, more := io.WriteString(w, "6"); err != nil || !errors.Is(more, http.ErrContentLength) {
			panic(more)
		}
	})
	mux.HandleFunc("/late-header", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-A", "1")
		w.WriteHeader(200)
		w.Header().Set("X-A", "2")
	})
	mux.HandleFunc("/request", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, r.Method, r.URL, r.URL.Path, r.Proto, r.Host, r.Header["X-A"], r.Close, r.ContentLength, r.TransferEncoding)
	})
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	mux.HandleFunc("/unread", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "not read") })
	return mux
}

// A handler answers under a route what it answers under net/http.
func TestMountIsNetHTTP(t *testing.T) {
	h := standard()
	a := New(Options{Log: quiet, ServerName: "-"})
	a.Handle("", "/{path...}", Mount(h))
	s := serve(t, a, 2)
	std := httptest.NewServer(h)
	defer std.Close()
	std.Config.ErrorLog = nil
	many := strings.Repeat("0123456789", 20_000)
	for _, c := range []struct {
		why, method, target, body string
		chunked                   bool
	}{
		{why: "plain", method: "GET", target: "/hello"},
		{why: "a guessed type", method: "GET", target: "/html"},
		{why: "HEAD", method: "HEAD", target: "/hello"},
		{why: "nothing written", method: "GET", target: "/nothing"},
		{why: "a status only", method: "GET", target: "/status"},
		{why: "no body allowed", method: "GET", target: "/empty"},
		{why: "more than is gathered", method: "GET", target: "/long"},
		{why: "a declared length", method: "GET", target: "/declared"},
		{why: "a header that comes too late", method: "GET", target: "/late-header"},
		{why: "404 of the inner mux", method: "GET", target: "/nowhere"},
		{why: "the request", method: "GET", target: "/request?a=b%20c"},
		{why: "its body", method: "POST", target: "/echo", body: "abc"},
		{why: "no body", method: "POST", target: "/echo"},
		{why: "a chunked body", method: "POST", target: "/echo", body: "abc", chunked: true},
		{why: "a body that takes many reads", method: "POST", target: "/echo", body: many},
		{why: "many reads of chunks", method: "POST", target: "/echo", body: many, chunked: true},
		{why: "an unread body", method: "POST", target: "/unread", body: many[:20_000]},
	} {
		var got [2]string
		for i, base := range []string{std.URL, "http://" + s.Addr().String()} {
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			if c.chunked {
				body = struct{ io.Reader }{body}
			}
			req, err := http.NewRequest(c.method, base+c.target, body)
			require.NoError(t, err)
			req.Host = "example.com"
			req.Header["X-A"] = []string{"1", "2"}
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err, c.why)
			content, err := io.ReadAll(resp.Body)
			require.NoError(t, err, c.why)
			require.NoError(t, resp.Body.Close())
			resp.Header.Del("Date")
			if len(content) > 2048 { // up to where net/http counts, and others need not
				resp.Header.Del("Content-Length")
			}
			got[i] = fmt.Sprintf("%s %v %.500s %x", resp.Status, resp.Header, content, sha256.Sum256(content))
		}
		require.Equal(t, got[0], got[1], c.why)
	}
	http.DefaultClient.CloseIdleConnections()
}

// The values of the route and of its middlewares reach the handler.
func TestMountKeepsWhatRoutesKnow(t *testing.T) {
	type key struct{}
	a := New(Options{Log: quiet})
	a.Use(func(next Handler) Handler {
		return func(c *Context) error {
			c.Set(key{}, "value")
			c.SetHeader("Vary", "Origin")
			c.SetHeader("X-Gone", "1")
			return next(c)
		}
	})
	a.Get("/files/{name}", Mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		w.Header().Del("X-Gone")
		_, limited := r.Context().Deadline()
		_, _ = fmt.Fprintln(w, r.PathValue("name"), r.URL.Path, r.Context().Value(key{}), limited, r.Pattern)
	})), Timeout(time.Hour))
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/other/../files/a%20b", nil))
	require.Equal(t, "a b /files/a b value true /files/{name}\n", w.Body.String())
	require.Equal(t, []string{"Origin", "Accept"}, w.Header()["Vary"])
	require.NotContains(t, w.Header(), "X-Gone")
}

// A mounted file server cleans its paths by itself: what the router took for one segment must be one there.
func TestMountedFilesAreNotLedAroundTheRouter(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "admin"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "admin", "secret.txt"), []byte("secret"), 0o600))
	a := New(Options{Log: quiet})
	a.Get("/{path...}", Mount(http.FileServer(http.Dir(dir))))
	a.Get("/admin/{path...}", func(*Context) error { return Error(401, "") })
	for target, want := range map[string]int{
		"/admin/secret.txt": 401, "/admin%2Fsecret.txt": 404, "/admin%2fsecret.txt": 404, "/admin%252Fsecret.txt": 404, "/admin%5csecret.txt": 404,
	} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		require.Equal(t, want, w.Code, target)
	}
}

func TestMountServesFiles(t *testing.T) {
	dir := t.TempDir()
	content := newPattern(5 << 20)
	data, err := io.ReadAll(content)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large.bin"), data, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "small.txt"), []byte("small"), 0o600))
	a := New(Options{Log: quiet})
	a.Get("/static/{path...}", Mount(http.StripPrefix("/static", http.FileServer(http.Dir(dir)))))
	s := serve(t, a, 1)
	conn := dial(t, s)
	r := bufio.NewReader(conn)
	for _, c := range []struct {
		why, path, header, want string
		status                  int
	}{
		{"small", "/static/small.txt", "", "small", 200},
		{"large: by the kernel", "/static/large.bin", "", string(data), 200},
		{"a range of it", "/static/large.bin", "Range: bytes=100-3000099\r\n", string(data[100:3000100]), 206},
		{"a small range", "/static/large.bin", "Range: bytes=100-109\r\n", string(data[100:110]), 206},
		{"none", "/static/none", "", "404 page not found\n", 404},
	} {
		_, err := io.WriteString(conn, "GET "+c.path+" HTTP/1.1\r\nHost: a\r\n"+c.header+"\r\n")
		require.NoError(t, err)
		answered(t, r, c.status, func(string) string { return c.want }, c.why)
	}
}

// A proxy reads the body on a goroutine of its own while another answers.
func TestMountProxies(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if r.URL.Path == "/early" { // answered before the body has come
			w.WriteHeader(403)
			return
		}
		if r.URL.Path == "/cut" {
			_, _ = w.Write(make([]byte, 100<<10))
			panic(http.ErrAbortHandler)
		}
		_, _ = io.Copy(w, r.Body)
	}))
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = quietLog
	a := New(Options{Log: quiet, Limits: httpparse.Limits{BodyBytesMax: 1 << 30}})
	a.Handle("", "/{path...}", Mount(proxy))
	s := serve(t, a, 2)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, size := range []int64{10, 500 << 10, 20 << 20} {
		for _, chunked := range []bool{false, true} {
			body := newPattern(size)
			req, err := http.NewRequest("POST", "http://"+s.Addr().String()+"/", body)
			require.NoError(t, err)
			if req.ContentLength = size; chunked {
				req.ContentLength = -1
			}
			resp, err := client.Do(req)
			require.NoError(t, err)
			sum := sha256.New()
			n, err := io.Copy(sum, resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, size, n)
			require.Equal(t, body.digest(), hex.EncodeToString(sum.Sum(nil)))
		}
	}

	conn := dial(t, s)
	_, err = fmt.Fprintf(conn, "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", large, make([]byte, 100))
	require.NoError(t, err)
	answered(t, bufio.NewReader(conn), 403, func(got string) string { return got }, "an early answer")

	resp, err := client.Get("http://" + s.Addr().String() + "/cut")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.Error(t, err, "what the backend broke off must not look complete")
	_ = resp.Body.Close()
	counted(t, s, func(now Stats) bool { return now.Reasons["aborted"] == 1 })
}

func TestMountShowsMetrics(t *testing.T) {
	a := New(Options{Log: quiet})
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "answer", Help: "Of everything."})
	gauge.Set(42)
	registry.MustRegister(gauge)
	a.Get("/metrics", Mount(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	a.Get("/debug/pprof/{name...}", Mount(http.HandlerFunc(pprof.Index)))
	s := serve(t, a, 1)
	conn := dial(t, s)
	r := bufio.NewReader(conn)
	for path, want := range map[string]string{"/metrics": "answer 42", "/debug/pprof/goroutine?debug=1": "goroutine profile"} {
		_, err := io.WriteString(conn, "GET "+path+get)
		require.NoError(t, err)
		answered(t, r, 200, func(got string) string {
			require.Contains(t, got, want)
			return got
		}, path)
	}
}

// Failures of a mounted handler, as the client and the counters see them.
func TestMountFails(t *testing.T) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	a := New(Options{Log: quiet})
	a.Get("/panic", Mount(standard()))
	a.Get("/abort", Mount(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })))
	a.Get("/midway", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 100<<10))
		panic("boom")
	})))
	a.Get("/short", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("five!"))
	})))
	a.Get("/blocks", Mount(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over })), Timeout(50*time.Millisecond))
	inner := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over })
	a.Get("/timeout", Mount(http.TimeoutHandler(inner, time.Millisecond, "too slow")))
	s := serve(t, a, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // on a used connection it would ask again
	for _, c := range []struct {
		why, path, reason string
		status            int // 0: broken off
		cut               bool
	}{
		{"a panic", "/panic", "panic", 500, false},
		{"an abort", "/abort", "aborted", 0, true},
		{"a panic after a part of the answer", "/midway", "panic", 200, true},
		{"less than was declared", "/short", "handler-error", 500, false},
		{"a route's timeout, with a handler that does not care", "/blocks", "handler-timeout", 503, false},
		{"http.TimeoutHandler", "/timeout", "", 503, false},
	} {
		before := reasonsOf(t, s)[c.reason]
		resp, err := client.Get("http://" + s.Addr().String() + c.path)
		if c.status == 0 {
			require.Error(t, err, c.why)
		} else {
			require.NoError(t, err, c.why)
			require.Equal(t, c.status, resp.StatusCode, c.why)
			_, err = io.Copy(io.Discard, resp.Body)
			require.Equal(t, c.cut, err != nil, "%s: %v", c.why, err)
			_ = resp.Body.Close()
		}
		if c.reason != "" {
			counted(t, s, func(now Stats) bool { return now.Reasons[c.reason] == before+1 }) // a reset may be seen before
		}
	}
}

// A client that leaves ends the request's context, and a handler that is behind it gets errors.
func TestMountClientLeaves(t *testing.T) {
	started, wrote := make(chan struct{}, 1), make(chan error, 1)
	a := New(Options{Log: quiet})
	a.Post("/", Mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-r.Context().Done()
		_, err := r.Body.Read(make([]byte, 1))
		wrote <- errors.Join(err, context.Cause(r.Context()), http.NewResponseController(w).Flush())
	})))
	s := serve(t, a, 1)
	conn := dial(t, s)
	_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
	require.NoError(t, err)
	<-started
	reset(t, conn)
	err = <-wrote
	require.ErrorIs(t, err, ErrClientGone)
	require.Equal(t, 3, strings.Count(err.Error(), ErrClientGone.Error()), "reading, the context, writing")
	counted(t, s, func(now Stats) bool { return now.Conns == 0 && now.Active == 0 })
}

// Beyond MountMax requests wait, beyond twice that they are turned away.
func TestMountIsBounded(t *testing.T) {
	started, release := make(chan struct{}, 2), make(chan struct{})
	a := New(Options{Log: quiet, MountMax: 1})
	a.Get("/", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		started <- struct{}{}
		<-release
		_, _ = io.WriteString(w, hello)
	})))
	s := serve(t, a, 1)
	first, second, third := dial(t, s), dial(t, s), dial(t, s)
	_, err := io.WriteString(first, "GET /"+get)
	require.NoError(t, err)
	<-started
	_, err = io.WriteString(second, "GET /"+get)
	require.NoError(t, err)
	counted(t, s, func(now Stats) bool { return now.Active == 2 })
	_, err = io.WriteString(third, "GET /"+get)
	require.NoError(t, err)
	answered(t, bufio.NewReader(third), 503, func(got string) string { return got }, "beyond both")
	requireReason(t, s, "mount-full", 1)
	close(release)
	answered(t, bufio.NewReader(first), 200, func(string) string { return hello }, "the first")
	answered(t, bufio.NewReader(second), 200, func(string) string { return hello }, "the second")
}

// Flush, interim answers, and reading while writing.
func TestMountStreams(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Post("/", Mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		control := http.NewResponseController(w)
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			_, _ = fmt.Fprintln(w, "got", lines.Text())
			if err := control.Flush(); err != nil {
				panic(err)
			}
		}
	})))
	s := serve(t, a, 1)
	conn := dial(t, s)
	r := bufio.NewReader(conn)
	_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
	require.NoError(t, err)
	for _, status := range []int{103, 100, 200} {
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, status, resp.StatusCode)
		if status == 100 {
			_, err = io.WriteString(conn, "4\r\nabc\n\r\n")
			require.NoError(t, err)
		}
		if status != 200 {
			continue
		}
		body := bufio.NewReader(resp.Body)
		for i := range 3 {
			line, err := body.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "got abc\n", line, "each line is answered before the next is sent")
			last := "4\r\nabc\n\r\n"
			if i == 2 {
				last = "0\r\n\r\n"
			}
			_, err = io.WriteString(conn, last)
			require.NoError(t, err)
		}
		_, err = body.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	}
}

// BenchmarkMount is what a small request costs more off the loop.
func BenchmarkMount(b *testing.B) {
	a := New(Options{Log: quiet})
	a.Get("/hello", func(c *Context) error { return c.String(200, hello) })
	a.Get("/std/hello", Mount(http.StripPrefix("/std", standard())))
	s, err := Listen(a, ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(b, err)
	defer func() { _ = s.Stop(context.Background()) }()
	for _, path := range []string{"/hello", "/std/hello"} {
		b.Run(strconv.Quote(path), func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for b.Loop() {
				resp, err := client.Get("http://" + s.Addr().String() + path)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
}
