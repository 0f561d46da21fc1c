package middleware

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

// patience bounds what a test waits for before it fails: long, because a slow machine is no fault.
const patience = 20 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// serve starts an App for a test and returns its address.
func serve(t testing.TB, a *app.App) string { return serveOn(t, a, 2) }

func serveOn(t testing.TB, a *app.App, loops int) string {
	t.Helper()
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: loops})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
	})
	return s.Addr().String()
}

// quietApp is an App whose routes are within middlewares: GET, POST and DELETE / answer "ok" and the body they were sent.
func quietApp(middlewares ...app.Middleware) *app.App {
	a := app.New(app.Options{Log: quiet})
	a.Use(middlewares...)
	ok := func(c *app.Context) error {
		body, err := c.Body()
		if err != nil {
			return err
		}
		return c.String(200, "ok"+string(body))
	}
	a.Get("/", ok)
	a.Post("/", ok)
	a.Delete("/", ok)
	return a
}

// ask sends one request, a request line and headers, and perhaps a body behind an empty line, on a connection of its own.
func ask(t testing.TB, addr, request string) (*http.Response, string) {
	t.Helper()
	conn := begin(t, addr, request)
	return finish(t, conn, request)
}

func begin(t testing.TB, addr, request string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(head, "\n")
	lines[0] += " HTTP/1.1\r\nHost: example"
	_, err = io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"+body)
	require.NoError(t, err)
	return conn
}

func finish(t testing.TB, conn net.Conn, request string) (*http.Response, string) {
	t.Helper()
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp, string(body)
}

func mustPanic(t *testing.T, want, why string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		got, _ := recover().(string)
		require.Contains(t, got, want, why)
	}()
	f()
}
