package httpparse

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// decodeWith decodes input with d in pieces of n bytes, until the body is done or refused.
func decodeWith(d *Body, n int, input []byte) (out []byte, consumed int, trailers []string, err error) {
	for err == nil && !d.Done() && consumed < len(input) {
		piece := input[consumed:min(len(input), consumed+n)]
		var ate int
		out, ate, err = d.Decode(out, piece)
		if consumed += ate; err == nil && !d.Done() && ate != len(piece) {
			panic("bytes left though neither done nor failed")
		}
	}
	for _, h := range d.Trailers() {
		trailers = append(trailers, string(h.Name)+"="+string(h.Value))
	}
	return out, consumed, trailers, err
}

// Bodies that are not chunked, of which chunked_test.go has the tables.
func TestBody(t *testing.T) {
	lim := DefaultLimits()
	lim.BodyBytesMax = 5
	tests := []struct {
		why      string
		framing  Framing
		length   int64
		input    string
		want     string
		consumed int
		done     bool
		left     int64
		slug     string // of the error
	}{
		{"no body, so what follows is the next message", FramingNone, 0, "NEXT", "", 0, true, 0, ""},
		{"a response to HEAD has the length of another body", FramingNone, 5, "NEXT", "", 0, true, 0, ""},
		{"a length", FramingLength, 5, "helloNEXT", "hello", 5, true, 0, ""},
		{"a length of which bytes are missing", FramingLength, 5, "hel", "hel", 3, false, 2, ""},
		{"nothing has arrived", FramingLength, 5, "", "", 0, false, 5, ""},
		{"until close", FramingClose, -1, "hello", "hello", 5, false, -1, ""},
		{"until close, and too large: the bytes up to the bound are data", FramingClose, -1, "hello!", "hello", 5, false, -1, "body-too-large"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			for n := 1; n <= len(tt.input)+1; n++ {
				var d Body
				d.BeginResponse(&Response{Framing: tt.framing, ContentLength: tt.length}, &lim)
				out, consumed, trailers, err := decodeWith(&d, n, []byte(tt.input))
				if tt.slug != "" {
					requireRefusal(t, err, 502, tt.slug)
				} else {
					require.NoError(t, err)
				}
				assert.Equal(t, tt.want, string(out), "in pieces of %d", n)
				assert.Equal(t, tt.consumed, consumed)
				assert.Equal(t, tt.done, d.Done())
				assert.Equal(t, tt.left, d.Left())
				assert.Empty(t, trailers)
			}
		})
	}
}

// Next returns one piece of data at a time, as a view.
func TestBodyNext(t *testing.T) {
	var d Body
	d.BeginRequest(chunkedRequest, nil)
	src := []byte("5\r\nhello\r\n2;a=b\r\n, \r\n5\r\nworld\r\n0\r\nA: b\r\n\r\nNEXT")
	var pieces []string
	rest := src
	for !d.Done() {
		data, n, err := d.Next(rest)
		require.NoError(t, err)
		require.Positive(t, n)
		if len(data) > 0 {
			pieces = append(pieces, string(data))
			assert.Same(t, &rest[n-1], &data[len(data)-1], "a view that ends where the next call continues")
		}
		rest = rest[n:]
	}
	assert.Equal(t, []string{"hello", ", ", "world"}, pieces)
	assert.Equal(t, "NEXT", string(rest))
	assert.EqualValues(t, -1, d.Left())
}

// Nothing of one body remains in the next.
func TestBodyIsReused(t *testing.T) {
	var d Body
	assert.True(t, d.Done(), "the zero value has no body")
	chunked := []byte("1\r\na\r\n0\r\nA: b\r\n\r\n")
	for range 2 {
		for _, next := range []*Request{{}, {Framing: FramingLength, ContentLength: 3}, chunkedRequest} {
			d.BeginRequest(chunkedRequest, nil)
			_, _, err := d.Decode(nil, chunked)
			require.NoError(t, err)
			require.Len(t, d.Trailers(), 1)
			d.BeginRequest(next, nil)
			assert.Empty(t, d.Trailers())
			assert.Equal(t, next.Framing == FramingNone, d.Done())
		}
		d.BeginRequest(chunkedRequest, nil)
		_, _, err := d.Decode(nil, []byte("x"))
		require.Error(t, err)
		d.Reset()
		assert.True(t, d.Done())
	}
	lengths := &Request{Framing: FramingLength, ContentLength: 3}
	d.BeginRequest(lengths, nil)
	src := []byte("abc")
	out, _, err := d.Decode(src[:0:2], src)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(out), "a destination at the source that is too small for it")
}
