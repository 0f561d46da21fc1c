package httpparse

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAppendStatusLine(t *testing.T) {
	tests := []struct {
		why    string
		status int
		want   string
	}{
		{"the usual", 200, "HTTP/1.1 200 OK\r\n"},
		{"an interim one", 100, "HTTP/1.1 100 Continue\r\n"},
		{"the last registered", 511, "HTTP/1.1 511 Network Authentication Required\r\n"},
		{"no registered reason", 599, "HTTP/1.1 599 \r\n"},
		{"beyond the table", 999, "HTTP/1.1 999 \r\n"},
		{"no status", 0, "HTTP/1.1 500 Internal Server Error\r\n"},
		{"two digits", 99, "HTTP/1.1 500 Internal Server Error\r\n"},
		{"four digits", 1000, "HTTP/1.1 500 Internal Server Error\r\n"},
		{"a negative one", -200, "HTTP/1.1 500 Internal Server Error\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			assert.Equal(t, "x"+tt.want, string(AppendStatusLine([]byte("x"), tt.status)))
			var r Response
			require.NoError(t, r.Parse([]byte(tt.want+"Content-Length: 0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), "GET", nil))
		})
	}
}

// All line terminators and control bytes.
var injections = []struct {
	why, text string
}{
	{"CRLF starts a field", "a\r\nSet-Cookie: evil=1"},
	{"CRLF CRLF ends the head", "a\r\n\r\n<script>"},
	{"LF alone ends a line for some", "a\nSet-Cookie: evil=1"},
	{"CR alone ends a line for some", "a\rSet-Cookie: evil=1"},
	{"NUL ends a string for some", "a\x00b"},
	{"DEL", "a\x7f"},
	{"ESC", "\x1b[2J"},
	{"CR at the end", "a\r"},
	{"LF deep in a long text", strings.Repeat("a", 39) + "\n"},
}

func TestAppendRefusesInjection(t *testing.T) {
	const before = "before\r\n"
	for _, tt := range injections {
		t.Run(tt.why, func(t *testing.T) {
			out, err := AppendHeader([]byte(before), "A", tt.text)
			requireRefusal(t, err, 500, "unsafe-value")
			assert.Equal(t, before, string(out), "nothing is appended")
			out, err = AppendHeader([]byte(before), tt.text, "a")
			requireRefusal(t, err, 500, "unsafe-name")
			assert.Equal(t, before, string(out))
			out, err = AppendHeaderBytes([]byte(before), []byte("A"), []byte(tt.text))
			requireRefusal(t, err, 500, "unsafe-value")
			assert.Equal(t, before, string(out))
			out, err = AppendRequestLine([]byte(before), tt.text, "/")
			requireRefusal(t, err, 500, "unsafe-method")
			assert.Equal(t, before, string(out))
			out, err = AppendRequestLine([]byte(before), "GET", "/"+tt.text)
			requireRefusal(t, err, 500, "unsafe-target")
			assert.Equal(t, before, string(out))
		})
	}
}

func TestAppendHeader(t *testing.T) {
	tests := []struct {
		why, name, value, want, slug string
	}{
		{"plain", "A", "b", "A: b\r\n", ""},
		{"an empty value", "A", "", "A: \r\n", ""},
		{"a tab is whitespace", "A", "b\tc", "A: b\tc\r\n", ""},
		{"obs-text", "A", "\xe9", "A: \xe9\r\n", ""},
		{"an empty name", "", "b", "", "unsafe-name"},
		{"a colon in a name would end it early", "A:", "b", "", "unsafe-name"},
		{"a space in a name", "A ", "b", "", "unsafe-name"},
		{"obs-text in a name", "\xe9", "b", "", "unsafe-name"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			text, err := AppendHeader(nil, tt.name, tt.value)
			raw, rawErr := AppendHeaderBytes(nil, []byte(tt.name), []byte(tt.value))
			assert.Equal(t, err, rawErr)
			assert.Equal(t, text, raw)
			assert.Equal(t, tt.want, string(text))
			if tt.slug != "" {
				requireRefusal(t, err, 500, tt.slug)
			} else {
				assert.NoError(t, err)
			}
		})
	}
}

func TestAppendRequestLine(t *testing.T) {
	out, err := AppendRequestLine(nil, "GET", []byte("/a?b"))
	require.NoError(t, err)
	assert.Equal(t, "GET /a?b HTTP/1.1\r\n", string(out))
	for _, target := range []string{"", "/a b", "/a#b", "/\xc3\xa9"} {
		_, err := AppendRequestLine(nil, "GET", target)
		requireRefusal(t, err, 500, "unsafe-target")
	}
	_, err = AppendRequestLine(nil, "", "/")
	requireRefusal(t, err, 500, "unsafe-method")
}

func TestAppendSmallParts(t *testing.T) {
	tests := []struct {
		why  string
		got  []byte
		want string
	}{
		{"a length", AppendContentLength(nil, 13), "Content-Length: 13\r\n"},
		{"no body", AppendContentLength(nil, 0), "Content-Length: 0\r\n"},
		{"an unknown length", AppendContentLength(nil, -1), ""},
		{"the end of a head", AppendHeadEnd(nil), "\r\n"},
		{"a chunk", AppendChunk(nil, make([]byte, 26))[:4], "1a\r\n"},
		{"an empty chunk would end the body", AppendChunk(nil, nil), ""},
		{"the last chunk", AppendLastChunk(nil), "0\r\n\r\n"},
		{"a date", AppendDate(nil, new(DateCache).At(0)), "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) { assert.Equal(t, tt.want, string(tt.got)) })
	}
}

func TestDateCache(t *testing.T) {
	var c DateCache
	for _, unix := range []int64{0, 0, 1, 784111777, 951782399, 951782400, 1709164800, 1709164800, 4102444799, yearMaxUnix} {
		want := time.Unix(unix, 0).UTC().Format(http.TimeFormat)
		assert.Equal(t, want, string(c.At(unix)), "unix %d", unix)
	}
	assert.Equal(t, "Sun, 06 Nov 1994 08:49:37 GMT", string(c.At(784111777)), "the example of RFC 9110")
	assert.Len(t, c.At(-1), 29, "before 1970")
	assert.Len(t, c.At(1<<62), 29, "a year of more than four digits")
}

func TestStatus(t *testing.T) {
	assert.Equal(t, "Not Found", StatusText(404))
	assert.Empty(t, StatusText(299))
	tests := []struct {
		status int
		want   bool
	}{{100, false}, {101, false}, {199, false}, {200, true}, {204, false}, {205, true}, {304, false}, {404, true}}
	for _, tt := range tests {
		assert.Equal(t, tt.want, BodyAllowed(tt.status), fmt.Sprint(tt.status))
	}
}

// Compares the word-at-a-time scan with the definition for each byte at each position.
func TestValidFieldValueOfEveryByte(t *testing.T) {
	for length := range 35 {
		for at := range length {
			for c := range 256 {
				value := []byte(strings.Repeat("a", length))
				value[at] = byte(c)
				want := c == '\t' || c >= ' ' && c != 0x7f
				if got := ValidFieldValue(value); got != want {
					t.Fatalf("byte %#x at %d of %d: %v", c, at, length, got)
				}
			}
		}
	}
}

// Pairs of bytes: a borrow from one lane must not change the result of the next.
func TestValueEndOfEveryPair(t *testing.T) {
	value := []byte("0123456789abcdefghij")
	for a := range 256 {
		for b := range 256 {
			value[6], value[7] = byte(a), byte(b)
			want := len(value)
			if class[b]&valueByte == 0 {
				want = 7
			}
			if class[a]&valueByte == 0 {
				want = 6
			}
			if got := valueEnd(value, 0); got != want {
				t.Fatalf("%#x %#x: %d, not %d", a, b, got, want)
			}
		}
	}
}

func TestValidToken(t *testing.T) {
	const separators = "()<>@,;:\\\"/[]?={} \t"
	for c := range 256 {
		want := c > ' ' && c < 0x7f && !strings.ContainsRune(separators, rune(c))
		assert.Equal(t, want, ValidToken([]byte{'a', byte(c)}), "%#x", c)
	}
	assert.False(t, ValidToken(""))
	assert.False(t, ValidToken([]byte(nil)))
	assert.True(t, ValidToken("X-Y"))
	assert.True(t, ValidFieldValue(""))
	assert.False(t, ValidFieldValue("a\n"))
}
