package httpparse

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRefusedResponses(t *testing.T) {
	tests := []struct {
		why  string
		head string
		slug string
	}{
		{"nothing", "", "bad-version"},
		{"no status", "HTTP/1.1\r\n\r\n", "bad-status-line"},
		{"an empty status", "HTTP/1.1 \r\n\r\n", "bad-status-line"},
		{"two digits", "HTTP/1.1 20 OK\r\n\r\n", "bad-status-line"},
		{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", "bad-status-line"},
		{"a status below 100", "HTTP/1.1 099 OK\r\n\r\n", "bad-status-line"},
		{"a status of letters", "HTTP/1.1 2x0 OK\r\n\r\n", "bad-status-line"},
		{"a sign", "HTTP/1.1 +20 OK\r\n\r\n", "bad-status-line"},
		{"two spaces before the status", "HTTP/1.1  200 OK\r\n\r\n", "bad-status-line"},
		{"a tab before the status", "HTTP/1.1\t200 OK\r\n\r\n", "bad-status-line"},
		{"a colon after the status", "HTTP/1.1 200:OK\r\n\r\n", "bad-status-line"},
		{"another protocol", "ICY 200 OK\r\n\r\n", "bad-version"},
		{"another version", "HTTP/3.0 200 OK\r\n\r\n", "unsupported-version"},
		{"NUL in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n", "control-byte"},
		{"CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", "bare-cr"},
		{"LF after the reason", "HTTP/1.1 200 OK\n\r\n", "bare-lf"},
		{"no end", "HTTP/1.1 200 OK\r\nA: b\r\n", "incomplete-head"},
		{"no end of the status line", "HTTP/1.1 200 OK", "incomplete-head"},
		{"more than a head", "HTTP/1.1 200 OK\r\n\r\nx", "head-overrun"},
		{"a fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "obs-fold"},
		{"whitespace before the colon of two lengths", "HTTP/1.1 200 OK\r\nContent-Length : 1\r\nContent-Length\t: 2\r\n\r\n", "duplicate-content-length"},
		{"whitespace within a field name", "HTTP/1.1 200 OK\r\nA B: b\r\n\r\n", "bad-header-name"},
		{"whitespace in place of a field name", "HTTP/1.1 200 OK\r\nA: b\r\n : b\r\n\r\n", "obs-fold"},
		{"two lengths that agree", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "duplicate-content-length"},
		{"a length beyond BodyBytesMax", "HTTP/1.1 200 OK\r\nContent-Length: 10485761\r\n\r\n", "body-too-large"},
		{"101 without an upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "bad-switch"},
		{"101 with half of one", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "bad-switch"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			var r Response
			requireRefusal(t, r.Parse([]byte(tt.head), "GET", nil), 502, tt.slug)
			assert.Zero(t, r.Status, "a refused response is empty")
			assert.Empty(t, r.Headers)
		})
	}
}

func TestAcceptedResponses(t *testing.T) {
	tests := []struct {
		why    string
		head   string
		method string
		want   Response
	}{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET",
			Response{Minor: 1, Status: 200, Reason: []byte("OK"), KeepAlive: true, Framing: FramingLength, ContentLength: 5}},
		{"no length ends with the connection", "HTTP/1.1 200 OK\r\n\r\n", "GET",
			Response{Minor: 1, Status: 200, Reason: []byte("OK"), ContentLength: -1, Framing: FramingClose}},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET",
			Response{Minor: 1, Status: 200, Reason: []byte("OK"), KeepAlive: true, ContentLength: -1, Framing: FramingChunked}},
		{"close", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", "GET",
			Response{Minor: 1, Status: 200, Reason: []byte("OK"), Framing: FramingLength, ContentLength: 5}},
		{"HTTP/1.0 closes", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "GET",
			Response{Status: 200, Reason: []byte("OK"), Framing: FramingLength, ContentLength: 5}},
		{"HTTP/1.0 that stays", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", "GET",
			Response{Status: 200, Reason: []byte("OK"), KeepAlive: true}},
		{"HEAD describes a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD",
			Response{Minor: 1, Status: 200, Reason: []byte("OK"), KeepAlive: true, ContentLength: 5}},
		{"HEAD of something huge", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n", "HEAD",
			Response{Minor: 1, Status: 200, Reason: []byte("OK"), KeepAlive: true, ContentLength: math.MaxInt64}},
		{"304", "HTTP/1.1 304 Not Modified\r\n\r\n", "GET",
			Response{Minor: 1, Status: 304, Reason: []byte("Not Modified"), KeepAlive: true, ContentLength: -1}},
		{"204 with a body is not to be trusted", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "GET",
			Response{Minor: 1, Status: 204, Reason: []byte("No Content"), ContentLength: 5}},
		{"100 Continue", "HTTP/1.1 100 Continue\r\n\r\n", "POST",
			Response{Minor: 1, Status: 100, Reason: []byte("Continue"), KeepAlive: true, ContentLength: -1}},
		{"101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET",
			Response{Minor: 1, Status: 101, Reason: []byte("Switching Protocols"), ContentLength: -1, Upgrade: true}},
		{"a tunnel ignores its length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "CONNECT",
			Response{Minor: 1, Status: 200, Reason: []byte("OK"), ContentLength: -1}},
		{"no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "GET",
			Response{Minor: 1, Status: 200, Reason: []byte{}, KeepAlive: true}},
		{"no reason and no space, as many send it", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET",
			Response{Minor: 1, Status: 200, Reason: []byte{}, KeepAlive: true}},
		{"a reason in Latin-1", "HTTP/1.1 404 pas trouv\xe9\r\nContent-Length: 0\r\n\r\n", "GET",
			Response{Minor: 1, Status: 404, Reason: []byte("pas trouv\xe9"), KeepAlive: true}},
		{"a status of its own", "HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n", "GET",
			Response{Minor: 1, Status: 999, Reason: []byte("Denied"), KeepAlive: true}},
		{"Host and Expect mean nothing here", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nHost: /\r\nHost: /\r\nExpect: x\r\n\r\n", "GET",
			Response{Minor: 1, Status: 200, Reason: []byte("OK"), KeepAlive: true}},
	}
	var r Response
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			require.NoError(t, r.Parse([]byte(tt.head), tt.method, nil))
			got := r
			got.Headers = nil
			assert.Equal(t, tt.want, got)
		})
	}
}

// Whitespace before a colon is removed (RFC 9112 section 5.1), and the field is then interpreted.
func TestResponseMended(t *testing.T) {
	var r Response
	require.NoError(t, r.Parse([]byte("HTTP/1.1 200 OK\r\nX-A : 1\r\nX-B \t:2\r\nX-C : \r\nTransfer-Encoding : chunked\r\n\r\n"), "GET", nil))
	require.Equal(t, "1", string(r.Header("X-A")))
	require.Equal(t, "2", string(r.Header("X-B")))
	require.Equal(t, []byte{}, r.Header("X-C"))
	require.Equal(t, FramingChunked, r.Framing)
}

func TestResponseHeaders(t *testing.T) {
	var r Response
	require.NoError(t, r.Parse([]byte("HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 0\r\na:\r\n\r\n"), "GET", nil))
	assert.Len(t, r.Headers, 3)
	assert.Equal(t, "1", string(r.Header("a")))
	assert.Nil(t, r.Header("b"))
	var all []string
	for v := range r.Values("A") {
		all = append(all, string(v))
	}
	assert.Equal(t, []string{"1", ""}, all)

	lim := DefaultLimits()
	lim.HeaderCountMax = 1
	requireRefusal(t, r.Parse([]byte("HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n"), "GET", &lim), 502, "too-many-headers")
	lim.HeadBytesMax = 10
	requireRefusal(t, r.Parse([]byte("HTTP/1.1 200 OK\r\n\r\n"), "GET", &lim), 502, "head-too-large")
}
