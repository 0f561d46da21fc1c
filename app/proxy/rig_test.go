package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/app"
	"tafe/httpparse"
	"tafe/loop/reactor"
)

func TestMain(m *testing.M) {
	// gnet's worker pool is a package variable and lives as long as the process.
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"))
}

const patience = 20 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// front is a listening server with one proxied route, "/{path...}".
type front struct {
	*app.Server
	group *Group
	url   string
}

func serve(t testing.TB, g GroupOptions, o Options, trusted ...netip.Prefix) *front {
	t.Helper()
	return serveWithin(t, reactor.Limits{}, g, o, trusted...)
}

// serveWithin is serve with limits for the loops.
func serveWithin(t testing.TB, limits reactor.Limits, g GroupOptions, o Options, trusted ...netip.Prefix) *front {
	t.Helper()
	if g.Log == nil {
		g.Log = quiet
	}
	group, err := NewGroup(g)
	require.NoError(t, err)
	h, err := New(group, o)
	require.NoError(t, err)
	a := app.New(app.Options{Log: quiet, TrustedProxies: trusted, Limits: httpparse.Limits{BodyBytesMax: 1 << 30}})
	a.Handle("", "/{path...}", h.Serve)
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 2, Limits: limits})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
		_ = group.Close()
	})
	return &front{s, group, "http://" + s.Addr().String()}
}

// to returns servers with these addresses.
func to(addrs ...string) (servers []ServerOptions) {
	for _, a := range addrs {
		servers = append(servers, ServerOptions{Addr: a})
	}
	return servers
}

// backend starts a net/http server and returns its address.
func backend(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// recorder records all bytes received, and answers each head with the same response.
type recorder struct {
	addr   string
	mu     sync.Mutex
	seen   bytes.Buffer
	answer string
}

func recordAll(t testing.TB, answer string) *recorder {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &recorder{addr: ln.Addr().String(), answer: answer}
	var conns sync.Map
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Store(c, true)
			wg.Go(func() { r.play(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		wg.Wait()
	})
	return r
}

func (r *recorder) play(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(io.TeeReader(c, r))
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		if _, err = io.WriteString(c, r.answer); err != nil || strings.Contains(r.answer, "Connection: close") {
			return
		}
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen.String()
}

// raw sends bytes on a new connection and returns the response.
func (f *front) raw(t testing.TB, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: strings.Fields(request)[0]})
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Sprintf("%d %s BROKEN", resp.StatusCode, body)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func get(t testing.TB, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}
