//go:build !race

package httpparse

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Finding, parsing, decoding and serializing allocate nothing once the arrays have grown.
func TestNoAllocations(t *testing.T) {
	lim := DefaultLimits()
	response := []byte("HTTP/1.1 200 OK\r\nContent-Length: 27\r\nConnection: keep-alive\r\n\r\n")
	address := []byte("GET / HTTP/1.1\r\nHost: [2001:db8:1234:5678:9abc:def0:1234:5678]:8080\r\n\r\n")
	query := []byte("a=1&b=2")
	chunked := []byte("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
	var (
		r     Request
		resp  Response
		d     Body
		dates DateCache
		out   = make([]byte, 0, 1024)
		n     int
	)
	tests := []struct {
		why string
		do  func() error
	}{
		{"a short head", func() error { return r.Parse(shortHead, &lim) }},
		{"a browser's head", func() error { return r.Parse(browserHead, &lim) }},
		{"two kilobytes of cookies", func() error { return r.Parse(cookieHead, &lim) }},
		{"an address for a host", func() error { return r.Parse(address, &lim) }},
		{"default limits", func() error { return r.Parse(shortHead, nil) }},
		{"finding the end", func() error { _, _, _, err := FindHead(browserHead, 0, &lim); return err }},
		{"needing more", func() error { _, _, _, err := FindHead(browserHead[:300], 100, &lim); return err }},
		{"looking a header up", func() error {
			n += len(r.Header("Host"))
			for v := range r.Values("Cookie") {
				n += len(v)
			}
			return nil
		}},
		{"walking a query", func() error {
			for k, v := range Query(query) {
				n += len(k) + len(v)
			}
			return nil
		}},
		{"a response", func() error { return resp.Parse(response, "GET", &lim) }},
		{"a chunked body with a trailer", func() error {
			d.BeginRequest(chunkedRequest, &lim)
			_, _, err := d.Decode(out[:0], chunked)
			return err
		}},
		{"a response head", func() error {
			b := AppendDate(AppendStatusLine(out[:0], 200), dates.At(int64(n)))
			b = AppendContentLength(b, 13)
			_, err := AppendHeader(b, "Content-Type", "text/plain")
			return err
		}},
		{"a request line", func() error { _, err := AppendRequestLine(out[:0], r.Method, "/"); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			require.NoError(t, tt.do())
			require.Zero(t, testing.AllocsPerRun(100, func() {
				if err := tt.do(); err != nil {
					t.Error(err)
				}
			}))
		})
	}
	t.Run("a refusal", func(t *testing.T) {
		bad := []byte("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
		require.Error(t, r.Parse(bad, &lim))
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if r.Parse(bad, &lim) == nil {
				t.Error("accepted")
			}
		}))
	})
}
