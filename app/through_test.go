package app

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Large answers, whole and in pieces that are written through, arrive as they were, for every framing and every client, among
// the answers pipelined around them; and their memory may be used anew at once.
func TestWriteThrough(t *testing.T) {
	want := []byte(strings.Repeat("0123456789abcdef", 300<<10/16))
	a := New(Options{Log: quiet})
	scrap := func(n int) []byte { return bytes.Clone(want[:n]) }
	a.Get("/whole", func(c *Context) error {
		b := scrap(len(want))
		err := c.Bytes(200, "", b)
		clear(b)
		return err
	})
	pieces := func(c *Context) error {
		s := c.Stream(200, "")
		for at, n := 0, 10; at < len(want); at, n = at+n, n*7 {
			n = min(n, len(want)-at)
			b := bytes.Clone(want[at : at+n])
			if k, err := s.WriteThrough(b); err != nil || k != n {
				return errors.Join(err, errors.New("written: "+strconv.Itoa(k)))
			}
			clear(b)
		}
		return nil
	}
	a.Get("/chunks", pieces)
	a.Get("/length", func(c *Context) error {
		c.SetHeader("Content-Length", strconv.Itoa(len(want)))
		return pieces(c)
	})
	beyond := make(chan error, 1)
	a.Get("/beyond", func(c *Context) error {
		c.SetHeader("Content-Length", "40000")
		_, err := c.Stream(200, "").WriteThrough(scrap(100_000))
		beyond <- err
		return err
	})
	a.Get("/plaintext", func(c *Context) error { return c.String(200, hello) })
	s := serve(t, a, 1)

	conn := dial(t, s)
	var requests string
	targets := []string{"/whole", "/chunks", "/length"}
	for _, target := range targets {
		requests += "GET /plaintext" + get + "HEAD " + target + get + "GET " + target + get
	}
	_, err := io.WriteString(conn, requests)
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	for _, target := range targets {
		answered(t, r, 200, func(string) string { return hello }, "before "+target)
		resp, err := http.ReadResponse(r, &http.Request{Method: "HEAD"})
		require.NoError(t, err)
		if target != "/chunks" {
			require.EqualValues(t, len(want), resp.ContentLength, target)
		}
		answered(t, r, 200, func(string) string { return string(want) }, target)
	}

	conn = dial(t, s)
	_, err = io.WriteString(conn, "GET /chunks HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	_, body, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	require.True(t, bytes.Equal(want, body), "framed by the connection's end: %d bytes", len(body))

	conn = dial(t, s)
	_, err = io.WriteString(conn, "GET /beyond"+get)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
	}
	require.Error(t, err, "more than was announced is not sent, and the connection broken off")
	require.ErrorIs(t, <-beyond, ErrContentLength)
}
