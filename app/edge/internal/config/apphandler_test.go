package config_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/app/client"
	"tafe/app/middleware"
	"tafe/app/proxy"
	"tafe/loop"
)

func echoServer(t testing.TB) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body); _, _ = io.WriteString(w, "!") }))
	t.Cleanup(s.Close)
	return s
}

func ask(a *app.App, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// The client and the proxy work in an App that is an http.Handler.
func TestClientUnderNetHTTP(t *testing.T) {
	up := echoServer(t)
	cl := client.New(client.Options{})
	defer cl.Close()
	g, err := proxy.NewGroup(proxy.GroupOptions{Servers: []proxy.ServerOptions{{Addr: up.Listener.Addr().String()}}})
	require.NoError(t, err)
	defer func() { _ = g.Close() }()
	h, err := proxy.New(g, proxy.Options{BodyMemoryMax: 10})
	require.NoError(t, err)
	a := quietApp()
	a.Handle("", "/proxy", h.Serve)
	a.Get("/get", func(c *app.Context) error {
		status, body, err := cl.Get(c.Task(), nil, up.URL, 100)
		if err != nil {
			return err
		}
		return c.Bytes(status, "", body)
	})
	a.Get("/several", func(c *app.Context) error {
		texts := make([]string, 3)
		group := c.Task().Group()
		for i := range texts {
			group.Go(func(t *loop.Task) error {
				_, body, err := cl.Get(t, nil, up.URL, 100)
				texts[i] = string(body)
				return err
			})
		}
		if err := group.All(); err != nil {
			return err
		}
		return c.String(200, strings.Join(texts, ""))
	})
	for _, tt := range []struct{ why, method, path, body, want string }{
		{"the client", "GET", "/get", "", "!"},
		{"tasks of the same request", "GET", "/several", "", "!!!"},
		{"the proxy", "GET", "/proxy", "", "!"},
		{"the proxy with a body", "POST", "/proxy", "hello", "hello!"},
		{"the proxy with a body that is streamed", "POST", "/proxy", strings.Repeat("hello", 100), strings.Repeat("hello", 100) + "!"},
	} {
		w := ask(a, tt.method, tt.path, tt.body)
		require.Equal(t, 200, w.Code, tt.why)
		require.Equal(t, tt.want, w.Body.String(), tt.why)
	}
}

// A client that disconnects cancels the upstream requests of its handler.
func TestClientUnderNetHTTPIsCancelled(t *testing.T) {
	asked, over := make(chan struct{}), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(over)
	}))
	defer up.Close()
	cl := client.New(client.Options{})
	defer cl.Close()
	a := quietApp()
	a.Get("/", func(c *app.Context) error {
		_, _, err := cl.Get(c.Task(), nil, up.URL, 100)
		return err
	})
	ctx, leave := context.WithCancel(context.Background())
	go func() { <-asked; leave() }()
	func() {
		defer func() { _ = recover() }() // net/http is told to break the answer off
		a.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
	}()
	<-over
}

// Nothing of a request is retained after its loop.
func TestServeHTTPKeepsNothing(t *testing.T) {
	up := echoServer(t)
	cl := client.New(client.Options{})
	defer cl.Close()
	a := quietApp()
	a.Use(middleware.Shed(middleware.ShedOptions{}), middleware.Compress(middleware.CompressOptions{}))
	a.Get("/", func(c *app.Context) error {
		status, body, err := cl.Get(c.Task(), nil, up.URL, 100)
		if err != nil {
			return err
		}
		return c.Bytes(status, "", body)
	})
	heap := func(requests int) int64 {
		for range requests {
			require.Equal(t, "!", ask(a, "GET", "/", "").Body.String())
		}
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap(500)
	after := heap(2000)
	require.Less(t, after-before, int64(2000*500), "bytes that are kept: less than 500 for each request")
}
