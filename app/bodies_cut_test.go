package app

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// A handler that gives up midway answers, whatever it gave up by; the rest of the body is not waited for.
func TestHandlerGivesUpOnABody(t *testing.T) {
	a, _ := bodyApp(t, Options{BodyTimeout: time.Second})
	s := serve(t, a, 1)
	for _, c := range []struct {
		why, path, reason string
		sent              int
		status            int
		want              string
	}{
		{"an error", "/refuse", "", 3 << 20, 403, "enough\n"},
		{"a panic", "/panic", "panic", 3 << 20, 500, ""},
		{"a client that stops sending", "/sum", "body-timeout", 3 << 20, 408, "the request body did not arrive in time\n"},
	} {
		conn := dial(t, s)
		_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", c.path, large)
		require.NoError(t, err)
		_, err = conn.Write(make([]byte, c.sent))
		require.NoError(t, err)
		header := answered(t, bufio.NewReader(conn), c.status, func(got string) string {
			if c.want == "" {
				return got
			}
			return c.want
		}, c.why)
		require.NotNil(t, header)
		if c.reason != "" {
			requireReason(t, s, c.reason, 1, c.why)
		}
	}
}

// A chunked body that exceeds its route's bound is refused while it arrives.
func TestBodyMaxOfChunks(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Post("/", func(c *Context) error {
		_, err := io.Copy(io.Discard, c.BodyReader())
		return err
	}, BodyMax(300<<10))
	s := serve(t, a, 1)
	conn := dial(t, s)
	_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	require.NoError(t, err)
	for range 8 {
		_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", 40<<10, make([]byte, 40<<10))
		require.NoError(t, err)
	}
	answered(t, bufio.NewReader(conn), 413, func(got string) string { return got }, "320 KiB")
}

// endings is a bodyApp that tells how its handlers end.
func endings(t *testing.T) (*App, chan error) {
	t.Helper()
	ended := make(chan error, 2)
	a, _ := bodyApp(t, Options{})
	a.Use(func(next Handler) Handler {
		return func(c *Context) (err error) {
			err = loop.ErrShutdown // of one that is unwound
			defer func() { ended <- err }()
			err = next(c)
			return err
		}
	})
	return a, ended
}

// reset breaks a connection off, as a client does that is killed.
func reset(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
	require.NoError(t, conn.Close())
}

// A client that leaves while a body is on its way ends the request, and nothing stays behind.
func TestClientLeavesABody(t *testing.T) {
	a, ended := endings(t)
	s := serve(t, a, 1)
	for i, send := range []string{"POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n" + strings.Repeat("x", 100), "GET /file" + get} {
		conn := dial(t, s)
		_, err := io.WriteString(conn, send)
		require.NoError(t, err)
		counted(t, s, func(now Stats) bool { return now.Active == 1 })
		reset(t, conn)
		require.ErrorIs(t, <-ended, ErrClientGone)
		counted(t, s, func(now Stats) bool { return now.Conns == 0 && now.Active == 0 })
		requireReason(t, s, "client-gone", i+1)
	}
}

// A deadline ends a request whose body is still arriving: it is answered, since the body can be left.
func TestHandlerTimeoutWhileABodyArrives(t *testing.T) {
	ended := make(chan error, 1)
	a := New(Options{Log: quiet})
	a.Post("/", func(c *Context) error {
		_, err := io.Copy(io.Discard, c.BodyReader())
		ended <- err
		return err
	}, Timeout(50*time.Millisecond), BodyMax(1<<30))
	s := serve(t, a, 1)
	conn := dial(t, s)
	_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\nx")
	require.NoError(t, err)
	require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	answered(t, bufio.NewReader(conn), 503, func(got string) string { return got }, "the answer")
}

// A drain waits for bodies that are on their way.
func TestDrainWaitsForBodies(t *testing.T) {
	a, content := bodyApp(t, Options{})
	s := serve(t, a, 2)
	down, up := dial(t, s), dial(t, s)
	body := newPattern(large)
	_, err := io.WriteString(down, "GET /file"+get)
	require.NoError(t, err)
	_, err = fmt.Fprintf(up, "POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", large)
	require.NoError(t, err)
	counted(t, s, func(now Stats) bool { return now.Active == 2 })
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(context.Background()) }()
	counted(t, s, func(now Stats) bool { return now.Draining == 2 })
	_, err = io.Copy(up, body)
	require.NoError(t, err)
	answered(t, bufio.NewReader(up), 200, func(string) string { return body.digest() }, "the upload")
	resp, err := http.ReadResponse(bufio.NewReader(down), nil)
	require.NoError(t, err)
	sum := sha256.New()
	_, err = io.Copy(sum, resp.Body)
	require.NoError(t, err)
	require.Equal(t, content.digest(), hex.EncodeToString(sum.Sum(nil)))
	require.NoError(t, up.Close())
	require.NoError(t, down.Close())
	require.NoError(t, <-drained)
}

// A stop does not wait for bodies.
func TestStopCutsBodiesOff(t *testing.T) {
	a, ended := endings(t)
	s := serve(t, a, 1)
	for _, send := range []string{"POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n", "GET /file" + get} {
		conn := dial(t, s)
		_, err := io.WriteString(conn, send)
		require.NoError(t, err)
	}
	counted(t, s, func(now Stats) bool { return now.Active == 2 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, s.Stop(ctx))
	for range 2 {
		require.ErrorIs(t, <-ended, loop.ErrShutdown)
	}
}
