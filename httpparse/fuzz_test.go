package httpparse

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// parseWhole finds and parses the request at the start of b in one call.
func parseWhole(b []byte, r *Request) (head []byte, err error) {
	skip, end, _, err := FindHead(b, 0, nil)
	if err != nil || end == 0 {
		return nil, err
	}
	return b[skip:end], r.Parse(b[skip:end], nil)
}

// parseStepwise does the same with one more byte per call.
func parseStepwise(b []byte, r *Request) (head []byte, err error) {
	from := 0
	for n := range len(b) + 1 {
		skip, end, resume, err := FindHead(b[:n], from, nil)
		if err != nil {
			return nil, err
		}
		if end > 0 {
			return b[skip:end], r.Parse(b[skip:end], nil)
		}
		from = resume
	}
	return nil, nil
}

func FuzzRequest(f *testing.F) {
	for _, tt := range refusedRequests {
		if len(tt.head) < 2048 {
			f.Add([]byte(tt.head))
		}
	}
	for _, tt := range acceptedRequests {
		f.Add([]byte(tt.head))
	}
	f.Add(append([]byte("\r\n"), browserHead...))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var whole, stepwise Request
		head, wholeErr := parseWhole(b, &whole)
		steps, stepErr := parseStepwise(b, &stepwise)
		require.Equal(t, before, b, "parsing writes nothing")
		if wholeErr != nil {
			require.Error(t, stepErr, "refused whole, accepted byte by byte")
			return
		}
		if head == nil && stepErr != nil {
			t.Fatalf("hopeless byte by byte, but not whole: %v", stepErr)
		}
		require.NoError(t, stepErr)
		require.Equal(t, head, steps)
		if head == nil {
			return
		}
		require.Equal(t, shapeOf(&whole), shapeOf(&stepwise))
		assertViewsWithin(t, head, &whole)
		assertReparsesEqual(t, &whole)
	})
}

// assertViewsWithin checks that the request consists of views into the head, in order.
func assertViewsWithin(t *testing.T, head []byte, r *Request) {
	t.Helper()
	var again Request
	lim := DefaultLimits()
	require.NoError(t, again.Parse(head, &lim))
	require.True(t, again.splitWithWildcat(head), "wildcat reads what the guard has read")
	at := 0
	for _, h := range r.Headers() {
		for _, part := range [][]byte{h.Name, h.Value} {
			n := bytes.Index(head[at:], part)
			require.GreaterOrEqual(t, n, 0)
			at += n + len(part)
		}
		require.True(t, ValidToken(h.Name))
		require.True(t, ValidFieldValue(h.Value))
		require.True(t, bytes.Equal(bytes.Trim(h.Value, " \t"), h.Value))
	}
	require.True(t, bytes.HasPrefix(head, r.Method))
	require.True(t, bytes.HasPrefix(head[len(r.Method)+1:], r.Target))
}

// assertReparsesEqual serializes an accepted request, parses it again and expects the same result.
func assertReparsesEqual(t *testing.T, r *Request) {
	t.Helper()
	out, err := AppendRequestLine(nil, r.Method, r.Target)
	require.NoError(t, err)
	if r.Minor == 0 {
		out = append(out[:len(out)-len(http11)-2], http10+"\r\n"...)
	}
	for _, h := range r.Headers() {
		out, err = AppendHeaderBytes(out, h.Name, h.Value)
		require.NoError(t, err)
	}
	out = AppendHeadEnd(out)
	lim := DefaultLimits()
	lim.HeadBytesMax *= 2 // a space may have been added to every field
	var again Request
	require.NoError(t, again.Parse(out, &lim))
	require.Equal(t, shapeOf(r), shapeOf(&again))
	require.Equal(t, r.Headers(), again.Headers())
}

func FuzzResponse(f *testing.F) {
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
		"HTTP/1.0 304 Not Modified\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\nA: b\n\n",
	} {
		for _, method := range []string{"GET", "HEAD", "CONNECT"} {
			f.Add([]byte(head), method)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, method string) {
		var whole, stepwise Response
		_, end, _, wholeErr := FindResponseHead(b, 0, nil)
		if wholeErr == nil && end > 0 {
			wholeErr = whole.Parse(b[:end], method, nil)
		}
		var stepErr error
		stepEnd, from := 0, 0
		for n := 0; n <= len(b) && stepErr == nil && stepEnd == 0; n++ {
			_, stepEnd, from, stepErr = FindResponseHead(b[:n], from, nil)
		}
		if stepErr == nil && stepEnd > 0 {
			stepErr = stepwise.Parse(b[:stepEnd], method, nil)
		}
		require.Equal(t, wholeErr == nil, stepErr == nil, "%v, %v", wholeErr, stepErr)
		if wholeErr != nil || end == 0 {
			return
		}
		require.Equal(t, end, stepEnd)
		require.Equal(t, whole, stepwise)
		require.False(t, whole.Framing == FramingLength && whole.ContentLength <= 0, "a length that is none")
		require.False(t, whole.Framing == FramingClose && whole.KeepAlive, "a connection that ends and stays")
	})
}

func FuzzBody(f *testing.F) {
	for _, body := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nGET", "a\r\n0123456789\r\n", "5 ;a\r\nhello\r\n0\r\n\r\n",
		"0\r\nHost: a\r\n\r\n", "7fffffffffffffff\r\n", "5\nhello\n", "00000000000000000\r\n",
	} {
		f.Add(uint8(FramingChunked), uint16(0), []byte(body), uint8(1), uint8(3))
	}
	f.Add(uint8(FramingLength), uint16(5), []byte("helloGET"), uint8(1), uint8(3))
	f.Add(uint8(FramingClose), uint16(0), bytes.Repeat([]byte("a"), 65), uint8(1), uint8(3))
	f.Fuzz(func(t *testing.T, framing uint8, length uint16, b []byte, first, second uint8) {
		lim := DefaultLimits()
		lim.BodyBytesMax, lim.ChunkOverheadMax, lim.TrailerBytesMax = 64, 32, 48
		head := &Response{Framing: Framing(framing) % (FramingClose + 1), ContentLength: int64(length) % (lim.BodyBytesMax + 1)}
		if head.Framing == FramingNone {
			head.ContentLength = 0
		}
		var whole, split Body
		whole.BeginResponse(head, &lim)
		out, consumed, trailers, err := decodeWith(&whole, len(b)+1, b)
		require.LessOrEqual(t, len(out), int(lim.BodyBytesMax))
		require.LessOrEqual(t, consumed, len(b))
		switch head.Framing {
		case FramingLength:
			require.EqualValues(t, head.ContentLength-int64(len(out)), whole.Left())
			fallthrough
		case FramingClose:
			require.True(t, bytes.HasPrefix(b, out))
		}
		for _, n := range []int{1, int(first)%7 + 1, int(second)%31 + 1} {
			split.BeginResponse(head, &lim)
			splitOut, splitConsumed, splitTrailers, splitErr := decodeWith(&split, n, bytes.Clone(b))
			require.Equal(t, whole.Done(), split.Done())
			require.Equal(t, err, splitErr)
			require.True(t, bytes.Equal(out, splitOut))
			if err == nil {
				require.Equal(t, consumed, splitConsumed)
				require.Equal(t, trailers, splitTrailers)
			}
		}
		split.BeginResponse(head, &lim)
		src := bytes.Clone(b)
		inPlace, ate, inPlaceErr := split.Decode(src[:0], src)
		require.Equal(t, err, inPlaceErr)
		require.Equal(t, consumed, ate)
		require.True(t, bytes.Equal(out, inPlace), "in place")
		if whole.Done() {
			again := AppendLastChunk(AppendChunk(nil, out))
			decoded, _, done, _, err := decodeIn(len(again), again, nil)
			require.NoError(t, err)
			require.True(t, done)
			require.True(t, bytes.Equal(out, decoded))
		}
	})
}

// A recipient reads exactly the fields that were appended.
func FuzzAppendHeader(f *testing.F) {
	f.Add("A", "b", "C", "d")
	for _, tt := range injections {
		f.Add(tt.text, "x", "A", tt.text)
	}
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		out := AppendStatusLine(nil, 304)
		var want []Header
		for _, h := range [][2]string{{name1, value1}, {name2, value2}} {
			before := len(out)
			var err error
			if out, err = AppendHeader(out, h[0], h[1]); err != nil {
				require.Len(t, out, before)
				continue
			}
			if mayBeControlField(len(h[0])) {
				return // what the framing makes of them is tested elsewhere
			}
			want = append(want, Header{[]byte(h[0]), bytes.Trim([]byte(h[1]), " \t")})
		}
		out = AppendHeadEnd(out)
		_, end, _, err := FindResponseHead(out, 0, nil)
		if len(out) > defaultLimits.HeadBytesMax {
			return
		}
		require.NoError(t, err)
		require.Equal(t, len(out), end, "no header ends the head")
		var r Response
		require.NoError(t, r.Parse(out, "GET", nil))
		require.Len(t, r.Headers, len(want))
		for i, h := range want {
			require.True(t, bytes.Equal(h.Name, r.Headers[i].Name))
			require.True(t, bytes.Equal(h.Value, r.Headers[i].Value))
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, path := range []string{"/", "/a/../b", "/%2e%2e/%2e%2e/etc", "/a//..", "/.", "/%", "/%00", "/a/b/../../..", "//..//a"} {
		f.Add([]byte(path))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		decoded, err := DecodePath(nil, path)
		inPlace, inPlaceErr := DecodePath(bytes.Clone(path)[:0], bytes.Clone(path))
		require.Equal(t, err, inPlaceErr)
		if err != nil {
			return
		}
		require.True(t, bytes.Equal(decoded, inPlace))
		normal, err := NormalizePath(nil, decoded)
		if err != nil {
			return
		}
		require.True(t, bytes.HasPrefix(normal, []byte("/")))
		for segment := range bytes.SplitSeq(normal, []byte("/")) {
			assert.NotEqual(t, ".", string(segment))
			assert.NotEqual(t, "..", string(segment))
		}
		again, err := NormalizePath(nil, normal)
		require.NoError(t, err)
		require.True(t, bytes.Equal(normal, again), "normal stays normal")
	})
}
