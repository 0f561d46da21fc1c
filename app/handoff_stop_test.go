package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/testrig"
)

// A drain waits for handlers that run beside their loop.
func TestHandoffDrain(t *testing.T) {
	h := newHeld(t, Options{})
	h.Get("/", func(c *Context) error { h.hold(); return c.String(200, hello) })
	s := serve(t, h.App, 1)
	conn := dial(t, s)
	_, err := io.WriteString(conn, "GET /"+get)
	require.NoError(t, err)
	<-h.started
	released(t, s, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(ctx) }()
	counted(t, s, func(now Stats) bool { return now.Draining == 1 })
	select {
	case <-drained:
		require.Fail(t, "it has not waited")
	default:
	}
	h.free()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, hello, string(body))
	require.True(t, resp.Close)
	require.NoError(t, conn.Close())
	require.NoError(t, <-drained)
}

// A stop cancels handlers that run beside their loop, and waits for them.
func TestHandoffStop(t *testing.T) {
	ended := make(chan error, 1)
	a := New(Options{Log: quiet})
	a.Get("/", func(c *Context) error {
		<-c.Done()
		ended <- c.Sleep(time.Hour)
		return nil
	})
	s := serve(t, a, 1)
	_, err := io.WriteString(dial(t, s), "GET /"+get)
	require.NoError(t, err)
	released(t, s, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Stop(ctx))
	require.ErrorIs(t, <-ended, loop.ErrShutdown)
}

// Stop does not wait for ever: it tells the stacks of the handlers that it leaves behind. What they do with their Contexts later unwinds
// them, without effect on others.
func TestHandoffStopLeavesHandlersBehind(t *testing.T) {
	var out testrig.Buffer
	h := newHeld(t, Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	calls := []struct {
		why string
		f   func(c *Context)
	}{
		{"a wait", func(c *Context) { _ = c.Sleep(time.Millisecond) }},
		{"an answer", func(c *Context) { _ = c.String(200, hello) }},
		{"a large answer", func(c *Context) { _ = c.Bytes(200, "", make([]byte, 1<<20)) }},
		{"a stream", func(c *Context) { _, _ = io.WriteString(c.Stream(200, ""), hello) }},
		{"the body", func(c *Context) { _, _ = c.Body() }},
		{"Hijack", func(c *Context) { _, _ = c.Hijack() }},
		{"nothing", func(*Context) {}},
		{"a panic", func(*Context) { panic("boom") }},
	}
	var unwound sync.WaitGroup
	h.Post("/{i}", func(c *Context) error {
		defer unwound.Done()
		i, _ := strconv.Atoi(c.Param("i"))
		defer func() { // of one that is unwound, a call like any other
			defer func() { _ = recover() }()
			calls[i].f(c)
		}()
		h.hold()
		calls[i].f(c)
		_ = c.Yield()
		return nil
	})
	s, err := Listen(h.App, ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	for i := range calls {
		unwound.Add(1)
		_, err := fmt.Fprintf(dial(t, s), "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", i)
		require.NoError(t, err)
		<-h.started
	}
	released(t, s, len(calls))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Stop(ctx), context.Canceled)
	<-s.Done()
	require.Contains(t, out.String(), "handoff_test.go", "where they are")
	h.free()
	unwound.Wait()
}
