package app

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A handler may allow its client to be silent for longer than BodyTimeout, and to be slower than BodyRateMin.
func TestSetBodyTimeout(t *testing.T) {
	a := New(Options{Log: quiet, BodyTimeout: 30 * time.Millisecond, BodyRateGrace: time.Nanosecond, BodyRateMin: 1 << 20})
	read := func(c *Context) error {
		body, err := c.Body()
		if err != nil {
			return err
		}
		return c.String(200, string(body))
	}
	a.Post("/usual", read)
	a.Post("/stream", func(c *Context) error {
		c.SetBodyTimeout(patience)
		return read(c)
	})
	a.Post("/unread", func(c *Context) error {
		c.SetBodyTimeout(patience)
		return c.NoContent(204)
	})
	s := serve(t, a, 1)
	stream, usual := dial(t, s), dial(t, s)
	const head = " HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst"
	_, err := io.WriteString(stream, "POST /stream"+head)
	require.NoError(t, err)
	_, err = io.WriteString(usual, "POST /usual"+head)
	require.NoError(t, err)
	answer := func(c net.Conn) *http.Response {
		_ = c.SetDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		return resp
	}
	resp := answer(usual)
	require.Equal(t, http.StatusRequestTimeout, resp.StatusCode)
	_, err = io.WriteString(stream, " last")
	require.NoError(t, err)
	resp = answer(stream)
	require.Equal(t, 200, resp.StatusCode)

	unread := dial(t, s)
	_, err = io.WriteString(unread, "POST /unread"+head)
	require.NoError(t, err)
	resp = answer(unread)
	require.Equal(t, 204, resp.StatusCode)
	_, err = unread.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the rest is awaited for BodyTimeout, not for the time of the handler")
}
