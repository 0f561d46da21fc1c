package app

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// drip sends a byte now and then until the server does not take it any more, or n are sent.
func drip(w io.Writer, n int) {
	for range n {
		if _, err := io.WriteString(w, "x"); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // the rate of the client
	}
}

func TestBodyRateMin(t *testing.T) {
	read := func(c *Context) error {
		b, err := io.ReadAll(c.BodyReader())
		if err != nil {
			return err
		}
		return c.String(200, itoa(len(b)))
	}
	for _, tt := range []struct {
		why     string
		head    string
		rate    int
		handler Handler
		options []RouteOption
		begin   string // of the body
		drips   int
		status  int
	}{
		{"a body that drips", "Content-Length: 100000\r\n", 1000, read, nil, "", 100_000, 408},
		{"in chunks, too", "Transfer-Encoding: chunked\r\n", 1000, read, nil, "ffff\r\n", 60_000, 408},
		{"for a whole body", "Content-Length: 100000\r\n", 1000, func(c *Context) error { _, err := c.Body(); return err }, nil, "", 100_000, 408},
		{"for a mounted handler", "Content-Length: 100000\r\n", 1000, Mount(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
		})), nil, "", 100_000, 0},
		{"when the handler does not read it", "Content-Length: 60000\r\n", 1000, func(c *Context) error { return c.String(200, "") }, nil, "", 60_000, 200},
		{"at the rate", "Content-Length: 20\r\n", 10, read, nil, "", 20, 200},
		{"at any rate where clients stream", "Content-Length: 20\r\n", 1 << 40, read, []RouteOption{SlowBody()}, "", 20, 200},
		{"at any rate", "Content-Length: 20\r\n", -1, read, nil, "", 20, 200},
		{"a handler that is late itself", "Content-Length: 20000\r\n", 1000, func(c *Context) error {
			if err := c.Sleep(100 * time.Millisecond); err != nil {
				return err
			}
			return read(c)
		}, nil, strings.Repeat("x", 20_000), 0, 200},
	} {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			a := New(Options{Log: quiet, BodyRateMin: tt.rate, BodyRateGrace: 50 * time.Millisecond})
			a.Post("/", tt.handler, tt.options...)
			c := dial(t, serve(t, a, 1))
			_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+tt.head+"\r\n"+tt.begin)
			require.NoError(t, err)
			go drip(c, tt.drips)
			in := bufio.NewReader(c)
			if tt.status != 0 {
				resp, err := http.ReadResponse(in, nil)
				require.NoError(t, err)
				_, _ = io.Copy(io.Discard, resp.Body)
				require.Equal(t, tt.status, resp.StatusCode)
			}
			if tt.drips > 20 {
				_, err = io.Copy(io.Discard, in)
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is closed")
			}
		})
	}
}
