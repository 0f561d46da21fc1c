package httpparse

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chunkedRequest is a request with a chunked body.
var chunkedRequest = &Request{Framing: FramingChunked, ContentLength: -1}

// decodeIn decodes a chunked body in pieces of n bytes.
func decodeIn(n int, input []byte, lim *Limits) (out []byte, consumed int, done bool, trailers []string, err error) {
	var d Body
	d.BeginRequest(chunkedRequest, lim)
	out, consumed, trailers, err = decodeWith(&d, n, input)
	return out, consumed, d.Done(), trailers, err
}

func TestChunkedAccepts(t *testing.T) {
	tests := []struct {
		why      string
		body     string
		want     string
		trailers []string
	}{
		{"an empty body", "0\r\n\r\n", "", nil},
		{"a chunk", "5\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"two chunks", "5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", "hello, world", nil},
		{"hexadecimal in both cases", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", nil},
		{"leading zeros", "0005\r\nhello\r\n000\r\n\r\n", "hello", nil},
		{"data that looks like framing", "7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n\r\n", nil},
		{"an extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello", nil},
		{"an extension behind whitespace", "5 \t;a\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"an extension in quotes", "5;a=\"b;c d\\\"\"\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"a trailer", "0\r\nX-Sum: 1 \r\n\r\n", "", []string{"X-Sum=1"}},
		{"an extension between whitespace", "5 ; a \t=\tb ; c\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"an extension with every kind of quoted byte", "5;a=\"\t\x80;\\\x80\\\t\"\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"an empty quoted value", "5;a=\"\"\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"an escaped quote ends nothing", "5;a=\"\\\"\";b\r\nhello\r\n0\r\n\r\n", "hello", nil},
		{"an extension of the last chunk", "0;a=\"b\" ;c\r\n\r\n", "", nil},
		{"a trailer that frames is ignored", "0\r\nContent-Length: 5\r\n\r\n", "", nil},
		{"a trailer that frames is ignored in any case", "0\r\ntransfer-ENCODING: chunked\r\nA: 1\r\n\r\n", "", []string{"A=1"}},
		{"a trailer that routes is ignored", "0\r\nHost: evil\r\n\r\n", "", nil},
		{"a trailer that authenticates is ignored", "0\r\nA: b\r\nAuthorization: x\r\n\r\n", "", []string{"A=b"}},
		{"two trailers", "1\r\nx\r\n0\r\nA: 1\r\nB:\r\n\r\n", "x", []string{"A=1", "B="}},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			input := []byte(tt.body + "NEXT")
			for n := 1; n <= len(input); n++ {
				out, consumed, done, trailers, err := decodeIn(n, input, nil)
				require.NoError(t, err)
				require.True(t, done)
				require.Equal(t, len(tt.body), consumed, "what follows is the next message")
				require.Equal(t, tt.want, string(out), "in pieces of %d", n)
				require.Equal(t, tt.trailers, trailers)
			}
			for n := range len(tt.body) {
				_, _, done, _, err := decodeIn(n+1, input[:n], nil)
				require.NoError(t, err)
				require.False(t, done, "not done after %d bytes", n)
			}
		})
	}
}

func TestChunkedRefuses(t *testing.T) {
	tests := []struct {
		why    string
		body   string
		status int
		slug   string
	}{
		{"no size", "\r\n", 400, "bad-chunk-size"},
		{"an extension without a size", ";a\r\n", 400, "bad-chunk-size"},
		{"a sign", "+5\r\nhello\r\n", 400, "bad-chunk-size"},
		{"a negative size", "-5\r\n", 400, "bad-chunk-size"},
		{"a prefix", "0x5\r\nhello\r\n", 400, "bad-chunk-size"},
		{"a space before", " 5\r\nhello\r\n", 400, "bad-chunk-size"},
		{"a space after", "5 \r\nhello\r\n", 400, "bad-chunk-size"},
		{"a word after", "5 a\r\nhello\r\n", 400, "bad-chunk-size"},
		{"a comma", "5,5\r\nhello\r\n", 400, "bad-chunk-size"},
		{"a size in 64 bits", "8000000000000000\r\n", 400, "bad-chunk-size"},
		{"a size that wraps around to 5", "10000000000000005\r\nhello\r\n", 400, "bad-chunk-size"},
		{"more digits than a size can have", "00000000000000005\r\nhello\r\n", 400, "bad-chunk-size"},
		{"LF alone after the size", "5\nhello\r\n", 400, "bare-lf"},
		{"CR alone after the size", "5\rhello\r\n", 400, "bare-cr"},
		{"LF in an extension", "5;a\nhello\r\n", 400, "bare-lf"},
		{"CR in an extension", "5;a\rb\r\nhello\r\n", 400, "bare-cr"},
		{"NUL in an extension", "5;\x00\r\n", 400, "control-byte"},
		{"data longer than its size", "4\r\nhello\r\n", 400, "bad-chunk-end"},
		{"LF alone after the data", "5\r\nhello\n0\r\n\r\n", 400, "bad-chunk-end"},
		{"CR alone after the data", "5\r\nhello\r0\r\n\r\n", 400, "bad-chunk-end"},
		{"an extension without end", "5;" + strings.Repeat("a", 17<<10), 400, "chunk-overhead"},
		{"whitespace without end", "5" + strings.Repeat(" ", 17<<10), 400, "chunk-overhead"},
		{"extensions that add up", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 20), 400, "chunk-overhead"},
		{"a chunk beyond BodyBytesMax", "a00001\r\n", 413, "body-too-large"},
		{"chunks that add up beyond it", "1\r\nx\r\na00000\r\n", 413, "body-too-large"},
		{"a size beyond any sum", "1\r\nx\r\n7fffffffffffffff\r\n", 413, "body-too-large"},
		{"a trailer that is no field", "0\r\nfoo\r\n\r\n", 400, "missing-colon"},
		{"a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", 400, "obs-fold"},
		{"NUL in a trailer", "0\r\nA: \x00\r\n\r\n", 400, "control-byte"},
		{"LF alone after a trailer", "0\r\nA: b\n\r\n", 400, "bare-lf"},
		{"LF alone at the end", "0\r\n\n", 400, "bare-lf"},
		{"a trailer section without end", "0\r\nA: " + strings.Repeat("b", 9<<10), 431, "trailer-too-large"},
		{"many trailers", "0\r\n" + strings.Repeat("A:\r\n", 101) + "\r\n", 431, "too-many-headers"},
		{"many ignored trailers", "0\r\n" + strings.Repeat("TE:\r\n", 101) + "\r\n", 431, "too-many-headers"},
		{"whitespace before the colon of a request's trailer", "0\r\nA : b\r\n\r\n", 400, "space-before-colon"},
		{"an extension without a name", "5;\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"a value without a name", "5;=a\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"two semicolons", "5;;a\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"a semicolon at the end", "5;a;\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"no value", "5;a=\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"no value before the next extension", "5;a=;b\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"two values", "5;a=b=c\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"two words", "5;a b\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"two words as a value", "5;a=b c\r\nhello\r\n", 400, "bad-chunk-size"},
		{"whitespace after a name at the end", "5;a \r\nhello\r\n", 400, "bad-chunk-extension"},
		{"whitespace after a value at the end", "5;a=b \r\nhello\r\n", 400, "bad-chunk-size"},
		{"quotes that stay open", "5;a=\"b\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"quotes that stay open behind a backslash", "5;a=\"b\\\"\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"an escaped CR", "5;a=\"\\\r\n\"\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"a quote within a token", "5;a=b\"c\"\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"a token behind quotes", "5;a=\"b\"c\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"a quoted name", "5;\"a\"=b\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"a byte that is in no token", "5;a=(b)\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"a byte above 0x7f in a token", "5;a=\x80\r\nhello\r\n", 400, "bad-chunk-extension"},
		{"NUL between quotes", "5;a=\"\x00\"\r\n", 400, "control-byte"},
		{"LF between quotes", "5;a=\"\n\"\r\n", 400, "bare-lf"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			for _, n := range []int{1, 2, 3, len(tt.body)} {
				_, _, done, _, err := decodeIn(n, []byte(tt.body), nil)
				requireRefusal(t, err, tt.status, tt.slug)
				assert.False(t, done)
			}
		})
	}
}

// In a response, whitespace before a colon is removed, and errors have status 502.
func TestChunkedResponse(t *testing.T) {
	var d Body
	d.BeginResponse(&Response{Framing: FramingChunked}, nil)
	_, _, err := d.Decode(nil, []byte("0\r\nA \t: b\r\n\r\n"))
	require.NoError(t, err)
	require.True(t, d.Done())
	require.Equal(t, []Header{{[]byte("A"), []byte("b")}}, d.Trailers())
	d.BeginResponse(&Response{Framing: FramingChunked}, nil)
	_, _, err = d.Decode(nil, []byte("x"))
	requireRefusal(t, err, 502, "bad-chunk-size")
}

func TestChunkedIsFinal(t *testing.T) {
	var d Body
	d.BeginRequest(chunkedRequest, nil)
	_, _, err := d.Decode(nil, []byte("x"))
	requireRefusal(t, err, 400, "bad-chunk-size")
	out, consumed, err := d.Decode(nil, []byte("0\r\n\r\n"))
	requireRefusal(t, err, 400, "bad-chunk-size")
	assert.Empty(t, out)
	assert.Zero(t, consumed)
	assert.False(t, d.Done())

	d.BeginRequest(chunkedRequest, nil)
	_, _, err = d.Decode(nil, []byte("0\r\nA: b\r\n\r\n"))
	require.NoError(t, err)
	require.True(t, d.Done())
	out, consumed, err = d.Decode([]byte("kept"), []byte("5\r\nhello"))
	require.NoError(t, err)
	assert.Equal(t, "kept", string(out))
	assert.Zero(t, consumed)
	assert.True(t, d.Done())
	assert.Len(t, d.Trailers(), 1)

	d.BeginRequest(chunkedRequest, nil)
	assert.Empty(t, d.Trailers(), "of the body before")
}

func TestChunkedTrailersAreCopies(t *testing.T) {
	src := []byte("0\r\nA: b\r\n\r\n")
	var d Body
	d.BeginRequest(chunkedRequest, nil)
	_, _, err := d.Decode(nil, src)
	require.NoError(t, err)
	require.True(t, d.Done())
	clear(src)
	assert.Equal(t, []Header{{[]byte("A"), []byte("b")}}, d.Trailers())
}

func TestChunkedInPlace(t *testing.T) {
	src := []byte("5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n")
	var d Body
	d.BeginRequest(chunkedRequest, nil)
	out, _, err := d.Decode(src[:0], src)
	require.NoError(t, err)
	require.True(t, d.Done())
	assert.Equal(t, "hello, world", string(out))
}

func TestChunkedAtTheBounds(t *testing.T) {
	lim := DefaultLimits()
	lim.BodyBytesMax = 5
	lim.TrailerBytesMax = len("A: b\r\n")
	_, _, done, _, err := decodeIn(100, []byte("3\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"), &lim)
	require.NoError(t, err)
	assert.True(t, done)
	_, _, _, _, err = decodeIn(100, []byte("3\r\nabc\r\n3\r\n"), &lim)
	requireRefusal(t, err, 413, "body-too-large")
	_, _, _, _, err = decodeIn(100, []byte("0\r\nA: bc\r\n\r\n"), &lim)
	requireRefusal(t, err, 431, "trailer-too-large")

	t.Run("single bytes are no attack", func(t *testing.T) {
		var body []byte
		for range 100_000 {
			body = AppendChunk(body, []byte("x"))
		}
		out, _, done, _, err := decodeIn(4096, AppendLastChunk(body), nil)
		require.NoError(t, err)
		assert.True(t, done)
		assert.Len(t, out, 100_000)
	})
	t.Run("an unlimited body overflows no counter", func(t *testing.T) {
		lim := DefaultLimits()
		lim.BodyBytesMax = math.MaxInt64
		var d Body
		d.BeginRequest(chunkedRequest, &lim)
		_, _, err := d.Decode(nil, []byte("3;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nabc\r\n7ffffffffffffff0;b\r\nx"))
		require.NoError(t, err)
		assert.LessOrEqual(t, d.chunks.overhead, int64(40))
		assert.GreaterOrEqual(t, d.chunks.overhead, int64(0))
	})
}

func TestAppendChunkRoundTrip(t *testing.T) {
	for _, size := range []int{1, 15, 16, 255, 256, 4096, 70000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			data := bytes.Repeat([]byte{'\r', '\n', '0'}, size/3+1)[:size]
			body := AppendLastChunk(AppendChunk(AppendChunk(nil, data), nil))
			out, consumed, done, _, err := decodeIn(len(body), body, nil)
			require.NoError(t, err)
			assert.True(t, done)
			assert.Equal(t, len(body), consumed)
			assert.Equal(t, data, out)
		})
	}
}
