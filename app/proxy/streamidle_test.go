package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A stream may be silent for longer than BodyTimeout; other bodies may not.
func TestSilentStreams(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, kind string
		idle      time.Duration
		cut       bool
	}{
		{"server-sent events", "text/event-stream; charset=utf-8", 0, false},
		{"gRPC", "application/grpc+proto", 0, false},
		{"case does not matter", "Text/Event-Stream", 0, false},
		{"another type", "text/plain", 0, true},
		{"no type", "", 0, true},
		{"another type, on a route with an idle time of its own", "application/x-ndjson", time.Hour, false},
		{"events, on a route with a short idle time", "text/event-stream", 30 * time.Millisecond, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Type"] = nil
				if r.URL.Path == "/stream" {
					w.Header().Set("Content-Type", c.kind)
				}
				_, _ = io.WriteString(w, "first ")
				_ = http.NewResponseController(w).Flush()
				if r.URL.Path == "/stream" && !c.cut {
					<-over
					_, _ = io.WriteString(w, "last")
					return
				}
				<-r.Context().Done()
			})
			f := serve(t, GroupOptions{Servers: to(addr), BodyTimeout: 60 * time.Millisecond}, Options{StreamIdle: c.idle})
			answer := make(chan string)
			go func() { answer <- f.raw(t, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n") }()
			if c.cut {
				require.Equal(t, "200 first  BROKEN", <-answer)
				return
			}
			require.Eventually(t, func() bool { return f.group.Stats().Servers[0].ByClass[2] == 1 }, patience, time.Millisecond)
			plain := serve(t, GroupOptions{Servers: to(addr), BodyTimeout: 60 * time.Millisecond}, Options{})
			require.Equal(t, "200 first  BROKEN", plain.raw(t, "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"), "BodyTimeout has passed")
			close(over)
			require.Equal(t, "200 first last", <-answer)
		})
	}
}

// A drain waits for tunnels as for requests, and ends those that are left when its time is over.
func TestTunnelsAreDrained(t *testing.T) {
	t.Parallel()
	open := func(f *front) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", f.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = io.WriteString(c, upgradeRequest)
		require.NoError(t, err)
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode)
		_, err = io.ReadFull(in, make([]byte, len("first ")))
		require.NoError(t, err)
		return c, in
	}
	drain := func(f *front, d time.Duration) chan error {
		drained := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			drained <- f.Drain(ctx)
		}()
		require.Eventually(t, f.Draining, patience, time.Millisecond)
		return drained
	}
	f := serve(t, GroupOptions{Servers: to(backend(t, echoUpgrade))}, Options{})
	c, in := open(f)
	drained := drain(f, patience)
	require.Eventually(t, func() bool { _, err := net.Dial("tcp", f.Addr().String()); return err != nil }, patience, time.Millisecond)
	echo := make([]byte, 5)
	for range 3 {
		_, err := io.WriteString(c, "still")
		require.NoError(t, err)
		_, err = io.ReadFull(in, echo)
		require.NoError(t, err)
		require.Equal(t, "still", string(echo))
	}
	select {
	case <-drained:
		t.Fatal("the drain does not wait for the tunnel")
	default:
	}
	require.NoError(t, c.Close())
	require.NoError(t, <-drained)

	f = serve(t, GroupOptions{Servers: to(backend(t, echoUpgrade))}, Options{})
	_, in = open(f)
	require.NoError(t, <-drain(f, time.Second))
	rest, _ := io.ReadAll(in)
	require.Empty(t, strings.TrimSpace(string(rest)))
	require.Eventually(t, func() bool { return f.group.Stats().TunnelsOpen == 0 }, patience, time.Millisecond)
}
