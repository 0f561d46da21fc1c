package app

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"tafe/app/websocket"
)

// A server that has replaced its App many times keeps none of those before: neither a loop's accounts of routes, nor recycled Contexts, nor
// open connections refer to them.
func TestReplacedAppsAreFreed(t *testing.T) {
	const swaps = 12
	var freed atomic.Int64
	build := func() *App {
		a := socketApp(websocket.Options{}, Options{})
		a.Get("/plain", func(c *Context) error { return c.NoContent(204) })
		a.Get("/events", func(c *Context) error {
			events, err := c.SSE(SSEOptions{})
			if err != nil {
				return err
			}
			return events.Send(Event{Data: "one"})
		})
		resource := new([1 << 10]byte) // of a middleware, such as a cache
		a.Use(func(next Handler) Handler {
			return func(c *Context) error { resource[0]++; return next(c) }
		})
		runtime.AddCleanup(a, func(*atomic.Int64) { freed.Add(1) }, &freed)
		runtime.AddCleanup(resource, func(*atomic.Int64) { freed.Add(1) }, &freed)
		return a
	}
	s := serveWith(t, build(), ServerConfig{Loops: 1, Listeners: []Listener{{Addr: "127.0.0.1:0", H2C: true}}})
	kept := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2 := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
	defer kept.CloseIdleConnections()
	defer h2.CloseIdleConnections()
	for range swaps {
		for _, client := range []*http.Client{kept, h2} {
			for _, path := range []string{"/plain", "/events", "/nowhere"} {
				resp, err := client.Get("http://" + s.Addr().String() + path)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
			}
		}
		for _, path := range []string{"/serve", "/straight"} {
			ws, _, err := gorilla.DefaultDialer.Dial("ws://"+s.Addr().String()+path, nil)
			require.NoError(t, err)
			require.NoError(t, ws.WriteMessage(gorilla.TextMessage, []byte("hello")))
			_, got, err := ws.ReadMessage()
			require.NoError(t, err)
			require.Equal(t, "hello", string(got))
			require.NoError(t, ws.Close())
		}
		require.NoError(t, s.Swap(t.Context(), build()))
	}
	require.Eventually(t, func() bool {
		runtime.GC()
		return freed.Load() >= 2*(swaps-2)
	}, patience, 10*time.Millisecond, "the server's App, and the one before, may be in use")
}
