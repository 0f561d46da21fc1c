package app

import (
	"bufio"
	"io"

	"net/http"

	"testing"

	"github.com/stretchr/testify/require"
)

// Hijack sends what a mounted handler wrote before it, as in net/http.
func TestMountHijackAfterWriteHeader(t *testing.T) {
	for _, c := range []struct {
		why    string
		before func(w http.ResponseWriter)
		want   string
	}{
		{"the head of a switch", func(w http.ResponseWriter) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
			w.Header().Set("X-Late", "not sent")
		}, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"},
		{"a handler that writes its own head", func(http.ResponseWriter) {}, "hello"},
		{"a head and a beginning", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "say ") }, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsay hello"},
	} {
		t.Run(c.why, func(t *testing.T) {
			a := New(Options{Log: quiet})
			a.Get("/", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c.before(w)
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					panic(err)
				}
				_, _ = io.WriteString(conn, "hello")
				_ = conn.Close()
			})))
			client := dial(t, serve(t, a, 1))
			_, err := io.WriteString(client, "GET /"+get)
			require.NoError(t, err)
			all, err := io.ReadAll(client)
			require.NoError(t, err)
			require.Equal(t, c.want, string(all))
		})
	}
}

// A connection that a mounted handler has taken does not count towards MountMax, whether its handler goes on or not.
func TestMountHijackGivesItsPlaceBack(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	a := New(Options{Log: quiet, MountMax: 1})
	a.Get("/", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Upgrade", "x")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "hello")
		<-over
	})))
	s := serve(t, a, 1)
	for range 5 {
		c := dial(t, s)
		_, err := io.WriteString(c, "GET /"+get)
		require.NoError(t, err)
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode)
		hello := make([]byte, 5)
		_, err = io.ReadFull(in, hello)
		require.NoError(t, err)
		require.Equal(t, "hello", string(hello))
	}
}
