package client

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/httpparse"
)

// canned is a connection whose peer sends fixed bytes, n at a time, and then closes.
type canned struct {
	net.Conn
	bytes []byte
	n     int
}

func (c *canned) Read(p []byte) (int, error) {
	if len(c.bytes) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.n)], c.bytes)
	c.bytes = c.bytes[n:]
	return n, nil
}

func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

type reading struct {
	status int
	body   string
	kind   Kind
	stage  Stage
}

// readCanned sends a request with method and reads the response in pieces of n bytes.
func readCanned(t *testing.T, wire []byte, method string, n int) (r reading) {
	c := New(Options{Dial: func(context.Context, string, string) (net.Conn, error) {
		return &canned{bytes: bytes.Clone(wire), n: n}, nil
	}})
	defer c.Close()
	var resp Response
	err := c.Do(nil, nil, &Request{Method: method, URL: "http://example.com/", Upgrade: "x"}, &resp)
	if err == nil {
		var b []byte
		b, err = resp.ReadAll(1 << 20)
		r.status, r.body = resp.Status, string(b)
		resp.Close()
	}
	if err != nil {
		e, ok := err.(*Error)
		require.True(t, ok, "%T", err)
		r.kind, r.stage = e.Kind, e.Stage
	}
	require.Zero(t, c.Stats().Open)
	return r
}

// For any response and any split of it: no panic, no leak and the same result. net/http must read an accepted
// response the same way.
func FuzzResponse(f *testing.F) {
	for _, tt := range goodResponses {
		if len(tt.wire) < 1000 {
			f.Add([]byte(tt.wire), tt.method == "HEAD")
		}
	}
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw"), false)
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"), false)
	f.Add([]byte(chunkedOf("5\r\nhello")), false)
	f.Fuzz(func(t *testing.T, wire []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		whole := readCanned(t, wire, method, 1<<20)
		require.Equal(t, whole, readCanned(t, wire, method, 1), "byte by byte")
		require.Equal(t, whole, readCanned(t, wire, method, 7))
		// Framing fields are ignored in responses without a body; net/http rejects some of them.
		if whole.kind == 0 && !head && httpparse.BodyAllowed(whole.status) {
			status, body, err := theirReading(wire, method)
			require.NoError(t, err, "net/http refuses it")
			require.Equal(t, whole.status, status)
			require.Equal(t, whole.body, body)
		}
	})
}

func theirReading(wire []byte, method string) (status int, body string, err error) {
	r := bufio.NewReader(bytes.NewReader(wire))
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return 0, "", err
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 200 {
			return resp.StatusCode, string(b), err
		}
	}
}
