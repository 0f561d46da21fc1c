package app

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// patience bounds what a test waits for before it fails: long, because a slow machine is no fault.
const patience = 20 * time.Second

var quietLog = log.New(io.Discard, "", 0)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// serve starts a server for a test and ends it with it.
func serve(t testing.TB, a *App, loops int) *Server {
	t.Helper()
	return serveWith(t, a, ServerConfig{Loops: loops})
}

func serveWith(t testing.TB, a *App, config ServerConfig) *Server {
	t.Helper()
	if config.Addr == "" && config.Listeners == nil {
		config.Addr = "127.0.0.1:0"
	}
	s, err := Listen(a, config)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if !s.Draining() {
			require.NoError(t, s.Stop(ctx))
		}
	})
	return s
}

// demo is an App with a route of each kind.
func demo(o Options) *App {
	if o.Log == nil {
		o.Log = quiet
	}
	a := New(o)
	a.Get("/plaintext", func(c *Context) error { return c.String(200, "Hello, World!") })
	a.Get("/json", func(c *Context) error { return c.JSON(200, map[string]string{"message": "Hello, World!"}) })
	a.Post("/echo", func(c *Context) error {
		body, err := c.Body()
		if err != nil {
			return err
		}
		return c.Bytes(200, c.Header("Content-Type"), body)
	})
	a.Post("/unread", func(c *Context) error { return c.String(200, "not read") })
	a.Get("/sleep", func(c *Context) error {
		ms, _ := strconv.Atoi(c.Query("ms"))
		if err := c.Sleep(time.Duration(ms) * time.Millisecond); err != nil {
			return err
		}
		return c.String(200, "slept "+c.Query("ms"))
	})
	a.Get("/users/{id}", func(c *Context) error { return c.String(200, "user "+c.ParamView("id")) })
	a.Get("/panic", func(*Context) error { panic("boom") })
	return a
}

func dial(t testing.TB, s *Server) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.Addr().String(), patience)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestServerAnswersGoClient(t *testing.T) {
	s := serve(t, demo(Options{}), 2)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answersGoClient(t, client, "http://"+s.Addr().String())
}

// answersGoClient requests everything that demo has.
func answersGoClient(t *testing.T, client *http.Client, base string) {
	t.Helper()
	many := strings.Repeat("0123456789abcdef", 5<<20/16)
	for _, c := range []struct {
		why, method, target, body string
		chunked                   bool
		status                    int
		want                      string
	}{
		{why: "plain", method: "GET", target: "/plaintext", status: 200, want: "Hello, World!"},
		{why: "JSON", method: "GET", target: "/json", status: 200, want: `{"message":"Hello, World!"}`},
		{why: "a wait", method: "GET", target: "/sleep?ms=3", status: 200, want: "slept 3"},
		{why: "a parameter, decoded", method: "GET", target: "/users/a%20b", status: 200, want: "user a b"},
		{why: "a small body", method: "POST", target: "/echo", body: "abc", status: 200, want: "abc"},
		{why: "a body that takes many reads", method: "POST", target: "/echo", body: many, status: 200, want: many},
		{why: "a chunked body", method: "POST", target: "/echo", body: many[:100000], chunked: true, status: 200, want: many[:100000]},
		{why: "an empty body", method: "POST", target: "/echo", status: 200},
		{why: "an unread body", method: "POST", target: "/unread", body: many[:40000], status: 200, want: "not read"},
		{why: "no such path", method: "GET", target: "/nowhere", status: 404, want: "Not Found\n"},
		{why: "no such method", method: "DELETE", target: "/plaintext", status: 405, want: "Method Not Allowed\n"},
		{why: "HEAD by GET", method: "HEAD", target: "/plaintext", status: 200},
		{why: "OPTIONS by itself", method: "OPTIONS", target: "/plaintext", status: 204},
	} {
		var body io.Reader
		if c.body != "" {
			body = strings.NewReader(c.body)
			if c.chunked {
				body = struct{ io.Reader }{body}
			}
		}
		req, err := http.NewRequest(c.method, base+c.target, body)
		require.NoError(t, err, c.why)
		resp, err := client.Do(req)
		require.NoError(t, err, c.why)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err, c.why)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.status, resp.StatusCode, c.why)
		require.True(t, c.want == string(got), "%s: %.80q", c.why, got)
	}
}

func TestServerPipelines(t *testing.T) {
	s := serve(t, demo(Options{}), 1)
	conn := dial(t, s)
	const n = 500 // many turns' worth
	var out bytes.Buffer
	for i := range n {
		if i%7 == 0 {
			out.WriteString("GET /sleep?ms=" + strconv.Itoa(i%2) + " HTTP/1.1\r\nHost: a\r\n\r\n")
		} else {
			out.WriteString("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n" + strconv.Itoa(1000+i))
		}
	}
	go func() { _, _ = conn.Write(out.Bytes()) }()
	r := bufio.NewReader(conn)
	for i := range n {
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		want := strconv.Itoa(1000 + i)
		if i%7 == 0 {
			want = "slept " + strconv.Itoa(i%2)
		}
		require.Equal(t, want, string(body), "answers come in the order of their requests")
	}
}

func TestServerDrains(t *testing.T) {
	started := make(chan struct{}, 1)
	a := demo(Options{})
	a.Get("/busy", func(c *Context) error {
		started <- struct{}{}
		if err := c.Sleep(20 * time.Millisecond); err != nil {
			return err
		}
		return c.String(200, "done")
	})
	s := serve(t, a, 2)
	idle, busy := dial(t, s), dial(t, s)
	_, err := io.WriteString(busy, "GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(ctx) }()
	_, err = idle.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "an idle connection is closed without a word")
	_ = idle.Close()
	resp, err := http.ReadResponse(bufio.NewReader(busy), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "done", string(body))
	require.True(t, resp.Close)
	_ = busy.Close()
	require.NoError(t, <-drained)
	require.True(t, s.Draining())
	<-s.Done()
	require.Error(t, s.Drain(ctx), "once")
}

func TestServerDrainHasAnEnd(t *testing.T) {
	started := make(chan struct{})
	ended := make(chan error, 1)
	a := New(Options{Log: quiet})
	a.Get("/busy", func(c *Context) error {
		close(started)
		err := c.Sleep(time.Hour)
		ended <- err
		return err
	})
	s := serve(t, a, 1)
	busy := dial(t, s)
	_, err := io.WriteString(busy, "GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Drain(ctx), context.Canceled)
	require.ErrorIs(t, <-ended, loop.ErrShutdown, "the handler was cancelled")
}

// Stop and Drain may meet in any order: each returns, once the server has ended.
func TestServerEndsOnce(t *testing.T) {
	for _, tt := range []struct {
		why string
		end func(t *testing.T, s *Server)
	}{
		{"Stop twice", func(t *testing.T, s *Server) {
			require.NoError(t, s.Stop(t.Context()))
			require.NoError(t, s.Stop(t.Context()))
		}},
		{"Stop twice at once", func(t *testing.T, s *Server) {
			other := make(chan error)
			go func() { other <- s.Stop(t.Context()) }()
			require.NoError(t, s.Stop(t.Context()))
			require.NoError(t, <-other)
		}},
		{"Drain after Stop", func(t *testing.T, s *Server) {
			require.NoError(t, s.Stop(t.Context()))
			require.NoError(t, s.Drain(t.Context()))
		}},
		{"Stop after a drain over its time", func(t *testing.T, s *Server) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, s.Drain(ctx), context.Canceled)
			require.NoError(t, s.Stop(t.Context()))
		}},
		{"Stop cuts a drain short", func(t *testing.T, s *Server) {
			drained := make(chan error)
			go func() { drained <- s.Drain(t.Context()) }()
			counted(t, s, func(now Stats) bool { return now.Draining == 1 })
			require.ErrorContains(t, s.Drain(t.Context()), "draining already")
			require.NoError(t, s.Stop(t.Context()))
			require.NoError(t, <-drained)
		}},
	} {
		t.Run(tt.why, func(t *testing.T) {
			s := serve(t, demo(Options{}), 1)
			busy := dial(t, s)
			_, err := io.WriteString(busy, "GET /sleep?ms=3600000"+get)
			require.NoError(t, err)
			counted(t, s, func(now Stats) bool { return now.Active == 1 })
			tt.end(t, s)
			<-s.Done()
		})
	}
}

// Kept connections get Connection: close before they are closed.
func TestServerEndsKeptConnectionsByTheirNextAnswer(t *testing.T) {
	s := serve(t, demo(Options{}), 1)
	conn := dial(t, s)
	r := bufio.NewReader(conn)
	ask := func() *http.Response {
		_, err := io.WriteString(conn, "GET /plaintext"+get)
		require.NoError(t, err)
		response, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		return response
	}
	require.False(t, ask().Close)
	s.EndKept()
	heard := make(chan struct{}) // behind it
	s.Engine().Loops()[0].Post(func() { close(heard) })
	<-heard
	require.True(t, ask().Close)
	_, err := r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestServerStats(t *testing.T) {
	s := serve(t, demo(Options{}), 2)
	conn := dial(t, s)
	for _, path := range []string{"/plaintext", "/nowhere", "/panic"} {
		_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
	}
	counted(t, s, func(got Stats) bool { return got.Requests == 3 && got.Active == 0 })
	got := s.Stats()
	require.Equal(t, [6]uint64{2: 1, 4: 1, 5: 1}, got.ByClass)
	require.Equal(t, map[string]uint64{"panic": 1}, got.Reasons)
	require.Equal(t, 1, got.Conns)
	require.Zero(t, got.Active)
}

func TestListenTellsWhyItCannot(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	_, err = Listen(New(Options{Log: quiet}), ServerConfig{Addr: taken.Addr().String(), Loops: 1})
	require.ErrorContains(t, err, "address already in use")
}

// Another App takes over without an answer lost: what was begun is finished by the one that began it.
func TestServerSwaps(t *testing.T) {
	version := func(n int) *App {
		a := New(Options{Log: quiet, ServerName: "v" + strconv.Itoa(n)})
		a.Get("/v", func(c *Context) error {
			if err := c.Sleep(time.Millisecond); err != nil {
				return err
			}
			return c.String(200, strconv.Itoa(n))
		})
		return a
	}
	s := serve(t, version(0), 2)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const swaps = 50
	last := make(chan string, 1)
	failed := make(chan error, 1)
	conn := dial(t, s)
	go func() {
		r, seen := bufio.NewReader(conn), ""
		for seen != strconv.Itoa(swaps) {
			if _, err := io.WriteString(conn, "GET /v HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				failed <- err
				return
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				failed <- err
				return
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || resp.Header.Get("Server") != "v"+string(body) {
				failed <- fmt.Errorf("%d %s from %s", resp.StatusCode, body, resp.Header.Get("Server"))
				return
			}
			seen = string(body)
		}
		last <- seen
	}()
	for n := 1; n <= swaps; n++ {
		require.NoError(t, s.Swap(ctx, version(n)))
	}
	select {
	case <-last:
	case err := <-failed:
		require.NoError(t, err)
	}
}
