package app

import (
	"bufio"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/looptest"
	"tafe/loop/testrig"
)

// Routes that are registered as Blocking start beside their loop, and are otherwise like others.
func TestBlockingRoutes(t *testing.T) {
	h := newHeld(t, Options{})
	var started atomic.Int32
	h.Get("/hold", func(c *Context) error {
		// All hold at once, on one loop that serves /go meanwhile.
		if started.Add(1) == together {
			h.free()
		}
		<-h.release
		return c.String(200, hello)
	}, Blocking())
	h.Get("/wait", func(c *Context) error {
		if err := c.Sleep(time.Millisecond); err != nil {
			return err
		}
		spin(time.Millisecond)
		return c.String(200, c.Path())
	}, Blocking())
	h.Get("/panic", func(*Context) error { panic("boom") }, Blocking())
	h.Get("/goexit", func(*Context) error { runtime.Goexit(); return nil }, Blocking())
	h.Get("/error", func(*Context) error { return Error(418, "") }, Blocking())
	h.Get("/deadline", func(c *Context) error { <-c.Done(); return c.Sleep(time.Hour) }, Blocking(), Timeout(20*time.Millisecond))
	h.Post("/body", func(c *Context) error {
		b, err := c.Body()
		if err != nil {
			return err
		}
		return c.Bytes(200, "", b)
	}, Blocking())
	s := serve(t, h.App, 1)
	for _, c := range []struct {
		path   string
		status int
		want   func(int) string
	}{
		{"/hold", 200, same(hello)},
		{"/wait", 200, same("/wait")},
		{"/panic", 500, nil},
		{"/goexit", 500, nil},
		{"/error", 418, nil},
		{"/deadline", 503, nil},
	} {
		t.Run(c.path, func(t *testing.T) { askTogether(t, s, same(c.path), c.status, c.want) })
	}
	reasons := reasonsOf(t, s)
	require.Equal(t, map[string]uint64{"panic": together, "goexit": together, "handler-timeout": together}, reasons)

	conn := dial(t, s)
	r := bufio.NewReader(conn)
	_, err := io.WriteString(conn, "GET /wait"+get+"GET /hello"+get+"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")
	require.NoError(t, err)
	answered(t, r, 200, saying("/wait"), "pipelined")
	answered(t, r, 200, saying(hello), "pipelined behind it")
	_, err = io.WriteString(conn, "c")
	require.NoError(t, err)
	answered(t, r, 200, saying("abc"), "a body that is waited for")
	for _, route := range h.Routes() {
		require.Equal(t, route.Blocking, route.Beside(), route.Pattern)
	}
}

// A route from which its loop is taken too often starts beside it, and is tried again, less often each time that fails.
func TestPlacement(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := &Route{}
	p := &r.placement
	require.False(t, p.starts(r, now), "on the loop")

	const tooMuch = besideWindow / besideShare
	for range 5 {
		moved, _ := p.released(1, tooMuch/2, now)
		require.False(t, moved, "less than the share of each window")
		now = now.Add(besideWindow + 1)
	}
	require.False(t, r.Beside())

	want := besideBack
	for want < 2*besideBackMax { // it never behaves
		_, _ = p.released(1, tooMuch/2, now)
		moved, back := p.released(1, tooMuch/2, now)
		require.True(t, moved)
		require.Equal(t, min(want, besideBackMax), back)
		require.True(t, r.Beside())
		require.True(t, p.starts(r, now))
		moved, _ = p.released(1, tooMuch, now)
		require.False(t, moved, "one that had begun on the loop")
		now = now.Add(back - 1)
		require.True(t, p.starts(r, now))
		now = now.Add(1)
		require.False(t, p.starts(r, now), "back on the loop")
		require.False(t, r.Beside())
		moved, _ = p.released(1, tooMuch-1, now)
		require.False(t, moved, "what it held before does not count")
		now = now.Add(besideWindow + 1)
		want *= 2
	}

	now = now.Add(11 * besideBackMax)
	moved, back := p.released(3, tooMuch, now)
	require.True(t, moved)
	require.Equal(t, besideBack, back, "it had behaved for long")
	require.Greater(t, r.Handoffs(), uint64(3))

	blocking := &Route{Blocking: true}
	require.True(t, blocking.placement.starts(blocking, now))
	require.True(t, blocking.Beside())
}

// The same through a server: what holds the loop too often moves, and says so in the log.
func TestPlacementByRequests(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("all handlers start beside their loops")
	}
	var out testrig.Buffer
	a := New(Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	a.Get("/spin", func(c *Context) error { spin(30 * time.Millisecond); return c.String(200, hello) })
	s := serve(t, a, 1)
	route := a.Routes()[0]
	for end := time.Now().Add(patience); !route.Beside() && time.Now().Before(end); {
		askTogether(t, s, same("/spin"), 200, same(hello))
	}
	require.True(t, route.Beside())
	require.Contains(t, out.String(), "route=/spin")
	before := handoffs(t, s)
	askTogether(t, s, same("/spin"), 200, same(hello))
	require.Equal(t, before, handoffs(t, s), "they start beside the loop")
}
