package config_test

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

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/app/middleware"
	"tafe/app/proxy"
)

const soon = 20 * time.Second

// serving is a server of a, on one loop: what blocks it would block the client's next piece.
func serving(t *testing.T, a *app.App) string {
	t.Helper()
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
	})
	return s.Addr().String()
}

func quietApp() *app.App {
	return app.New(app.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// decoders return readers of a coded body. They are made when the first piece has arrived, because some read ahead.
var decoders = map[string]func(io.Reader) (io.Reader, error){
	"identity": func(r io.Reader) (io.Reader, error) { return r, nil },
	"gzip":     func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"br":       func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
	"zstd":     func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) },
}

// requirePieces requires that every piece of a response arrives before the next one is written: the server waits for next.
func requirePieces(t *testing.T, addr, path, coding string, next chan<- string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(soon))
	_, err = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: "+coding+"\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err, "the head comes before the first piece")
	require.Equal(t, strings.TrimPrefix(coding, "identity"), resp.Header.Get("Content-Encoding"))
	var body io.Reader
	for _, piece := range []string{"one\n", "two\n", strings.Repeat("x", 40<<10) + "\n", "three\n"} {
		next <- piece
		if body == nil {
			body, err = decoders[coding](resp.Body)
			require.NoError(t, err)
		}
		got := make([]byte, len(piece))
		_, err = io.ReadFull(body, got)
		require.NoError(t, err)
		require.Equal(t, piece, string(got))
	}
	close(next)
	rest, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Empty(t, rest)
}

func TestPiecesDoNotWait(t *testing.T) {
	t.Parallel()
	for coding := range decoders {
		for _, source := range []string{"a handler that waits", "a handler that blocks", "an upstream", "an upstream with a length"} {
			t.Run(source+" "+coding, func(t *testing.T) {
				t.Parallel()
				next := make(chan string)
				a := quietApp()
				a.Use(middleware.Compress(middleware.CompressOptions{}))
				switch source {
				case "a handler that waits":
					a.Get("/", func(c *app.Context) error {
						out := c.Stream(200, "application/x-ndjson")
						err := out.Begin()
						for err == nil {
							select {
							case piece, more := <-next:
								if !more {
									return nil
								}
								_, err = io.WriteString(out, piece)
							default:
								err = c.Sleep(time.Millisecond)
							}
						}
						return err
					})
				case "a handler that blocks":
					a.Get("/", func(c *app.Context) error {
						out := c.Stream(200, "text/plain")
						if err := out.Flush(); err != nil {
							return err
						}
						for piece := range next {
							if _, err := io.WriteString(out, piece); err != nil {
								return err
							}
						}
						return nil
					})
				default:
					g, err := proxy.NewGroup(proxy.GroupOptions{Servers: []proxy.ServerOptions{{Addr: pieces(t, strings.Contains(source, "length"), next)}}})
					require.NoError(t, err)
					t.Cleanup(func() { _ = g.Close() })
					h, err := proxy.New(g, proxy.Options{})
					require.NoError(t, err)
					a.Get("/", h.Serve)
				}
				requirePieces(t, serving(t, a), "/", coding, next)
			})
		}
	}
}

// pieces is an upstream that answers with the values of next, each as a piece.
func pieces(t *testing.T, length bool, next <-chan string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		if _, err = http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		head := "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
		if length {
			head += "Content-Length: 40975\r\n"
		}
		_, _ = io.WriteString(c, head+"\r\n")
		for piece := range next {
			_, _ = io.WriteString(c, piece)
		}
	}()
	return ln.Addr().String()
}

// Every middleware's callback is called, the innermost first.
func TestWhenDoneOfSeveral(t *testing.T) {
	t.Parallel()
	done := make(chan string, 4)
	note := func(name string) app.Middleware {
		return func(next app.Handler) app.Handler {
			return func(c *app.Context) error {
				c.WhenDone(func(e *app.Entry) { done <- name + e.Method })
				return next(c)
			}
		}
	}
	a := quietApp()
	a.Use(note("outer "), note("inner "))
	a.Get("/", func(c *app.Context) error { return c.String(200, "ok") })
	addr := serving(t, a)
	for range 2 {
		resp, err := http.Get("http://" + addr)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, "inner GET", <-done)
		require.Equal(t, "outer GET", <-done)
		require.Empty(t, done, "a recycled Context calls no callback of the last request")
	}
	http.DefaultClient.CloseIdleConnections()
}
