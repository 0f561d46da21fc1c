package websocket

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"
	"github.com/stretchr/testify/require"

	"tafe/loop/looptest"
)

// deflated compresses as a client does that takes over its context or not.
func deflated(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	_, _ = w.Write([]byte(s))
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

type frameCase struct {
	why      string
	sent     []byte
	want     []string
	reason   string
	compress bool
}

// The groups are those of the Autobahn test suite.
var frameCases = []frameCase{
	{why: "1 an empty text", sent: text(""), want: []string{"text "}},
	{why: "1 an empty binary", sent: blob(""), want: []string{"binary "}},
	{why: "1 the longest 7-bit length", sent: text(strings.Repeat("*", 125)), want: []string{"text 125 bytes"}},
	{why: "1 the shortest 16-bit length", sent: blob(strings.Repeat("*", 126)), want: []string{"binary 126 bytes"}},
	{why: "1 the longest 16-bit length", sent: blob(strings.Repeat("\xfe", 65535)), want: []string{"binary 65535 bytes"}},
	{why: "1 the shortest 64-bit length", sent: text(strings.Repeat("*", 65536)), want: []string{"text 65536 bytes"}},
	{why: "1 many messages at once", sent: join(text("a"), text("b"), blob("c"), text("d")), want: []string{"text a", "text b", "binary c", "text d"}},

	{why: "2 a ping", sent: ping(""), want: []string{"pong "}},
	{why: "2 a ping with a payload", sent: ping("\x00\xff\xfe"), want: []string{"pong \x00\xff\xfe"}},
	{why: "2 the longest ping", sent: ping(strings.Repeat("p", 125)), want: []string{"pong 125 bytes"}},
	{why: "2 a longer ping", sent: ping(strings.Repeat("p", 126)), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "2 a pong that no ping asked for", sent: join(frameOf(ws.OpPong, true, 0, "x"), text("a")), want: []string{"text a"}},

	{why: "3 a reserved bit without an extension", sent: frameOf(ws.OpText, true, 1, "a"), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "3 the bit of compression without it", sent: frameOf(ws.OpText, true, 4, "a"), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "3 a reserved bit of a ping", sent: frameOf(ws.OpPing, true, 2, ""), want: []string{"close 1002"}, reason: ReasonProtocol},

	{why: "4 opcode 3", sent: frameOf(3, true, 0, ""), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "4 opcode 15, after a message", sent: join(text("a"), frameOf(15, true, 0, "x")), want: []string{"text a", "close 1002"}, reason: ReasonProtocol},

	{why: "5 a fragmented ping", sent: frameOf(ws.OpPing, false, 0, "a"), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "5 fragments", sent: join(frameOf(ws.OpText, false, 0, "a"), frameOf(ws.OpContinuation, false, 0, "b"), frameOf(ws.OpContinuation, true, 0, "c")),
		want: []string{"text abc"}},
	{why: "5 a ping between fragments", sent: join(frameOf(ws.OpText, false, 0, "a"), ping("p"), frameOf(ws.OpContinuation, true, 0, "b")),
		want: []string{"pong p", "text ab"}},
	{why: "5 a continuation of nothing", sent: frameOf(ws.OpContinuation, true, 0, "a"), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "5 a message inside of another", sent: join(frameOf(ws.OpText, false, 0, "a"), text("b")), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "5 empty fragments", sent: join(frameOf(ws.OpBinary, false, 0, ""), frameOf(ws.OpContinuation, false, 0, ""), frameOf(ws.OpContinuation, true, 0, "")),
		want: []string{"binary "}},

	{why: "6 characters of several bytes", sent: text("κόσμε"), want: []string{"text κόσμε"}},
	{why: "6 a character that fragments cut", sent: join(frameOf(ws.OpText, false, 0, "\xce"), frameOf(ws.OpContinuation, true, 0, "\xba")), want: []string{"text κ"}},
	{why: "6 text that is not UTF-8", sent: text("\xce\xba\xff"), want: []string{"close 1007"}, reason: ReasonProtocol},
	{why: "6 a surrogate", sent: text("\xed\xa0\x80"), want: []string{"close 1007"}, reason: ReasonProtocol},
	{why: "6 binary needs no UTF-8", sent: blob("\xff"), want: []string{"binary \xff"}},

	{why: "7 a close frame is answered with its code", sent: closing(1000, "bye"), want: []string{"close 1000"}},
	{why: "7 without a code", sent: frameOf(ws.OpClose, true, 0, ""), want: []string{"close"}},
	{why: "7 of one byte", sent: frameOf(ws.OpClose, true, 0, "\x03"), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "7 the longest reason", sent: closing(1000, strings.Repeat("*", 123)), want: []string{"close 1000"}},
	{why: "7 a longer reason", sent: frameOf(ws.OpClose, true, 0, "\x03\xe8"+strings.Repeat("*", 124)), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "7 a reason that is not UTF-8", sent: closing(1000, "\xff"), want: []string{"close 1007"}, reason: ReasonProtocol},
	{why: "7 what follows a close frame is ignored", sent: join(closing(1000, ""), text("a"), ping("")), want: []string{"close 1000"}},
	{why: "7 a message before it is served", sent: join(text("a"), closing(1001, "")), want: []string{"text a", "close 1001"}},
	{why: "7 code 999", sent: closing(999, ""), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "7 code 1004", sent: closing(1004, ""), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "7 code 1005", sent: closing(1005, ""), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "7 code 1006", sent: closing(1006, ""), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "7 code 1012, registered later", sent: closing(1012, ""), want: []string{"close 1012"}},
	{why: "7 code 1015", sent: closing(1015, ""), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "7 code 1100", sent: closing(1100, ""), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "7 code 3000", sent: closing(3000, ""), want: []string{"close 3000"}},
	{why: "7 code 4999", sent: closing(4999, ""), want: []string{"close 4999"}},
	{why: "7 code 5000", sent: closing(5000, ""), want: []string{"close 1002"}, reason: ReasonProtocol},

	{why: "a frame without a mask", sent: []byte("\x81\x01a"), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "a length above 63 bits", sent: []byte("\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00aaaa"), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "a length in a longer form than needed", sent: []byte("\x82\xfe\x00\x01\x00\x00\x00\x00a"), want: []string{"close 1002"}, reason: ReasonProtocol},

	{why: "9 the largest message", sent: blob(strings.Repeat("x", 100_000)), want: []string{"binary 100000 bytes"}},
	{why: "9 a larger one is refused by its header", sent: blob(strings.Repeat("x", 100_001))[:14], want: []string{"close 1009"}, reason: ReasonTooBig},
	{why: "9 a larger one in fragments", sent: join(frameOf(ws.OpBinary, false, 0, strings.Repeat("x", 60_000)), frameOf(ws.OpContinuation, true, 0, strings.Repeat("x", 60_000))),
		want: []string{"close 1009"}, reason: ReasonTooBig},

	{why: "12 a compressed message", compress: true, sent: frameOf(ws.OpText, true, 4, deflated("hello")), want: []string{"text hello"}},
	{why: "12 a compressed message whose last byte is read late", compress: true, sent: frameOf(ws.OpText, true, 4, deflated(strings.Repeat("x", 70_000))),
		want: []string{"text 70000 bytes"}},
	{why: "12 in fragments", compress: true, sent: join(frameOf(ws.OpText, false, 4, deflated("hello")[:3]), frameOf(ws.OpContinuation, true, 0, deflated("hello")[3:])),
		want: []string{"text hello"}},
	{why: "12 one that is not compressed", compress: true, sent: text("hello"), want: []string{"text hello"}},
	{why: "12 an empty one", compress: true, sent: frameOf(ws.OpText, true, 4, deflated("")), want: []string{"text "}},
	{why: "12 the bit on a later fragment", compress: true, sent: join(frameOf(ws.OpText, false, 4, "a"), frameOf(ws.OpContinuation, true, 4, "b")),
		want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "12 the bit on a ping", compress: true, sent: frameOf(ws.OpPing, true, 4, ""), want: []string{"close 1002"}, reason: ReasonProtocol},
	{why: "12 not deflate", compress: true, sent: frameOf(ws.OpText, true, 4, "\xff\xff\xff"), want: []string{"close 1007"}, reason: ReasonProtocol},
	{why: "12 compressed text that is not UTF-8", compress: true, sent: frameOf(ws.OpText, true, 4, deflated("\xff")), want: []string{"close 1007"}, reason: ReasonProtocol},
	{why: "12 a small frame of a huge message", compress: true, sent: frameOf(ws.OpBinary, true, 4, deflated(strings.Repeat("x", 10_000_000))),
		want: []string{"close 1009"}, reason: ReasonTooBig},
}

// Every case gives the same answers whole, and in pieces and with delays that a seed chooses.
func TestFrames(t *testing.T) {
	for _, tc := range frameCases {
		t.Run(tc.why, func(t *testing.T) {
			for seed := range uint64(4) {
				r := newRig(t, Options{MessageMax: 100_000, Compress: tc.compress, CompressMin: 1 << 20}, looptest.Options{Seed: seed})
				r.echo()
				r.peer.Send(tc.sent)
				require.Equal(t, tc.want, r.frames(), "seed %d", seed)
				want := map[string]int{}
				if tc.reason != "" {
					want[tc.reason] = 1
				}
				require.Equal(t, want, r.reasons)
				if last := tc.want[len(tc.want)-1]; strings.HasPrefix(last, "close") {
					require.True(t, r.peer.Ended(), "the server closes the connection")
				} else {
					require.NoError(t, r.conn.Err())
					require.Nil(t, r.conn.msg, "no buffers are held")
					require.Nil(t, r.conn.held)
				}
			}
		})
	}
}

func TestCompressedAnswers(t *testing.T) {
	long := strings.Repeat("hello ", 200)
	r := newRig(t, Options{Compress: true, CompressMin: 100}, looptest.Options{})
	r.echo()
	r.peer.Send(text("short"))
	require.Equal(t, []string{"text short"}, r.frames())
	for range 3 { // the compressor is used again
		r.peer.Send(frameOf(ws.OpText, true, 4, deflated(long)))
		f, err := ws.ReadFrame(bytes.NewReader(r.peer.Received()))
		require.NoError(t, err)
		require.EqualValues(t, 4, f.Header.Rsv)
		require.Less(t, len(f.Payload), 100)
		var k codecs
		got, err := k.inflate(f.Payload, 10_000)
		require.NoError(t, err)
		require.Equal(t, long, string(got))
	}
	noise := make([]byte, 1000)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	r.peer.Send(blob(string(noise)))
	require.Equal(t, []string{"binary 1000 bytes"}, r.frames(), "what compression does not make shorter is sent as it is")
}

// FuzzFrames feeds any bytes, whole and cut by a seed. The answers are the same, and the server neither panics nor keeps the connection
// after a violation.
func FuzzFrames(f *testing.F) {
	for _, tc := range frameCases {
		if len(tc.sent) < 1000 {
			f.Add(tc.sent, uint64(1))
		}
	}
	f.Fuzz(func(t *testing.T, sent []byte, seed uint64) {
		answers := func(seed uint64, compress bool) ([]string, bool) {
			r := newRig(t, Options{MessageMax: 1000, Compress: compress}, looptest.Options{Seed: seed})
			r.echo()
			r.peer.Send(sent)
			if cap(r.conn.msg) > 4096 {
				t.Fatalf("%d bytes are held for a message of at most 1000", cap(r.conn.msg))
			}
			defer r.loop.Close()
			return r.frames(), r.peer.Ended()
		}
		for _, compress := range []bool{false, true} {
			whole, ended := answers(0, compress)
			cut, cutEnded := answers(seed|1, compress)
			require.Equal(t, whole, cut)
			require.Equal(t, ended, cutEnded)
		}
	})
}
