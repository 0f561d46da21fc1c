//go:build !race

package middleware

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"

	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/loop/looptest"
)

// Middlewares that look at every request allocate nothing.
func TestMiddlewaresAllocateNothing(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("a handoff allocates")
	}
	local := netip.MustParsePrefix("127.0.0.0/8")
	for _, c := range []struct {
		why string
		mw  app.Middleware
	}{
		{"the client of a proxy", AllowIP(netip.MustParsePrefix("192.0.2.0/24"))},
		{"rates by client", RateLimit(RateOptions{Rate: 1e9, Burst: 1e6})},
		{"rates by header", RateLimit(RateOptions{Rate: 1e9, Burst: 1e6, Key: func(c *app.Context) string { return c.HeaderView("X-Key") }})},
		{"the request ID", RequestID()},
		{"no origin", CORS(CORSOptions{Origins: []string{"https://a.example"}})},
		{"headers", Secure(SecureOptions{})},
	} {
		a := app.New(app.Options{Log: slog.New(slog.DiscardHandler), TrustedProxies: []netip.Prefix{local}})
		a.Use(c.mw)
		a.Get("/", func(c *app.Context) error { return c.NoContent(204) })
		s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
		require.NoError(t, err)
		conn, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		noContent := []byte("HTTP/1.1 204")
		request := []byte("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Key: k\r\n\r\n")
		answer := make([]byte, 8<<10)
		once := func() {
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], noContent) {
				t.Fatalf("%s: %q %v", c.why, answer[:n], err)
			}
		}
		for range 100 {
			once()
		}
		require.Less(t, testing.AllocsPerRun(1000, once), 0.5, c.why)
		require.NoError(t, conn.Close())
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		require.NoError(t, s.Stop(ctx))
		cancel()
		a.Close()
	}
}
