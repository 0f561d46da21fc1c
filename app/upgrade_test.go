package app

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A handler may take the connection over, whatever was sent behind the request already.
func TestHijack(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/std", Mount(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) || r.Context().Err() != nil {
			panic(err)
		}
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	})))
	a.Get("/own", func(c *Context) error {
		conn, err := c.Hijack()
		if err != nil {
			return err
		}
		if _, err := conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")); err != nil {
			return err
		}
		go func() { // beyond the request
			defer func() { _ = conn.Close() }()
			_, _ = io.Copy(conn, conn)
		}()
		return nil
	})
	a.Get("/panic", func(c *Context) error {
		if _, err := c.Hijack(); err != nil {
			return err
		}
		panic("boom")
	})
	s := serve(t, a, 2)
	for _, path := range []string{"/std", "/own"} {
		conn := dial(t, s)
		_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
		require.NoError(t, err)
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode)
		_, err = io.WriteString(conn, "and late")
		require.NoError(t, err)
		got := make([]byte, len("early and late"))
		_, err = io.ReadFull(r, got)
		require.NoError(t, err)
		require.Equal(t, "early and late", string(got))
		counted(t, s, func(now Stats) bool { return now.Active == 0 && now.Conns == 0 })
		require.Equal(t, 1, s.Engine().Conns(), "it keeps its place")
		require.NoError(t, conn.Close())
		require.Eventually(t, func() bool { return s.Engine().Conns() == 0 }, patience, time.Millisecond)
	}
	conn := dial(t, s)
	_, err := io.WriteString(conn, "GET /panic"+get)
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "a panic closes the connection")
	requireReason(t, s, "panic", 1)

	idle := dial(t, s)
	_, err = io.WriteString(idle, "GET /own"+get)
	require.NoError(t, err)
	_, err = http.ReadResponse(bufio.NewReader(idle), nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Drain(ctx), "does not wait for it")
	_, err = idle.Read(make([]byte, 1))
	require.Error(t, err, "and ends it")
}

// A request that comes by net/http has no connection to take.
// A drain leaves taken connections and their handlers alone until its time is over.
func TestDrainAndTakenConnections(t *testing.T) {
	for _, tt := range []struct {
		why   string
		after func(conn net.Conn) // what the handler does once it has taken the connection; nil: it returns, and the connection is served beside it
		ends  bool                // the client ends the connection while the server drains
	}{
		{"the handler has returned, and the client ends", nil, true},
		{"the handler has returned, and the drain's time is over", nil, false},
		{"the handler runs, and the client ends", func(conn net.Conn) { _, _ = io.Copy(conn, conn) }, true},
		{"the handler runs, and the drain's time is over", func(conn net.Conn) { _, _ = io.Copy(conn, conn) }, false},
	} {
		t.Run(tt.why, func(t *testing.T) {
			a := demo(Options{})
			a.Get("/take", func(c *Context) error {
				conn, err := c.Hijack()
				if err != nil {
					return err
				}
				serve := func() {
					defer func() { _ = conn.Close() }()
					_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
					if tt.after != nil {
						tt.after(conn)
						return
					}
					_, _ = io.Copy(conn, conn)
				}
				if tt.after != nil {
					serve()
					return nil
				}
				go serve()
				return nil
			})
			s := serve(t, a, 1)
			conn := dial(t, s)
			_, err := io.WriteString(conn, "GET /take"+get)
			require.NoError(t, err)
			r := bufio.NewReader(conn)
			_, err = http.ReadResponse(r, nil)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			drained := make(chan error, 1)
			go func() { drained <- s.Drain(ctx) }()
			counted(t, s, func(now Stats) bool { return now.Draining == 1 })
			for range 3 {
				_, err = io.WriteString(conn, "still\n")
				require.NoError(t, err)
				line, err := r.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, "still\n", line)
			}
			select {
			case err := <-drained:
				t.Fatalf("the drain has ended: %v", err)
			default:
			}
			if tt.ends {
				require.NoError(t, conn.Close())
			} else {
				cancel()
				_, err = r.ReadByte()
				require.ErrorIs(t, err, io.EOF, "the end of the stream, and no reset")
			}
			require.NoError(t, <-drained)
		})
	}
}

func TestHijackUnderNetHTTP(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/", func(c *Context) error {
		_, err := c.Hijack()
		require.ErrorIs(nil2t, err, errors.ErrUnsupported)
		return c.String(200, hello)
	})
	a.Get("/std", Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
			panic("hijacked")
		}
		_, _ = io.WriteString(w, hello)
	})))
	for _, path := range []string{"/", "/std"} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		require.Equal(t, hello, w.Body.String(), path)
	}
}
