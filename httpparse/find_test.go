package httpparse

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFindHead(t *testing.T) {
	tests := []struct {
		why       string
		input     string
		skip, end int
	}{
		{"nothing yet", "", 0, 0},
		{"a method that is still coming", "GE", 0, 0},
		{"a request line", "GET / HTTP/1.1\r\n", 0, 0},
		{"all but the last byte", "GET / HTTP/1.1\r\nHost: a\r\n\r", 0, 0},
		{"a whole head", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 27},
		{"a head without fields", "GET / HTTP/1.0\r\n\r\n", 0, 18},
		{"a head and its body", "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", 0, 27},
		{"a body with an empty line", "GET / HTTP/1.0\r\n\r\n\r\n\r\n", 0, 18},
		{"a CR whose LF is on the way", "\r", 0, 0},
		{"an empty line before", "\r\nGET / HTTP/1.0\r\n\r\n", 2, 20},
		{"an empty line and half of the next", "\r\n\r", 0, 0},
		{"as many empty lines as are tolerated", "\r\n\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n", 8, 26},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			skip, end, resume, err := FindHead([]byte(tt.input), 0, nil)
			require.NoError(t, err)
			assert.Equal(t, tt.end, end)
			if end > 0 {
				assert.Equal(t, tt.skip, skip)
			}
			assert.LessOrEqual(t, resume, len(tt.input))
			assertStepwise(t, tt.input, tt.skip, tt.end)
		})
	}
}

// assertStepwise feeds input byte by byte and expects the same result at the byte that completes the head.
func assertStepwise(t *testing.T, input string, wantSkip, wantEnd int) {
	t.Helper()
	from := 0
	for n := range len(input) + 1 {
		skip, end, resume, err := FindHead([]byte(input[:n]), from, nil)
		require.NoError(t, err, "after %d bytes", n)
		if end > 0 {
			assert.Equal(t, wantEnd, end)
			assert.Equal(t, wantEnd, n, "found as soon as it is there")
			assert.Equal(t, wantSkip, skip)
			return
		}
		from = resume
	}
	assert.Zero(t, wantEnd, "never found")
}

// FindHead accepts a complete head that it would have rejected while incomplete; Parse validates it.
func TestFindHeadLeavesCompleteHeadsToParse(t *testing.T) {
	head := []byte("GET / HTTP/1.0\r\nA: \x00\r\n\r\n")
	_, end, _, err := FindHead(head, 0, nil)
	require.NoError(t, err)
	assert.Equal(t, len(head), end)
	_, _, _, err = FindHead(head[:len(head)-1], 0, nil)
	requireRefusal(t, err, 400, "control-byte")
	var r Request
	requireRefusal(t, r.Parse(head, nil), 400, "control-byte")
}

// A complete request line is validated at once, because an HTTP/0.9 client sends nothing after it.
func TestFindHeadJudgesTheRequestLine(t *testing.T) {
	for _, tt := range []struct{ line, slug string }{
		{"GET /\r\n", "missing-version"},
		{"\r\nGET /\r\n", "missing-version"},
		{"GET / \r\n", "bad-version"},
		{"GET / HTTP/1\r\n", "bad-version"},
		{"GET / HTTP/2.0\r\n", "unsupported-version"},
		{"GET  / HTTP/1.1\r\n", "bad-target"},
	} {
		_, _, _, err := FindHead([]byte(tt.line), 0, nil)
		requireRefusal(t, err, err.(*Error).Status, tt.slug)
		from := 0
		for n := range len(tt.line) + 1 {
			if _, _, from, err = FindHead([]byte(tt.line[:n]), from, nil); n < len(tt.line) {
				require.NoError(t, err, "%q", tt.line[:n])
			}
		}
		requireRefusal(t, err, err.(*Error).Status, tt.slug)
	}
}

func TestFindHeadRefusesEarly(t *testing.T) {
	long := strings.Repeat("a", 9000)
	tests := []struct {
		why    string
		input  string
		status int
		slug   string
	}{
		{"the first byte of a TLS handshake", "\x16", 400, "tls-hello"},
		{"a TLS handshake", "\x16\x03\x01\x02\x00\x01", 400, "tls-hello"},
		{"bytes that look like one", "\x16\x04", 400, "bad-method"},
		{"SSH sends its version first, with no space where we have one", "SSH-2.0-OpenSSH_9\r\n", 400, "bad-method"},
		{"a SOCKS greeting", "\x05\x01\x00", 400, "bad-method"},
		{"the PROXY protocol, version 2", "\r\n\r\n\x00\r\nQUIT\n", 400, "bad-method"},
		{"a bracket in the method", "GE[", 400, "bad-method"},
		{"a method without end", strings.Repeat("A", 33), 501, "long-method"},
		{"a leading LF", "\nGET", 400, "bare-lf"},
		{"a leading CR without its LF", "\rG", 400, "bare-cr"},
		{"one empty line too many", "\r\n\r\n\r\n\r\n\r\n", 400, "empty-lines"},
		{"a bare LF", "GET / HTTP/1.1\n", 400, "bare-lf"},
		{"a bare LF at the end of a field", "GET / HTTP/1.1\r\nHost: a\n", 400, "bare-lf"},
		{"LF LF", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare-lf"},
		{"a bare CR", "GET / HTTP/1.1\r\nHost: a\rb", 400, "bare-cr"},
		{"NUL", "GET / HTTP/1.1\r\nHost: \x00", 400, "control-byte"},
		{"DEL", "GET /\x7f", 400, "control-byte"},
		{"a target that does not end", "GET /" + long, 414, "target-too-long"},
		{"fields that do not end", "GET / HTTP/1.1\r\n" + strings.Repeat("A: "+long+"\r\n", 4), 431, "head-too-large"},
		{"a value that does not end", "GET / HTTP/1.1\r\nA: " + strings.Repeat(long, 4), 431, "head-too-large"},
		{"an end beyond HeadBytesMax comes too late", "GET / HTTP/1.1\r\nA: " + strings.Repeat(long, 4) + "\r\n\r\n", 431, "head-too-large"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			skip, end, resume, err := FindHead([]byte(tt.input), 0, nil)
			requireRefusal(t, err, tt.status, tt.slug)
			assert.Zero(t, skip+end+resume, "an error leaves nothing to go on with")
			from := 0
			for n := 1; ; n++ {
				require.LessOrEqual(t, n, len(tt.input), "byte by byte it is never refused")
				if _, end, from, err = FindHead([]byte(tt.input[:n]), from, nil); err != nil {
					var refusal *Error
					require.ErrorAs(t, err, &refusal)
					assert.NotZero(t, refusal.Status)
					break
				}
				require.Zero(t, end)
			}
		})
	}
}

// A head of exactly HeadBytesMax is found, and one that is a byte larger is rejected, as a whole and in two parts.
func TestFindHeadAtTheBound(t *testing.T) {
	head := []byte(get(""))
	for _, split := range []int{0, 1, len(head) - 4, len(head) - 1} {
		lim := DefaultLimits()
		lim.HeadBytesMax = len(head)
		from := 0
		if split > 0 {
			_, end, resume, err := FindHead(head[:split], 0, &lim)
			require.NoError(t, err)
			require.Zero(t, end)
			from = resume
		}
		_, end, _, err := FindHead(head, from, &lim)
		require.NoError(t, err)
		assert.Equal(t, len(head), end)

		lim.HeadBytesMax--
		_, _, _, err = FindHead(head, min(from, lim.HeadBytesMax), &lim)
		requireRefusal(t, err, 431, "head-too-large")
	}
}

func TestFindResponseHead(t *testing.T) {
	tests := []struct {
		why   string
		input string
		end   int
		slug  string
	}{
		{"nothing yet", "", 0, ""},
		{"a version that is still coming", "HTT", 0, ""},
		{"a status line", "HTTP/1.1 200 OK\r\n", 0, ""},
		{"a whole head", "HTTP/1.1 200 OK\r\n\r\nbody", 19, ""},
		{"an upstream that speaks TLS", "\x15\x03\x03", 0, "bad-status-line"},
		{"an upstream that speaks HTTP/2", "HTTP/2.0 200\r\n", 0, "bad-status-line"},
		{"an HTTP/0.9 answer", "<html>", 0, "bad-status-line"},
		{"an empty line before is none of ours", "\r\nHTTP/1.1 200 OK\r\n\r\n", 0, "bad-status-line"},
		{"a bare LF", "HTTP/1.1 200 OK\nA: b\n\n", 0, "bare-lf"},
		{"NUL in what is not yet a head", "HTTP/1.1 200 OK\r\nA: \x00", 0, "control-byte"},
		{"a bare CR in what is not yet a head", "HTTP/1.1 200 OK\r\nA: \rb", 0, "bare-cr"},
		{"a head without end", "HTTP/1.1 200 " + strings.Repeat("a", 32<<10), 0, "head-too-large"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			skip, end, _, err := FindResponseHead([]byte(tt.input), 0, nil)
			if tt.slug != "" {
				requireRefusal(t, err, 502, tt.slug)
				return
			}
			require.NoError(t, err)
			assert.Zero(t, skip)
			assert.Equal(t, tt.end, end)
		})
	}
}
