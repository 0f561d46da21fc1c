package app

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/websocket"
	"tafe/httpparse"
)

type markKey struct{}

// marking puts a value into the context and a header on the response, before and after the handler.
func marking(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Mark", "before")
		next.ServeHTTP(&lateHeader{ResponseWriter: w}, r.WithContext(context.WithValue(r.Context(), markKey{}, "marked")))
	})
}

// lateHeader adds a header when the head is written, as session middlewares do.
type lateHeader struct {
	http.ResponseWriter
	written bool
}

func (w *lateHeader) WriteHeader(status int) {
	if !w.written {
		w.written = true
		w.Header().Set("X-Late", fmt.Sprint(status))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *lateHeader) Write(p []byte) (int, error) {
	if !w.written {
		w.WriteHeader(200)
	}
	return w.ResponseWriter.Write(p)
}

func (w *lateHeader) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// packing compresses what the handler writes.
func packing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		packed := &packed{ResponseWriter: w, zip: gzip.NewWriter(w)}
		next.ServeHTTP(packed, r)
		_ = packed.zip.Close()
	})
}

type packed struct {
	http.ResponseWriter
	zip *gzip.Writer
}

func (w *packed) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.Header().Set("Content-Encoding", "gzip")
	w.ResponseWriter.WriteHeader(status)
}
func (w *packed) Write(p []byte) (int, error) { return w.zip.Write(p) }

// around changes the request or the response, as f says.
func around(f func(w http.ResponseWriter, r *http.Request, next http.Handler)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, next) })
	}
}

// within is an App whose routes stand within middlewares of net/http, by their paths.
func within(t *testing.T) *Server {
	big := bytes.Repeat([]byte("0123456789"), 50_000)
	a := New(Options{Log: quiet, MountMax: 8})
	a.Use(func(next Handler) Handler {
		return func(c *Context) error {
			c.SetHeader("X-Outer", "outer")
			return next(c)
		}
	})
	all := func(prefix string, middlewares ...Middleware) {
		g := a.Group(prefix, middlewares...)
		g.Get("/string", func(c *Context) error {
			c.SetHeader("X-Own", "own")
			return c.String(200, fmt.Sprint(c.Value(markKey{})))
		})
		g.Get("/big", func(c *Context) error { return c.Bytes(200, "text/plain", big) })
		g.Get("/empty", func(c *Context) error { return c.NoContent(204) })
		g.Get("/nothing", func(*Context) error { return nil })
		g.Get("/error", func(*Context) error { return Error(403, "not you") })
		g.Get("/fault", func(*Context) error { return errors.New("secret") })
		g.Get("/panic", func(*Context) error { panic("boom") })
		g.Get("/stream", func(c *Context) error {
			s := c.Stream(200, "text/plain")
			for range 3 {
				if _, err := s.Write([]byte("piece ")); err != nil {
					return err
				}
				if err := c.Sleep(time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		})
		g.Get("/broken", func(c *Context) error {
			s := c.Stream(200, "text/plain")
			if _, err := s.Write([]byte("half")); err != nil {
				return err
			}
			return errors.New("secret")
		})
		g.Get("/early", func(c *Context) error {
			if err := c.Interim(103, []httpparse.Header{{Name: []byte("Link"), Value: []byte("</a.css>")}}); err != nil {
				return err
			}
			return c.String(200, "late")
		})
		g.Post("/echo", func(c *Context) error {
			body, err := c.Body()
			if err != nil {
				return err
			}
			return c.Bytes(200, "text/plain", body)
		})
		g.Get("/where/{path...}", func(c *Context) error {
			return c.String(200, c.Path()+"?"+c.RawQuery()+"|"+c.Param("path")+"|"+c.Header("X-Added")+c.Header("X-Gone"))
		})
		g.Get("/wait", func(c *Context) error { return c.Sleep(time.Hour) })
		g.Get("/events", func(c *Context) error {
			s, err := c.SSE(SSEOptions{Heartbeat: time.Millisecond})
			if err != nil {
				return err
			}
			if err := s.Send(Event{Data: "one"}); err != nil {
				return err
			}
			if err := c.Sleep(20 * time.Millisecond); err != nil {
				return err
			}
			return s.Send(Event{Data: "two"})
		})
		g.Get("/ws", func(c *Context) error {
			ws, err := c.WebSocket(websocket.Options{})
			if err != nil {
				return err
			}
			kind, message, err := ws.Read()
			if err != nil {
				return err
			}
			return ws.Write(kind, append(message, fmt.Sprint(c.Value(markKey{}))...))
		})
	}
	mark := FromHTTP(marking)
	all("/mark", mark)
	all("/twice", mark, FromHTTP(marking))
	all("/markthen", mark, FromHTTP(func(next http.Handler) http.Handler { return next }))
	all("/pack", FromHTTP(packing))
	all("/packmark", mark, FromHTTP(packing))
	all("/none", FromHTTP(func(next http.Handler) http.Handler { return next }))
	all("/refused", FromHTTP(around(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, "no", http.StatusUnauthorized)
	})))
	all("/small", FromHTTP(func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, 4) }))
	all("/strip", FromHTTP(func(next http.Handler) http.Handler { return http.StripPrefix("/strip/where", next) }))
	all("/header", FromHTTP(around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Set("X-Added", "added")
		r.Header.Del("X-Gone")
		next.ServeHTTP(w, r)
	})))
	all("/timeout", FromHTTP(func(next http.Handler) http.Handler {
		return http.TimeoutHandler(next, 20*time.Millisecond, "too slow")
	}))
	all("/context", FromHTTP(around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Millisecond)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})))
	all("/again", FromHTTP(around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&discarding{header: http.Header{}}, r)
		next.ServeHTTP(w, r)
	})))
	all("/foreign", FromHTTP(around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(w, r.WithContext(context.Background()))
	})))
	s := serve(t, a, 1)
	return s
}

// discarding is a ResponseWriter for an answer that is not sent.
type discarding struct{ header http.Header }

func (w *discarding) Header() http.Header         { return w.header }
func (w *discarding) WriteHeader(int)             {}
func (w *discarding) Write(p []byte) (int, error) { return len(p), nil }

func TestFromHTTP(t *testing.T) {
	s := within(t)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	marked := map[string]string{"X-Outer": "outer", "X-Mark": "before"}
	for _, c := range []struct {
		why, method, path, body string
		status                  int
		want                    string
		headers                 map[string]string
	}{
		{"a whole response, with a value of the context", "GET", "/mark/string", "", 200, "marked", map[string]string{"X-Own": "own", "X-Late": "200", "Content-Length": "6"}},
		{"its headers, and those of middlewares around", "GET", "/mark/string", "", 200, "", marked},
		{"HEAD", "HEAD", "/mark/string", "", 200, "", map[string]string{"X-Late": "200", "Content-Length": "6"}},
		{"a large one", "GET", "/mark/big", "", 200, strings.Repeat("0123456789", 50_000), map[string]string{"Content-Length": "500000"}},
		{"no body", "GET", "/mark/empty", "", 204, "", map[string]string{"X-Late": "204"}},
		{"a handler that writes nothing", "GET", "/mark/nothing", "", 200, "", map[string]string{"X-Late": "200"}},
		{"an error: the middleware sees its status", "GET", "/mark/error", "", 403, "not you\n", map[string]string{"X-Late": "403"}},
		{"a failure", "GET", "/mark/fault", "", 500, "Internal Server Error", map[string]string{"X-Late": "500"}},
		{"a panic", "GET", "/mark/panic", "", 500, "Internal Server Error", map[string]string{"X-Outer": "outer"}},
		{"a stream", "GET", "/mark/stream", "", 200, "piece piece piece ", map[string]string{"X-Late": "200"}},
		{"an interim response before", "GET", "/none/early", "", 200, "late", nil},
		{"a body", "POST", "/mark/echo", "hello", 200, "hello", nil},
		{"two middlewares", "GET", "/twice/string", "", 200, "marked", map[string]string{"X-Late": "200"}},
		{"two, of which the inner has no values", "GET", "/markthen/string", "", 200, "marked", nil},
		{"two, and a stream", "GET", "/twice/stream", "", 200, "piece piece piece ", nil},
		{"two, and an error", "GET", "/twice/error", "", 403, "not you\n", nil},
		{"a body that is changed", "GET", "/pack/string", "", 200, "<nil>", map[string]string{"Content-Encoding": "gzip"}},
		{"a large one that is changed", "GET", "/pack/big", "", 200, strings.Repeat("0123456789", 50_000), nil},
		{"a stream that is changed", "GET", "/packmark/stream", "", 200, "piece piece piece ", map[string]string{"Content-Encoding": "gzip"}},
		{"a middleware that does nothing", "GET", "/none/string", "", 200, "<nil>", nil},
		{"one that answers itself", "GET", "/refused/string", "", 401, "no\n", nil},
		{"a body within its limit", "POST", "/small/echo", "1234", 200, "1234", nil},
		{"one beyond", "POST", "/small/echo", "12345", 413, "", nil},
		{"another URL", "GET", "/strip/where/a/b?c=d", "", 200, "/a/b?c=d|a/b|gone", nil},
		{"other headers", "GET", "/header/where/x", "", 200, "/header/where/x?|x|added", nil},
		{"in time", "GET", "/timeout/string", "", 200, "<nil>", nil},
		{"too late for the middleware: its answer, or that to the cancellation", "GET", "/timeout/wait", "", 503, "too ", nil},
		{"a context that ends cancels the request", "GET", "/context/wait", "", 503, "took too long", nil},
		{"the handler is called twice", "GET", "/again/string", "", 200, "<nil>", nil},
		{"a context of another origin", "GET", "/foreign/string", "", 500, "", nil},
		{"an event stream: the head through the middleware", "GET", "/mark/events", "", 200, "data: one\n\n", map[string]string{"X-Late": "200", "Content-Type": "text/event-stream"}},
		{"two around an event stream", "GET", "/twice/events", "", 200, "data: two\n\n", map[string]string{"X-Mark": "before"}},
	} {
		req, err := http.NewRequest(c.method, "http://"+s.Addr().String()+c.path, strings.NewReader(c.body))
		require.NoError(t, err)
		req.Header.Set("X-Gone", "gone")
		resp, err := client.Do(req)
		require.NoError(t, err, c.why)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err, c.why)
		require.NoError(t, resp.Body.Close())
		if resp.Header.Get("Content-Encoding") == "gzip" {
			r, err := gzip.NewReader(bytes.NewReader(got))
			require.NoError(t, err, c.why)
			got, err = io.ReadAll(r)
			require.NoError(t, err, c.why)
		}
		require.Equal(t, c.status, resp.StatusCode, "%s: %s", c.why, got)
		if c.status == 200 && !strings.HasPrefix(c.want, "data:") && c.method != "HEAD" && c.want != "" {
			require.Equal(t, c.want, string(got), c.why)
		} else {
			require.Contains(t, string(got), c.want, c.why)
		}
		for name, want := range c.headers {
			require.Equal(t, []string{want}, resp.Header.Values(name), "%s: %s", c.why, name)
		}
	}
}

// A response that breaks off reaches the client as one.
func TestFromHTTPBreaksOff(t *testing.T) {
	s := within(t)
	for _, path := range []string{"/mark/broken", "/twice/broken", "/none/broken"} {
		resp, err := http.Get("http://" + s.Addr().String() + path)
		if err != nil {
			continue // it broke off before its head was sent
		}
		_, err = io.ReadAll(resp.Body)
		require.Error(t, err, path)
		require.NoError(t, resp.Body.Close())
	}
	http.DefaultClient.CloseIdleConnections()
	require.Equal(t, "marked", fetched("http://"+s.Addr().String()+"/mark/string"), "the server goes on")
	http.DefaultClient.CloseIdleConnections()
}

// A WebSocket takes the connection over; the middleware's values stay.
func TestWebSocketWithinHTTPMiddleware(t *testing.T) {
	s := within(t)
	for _, path := range []string{"/mark/ws", "/twice/ws"} {
		conn := dial(t, s)
		_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		require.NoError(t, err)
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode, path)
		require.Equal(t, "before", resp.Header.Get("X-Mark"), "%s: headers of the middleware", path)
		_, err = conn.Write([]byte("\x81\x81\x00\x00\x00\x00x"))
		require.NoError(t, err)
		frame := make([]byte, 9)
		_, err = io.ReadFull(r, frame)
		require.NoError(t, err)
		require.Equal(t, "\x81\x07xmarked", string(frame), path)
	}
}

// A client that leaves ends the request, the handler and the middleware.
func TestFromHTTPClientLeaves(t *testing.T) {
	var ended atomic.Int32
	waiting := make(chan struct{})
	a := New(Options{Log: quiet})
	a.Get("/", func(c *Context) error {
		close(waiting)
		err := c.Sleep(time.Hour)
		if errors.Is(err, ErrClientGone) {
			ended.Add(1)
		}
		return err
	})
	done := make(chan struct{})
	a.Use(FromHTTP(around(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		defer close(done)
		defer func() {
			if recover() == http.ErrAbortHandler {
				ended.Add(1)
			}
		}()
		next.ServeHTTP(w, r)
	})))
	s := serve(t, a, 1)
	conn := dial(t, s)
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	<-waiting
	require.NoError(t, conn.(*net.TCPConn).SetLinger(0)) // a reset: after a FIN the client could still read
	require.NoError(t, conn.Close())
	<-done
	require.Equal(t, int32(2), ended.Load())
}

func BenchmarkFromHTTP(b *testing.B) {
	a := New(Options{Log: quiet})
	a.Get("/plain", func(c *Context) error { return c.String(200, hello) })
	a.Group("", FromHTTP(marking)).Get("/within", func(c *Context) error { return c.String(200, hello) })
	a.Get("/mounted", Mount(marking(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, hello) }))))
	s := serve(b, a, 1)
	for _, path := range []string{"/plain", "/mounted", "/within"} {
		b.Run(path[1:], func(b *testing.B) {
			conn := dial(b, s)
			r := bufio.NewReader(conn)
			for b.Loop() {
				_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
			}
		})
	}
}
