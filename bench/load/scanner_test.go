package load

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type answer struct {
	status int
	body   int64
	close  bool
}

// scan feeds the stream in pieces of the given size and collects the answers.
func scan(t *testing.T, stream string, piece int) ([]answer, error) {
	t.Helper()
	var s scanner
	var got []answer
	for b := []byte(stream); len(b) > 0; {
		p := b[:min(piece, len(b))]
		b = b[len(p):]
		for len(p) > 0 {
			n, done, err := s.next(p)
			if err != nil {
				return got, err
			}
			require.Positive(t, n+boolInt(done), "a step must eat bytes or end an answer")
			p = p[n:]
			if done {
				got = append(got, answer{s.status, s.bodyBytes, s.close})
			}
		}
	}
	if s.eof() {
		got = append(got, answer{s.status, s.bodyBytes, s.close})
	}
	return got, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestScannerFindsTheEndOfEveryAnswer(t *testing.T) {
	for _, tc := range []struct {
		why, stream string
		want        []answer
	}{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", []answer{{200, 3, false}}},
		{"field names have no case", "HTTP/1.1 200 OK\r\ncontent-LENGTH:3\r\n\r\nabc", []answer{{200, 3, false}}},
		{"two answers in one read", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nbb",
			[]answer{{200, 1, false}, {404, 2, false}}},
		{"no body at all", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", []answer{{200, 0, false}}},
		{"204 has no body and needs no length", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
			[]answer{{204, 0, false}, {200, 1, false}}},
		{"an interim answer is not the answer", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", []answer{{200, 1, false}}},
		{"chunked with extension and trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
			[]answer{{200, 13, false}}},
		{"chunk data may look like a head", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n", []answer{{200, 4, false}}},
		{"the end of the stream ends it", "HTTP/1.0 200 OK\r\n\r\nabcd", []answer{{200, 4, true}}},
		{"Connection: close is told", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", []answer{{200, 0, true}}},
		{"HTTP/1.0 keeps alive only when it says so", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", []answer{{200, 0, false}}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			for _, piece := range []int{len(tc.stream), 1, 3, 7} {
				got, err := scan(t, tc.stream, piece)
				require.NoError(t, err)
				require.Equal(t, tc.want, got, "in pieces of %d", piece)
			}
		})
	}
}

func TestScannerRefuses(t *testing.T) {
	for _, tc := range []struct{ why, stream string }{
		{"no HTTP", "SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n"},
		{"a status that is no number", "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n"},
		{"a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: 1a\r\n\r\n"},
		{"two lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"},
		{"a chunk size that is no number", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"},
		{"a chunk that is longer than its size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n"},
		{"a head without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", headBytesMax+10)},
	} {
		t.Run(tc.why, func(t *testing.T) {
			for _, piece := range []int{len(tc.stream) / 2, 1} {
				_, err := scan(t, tc.stream, piece)
				require.ErrorIs(t, err, errMalformed, "in pieces of %d", piece)
			}
		})
	}
}

func BenchmarkScanner(b *testing.B) {
	stream := []byte("HTTP/1.1 200 OK\r\nServer: x\r\nDate: Mon, 23 Nov 2026 13:29:18 GMT\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!")
	b.ReportAllocs()
	var s scanner
	for b.Loop() {
		if n, done, err := s.next(stream); n != len(stream) || !done || err != nil {
			b.Fatal(n, done, err)
		}
	}
}

func TestScannerReadsMessages(t *testing.T) {
	const handshake = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
	long := strings.Repeat("x", 300)
	for _, tc := range []struct {
		why, stream string
		want        []int64
		bad         bool
	}{
		{"a short one", "\x82\x03abc", []int64{3}, false},
		{"two in one read", "\x82\x01a\x81\x02bb", []int64{1, 2}, false},
		{"an empty one", "\x82\x00\x82\x01a", []int64{0, 1}, false},
		{"16 bits of length", "\x82\x7e\x01\x2c" + long, []int64{300}, false},
		{"64 bits of length", "\x82\x7f\x00\x00\x00\x00\x00\x00\x01\x2c" + long, []int64{300}, false},
		{"fragments are one message", "\x02\x02ab\x00\x00\x80\x01c\x82\x01d", []int64{3, 1}, false},
		{"a mask", "\x82\x81aaaab", nil, true},
		{"a control frame", "\x89\x00", nil, true},
		{"a message inside of another", "\x02\x01a\x82\x01b", nil, true},
	} {
		for _, piece := range []int{1, 3, 1000} {
			var s scanner
			_, done, err := s.next([]byte(handshake))
			require.NoError(t, err)
			require.True(t, done)
			require.Equal(t, 101, s.status)
			s.upgrade()
			var got []int64
			for b := []byte(tc.stream); len(b) > 0 && err == nil; {
				p := b[:min(piece, len(b))]
				b = b[len(p):]
				for len(p) > 0 && err == nil {
					var n int
					n, done, err = s.next(p)
					p = p[n:]
					if done {
						got = append(got, s.bodyBytes)
					}
				}
			}
			require.Equal(t, tc.bad, err != nil, tc.why)
			require.Equal(t, tc.want, got, tc.why)
		}
	}
}
