package http2

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"

	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

// FuzzFrames sends arbitrary frames to a server. The result does not depend on how they are split, and nothing is left behind.
func FuzzFrames(f *testing.F) {
	seed := func(write func(d *xhttp2.Framer)) {
		var b bytes.Buffer
		fr := xhttp2.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		_ = fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 10})
		write(fr)
		f.Add(b.Bytes())
	}
	section := []byte{0x82, 0x86, 0x84, 0x41, 1, 'h'}
	head := func(id uint32, end, whole bool) xhttp2.HeadersFrameParam {
		return xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: section, EndStream: end, EndHeaders: whole}
	}
	seed(func(d *xhttp2.Framer) { _ = d.WriteHeaders(head(1, true, true)); _ = d.WriteWindowUpdate(1, 1000) })
	seed(func(d *xhttp2.Framer) {
		_ = d.WriteHeaders(head(1, false, true))
		_ = d.WriteDataPadded(1, false, []byte("abc"), make([]byte, 3))
		_ = d.WriteData(1, true, []byte("d"))
		_ = d.WriteRSTStream(1, xhttp2.ErrCodeCancel)
	})
	seed(func(d *xhttp2.Framer) {
		_ = d.WriteHeaders(head(1, true, false))
		_ = d.WriteContinuation(1, true, section)
	})
	seed(func(d *xhttp2.Framer) {
		_ = d.WritePing(false, [8]byte{1})
		_ = d.WriteGoAway(0, 0, nil)
		_ = d.WritePriorityUpdate(1, "u=1")
	})
	f.Fuzz(func(t *testing.T, frames []byte) {
		if len(frames) > 1<<16 {
			return
		}
		input := append([]byte(Preface), frames...)
		whole, failed := fuzzServer(t, [][]byte{input})
		var pieces [][]byte
		for i := 0; i < len(input); i += 7 {
			pieces = append(pieces, input[i:min(i+7, len(input))])
		}
		split, alsoFailed := fuzzServer(t, pieces)
		require.Equal(t, failed, alsoFailed)
		require.Equal(t, whole, split)
	})
}

// fuzzServer echoes bodies. It returns what the server has sent, and the reasons of its errors.
func fuzzServer(t *testing.T, pieces [][]byte) (string, []string) {
	l := looptest.New(t, looptest.Options{})
	defer l.Close()
	p := newParty()
	shared := &Shared{Limits: limits(nil)}
	p.onBegin = func(s *Stream, head Section) {
		answer(s, 200, "a longer answer than the window", head.End)
	}
	p.arrived = func(s *Stream) {
		in := bytes.Clone(s.Input())
		s.Consume(len(in))
		if s.InputEnded() {
			Write(s, in, true)
		}
	}
	peer := l.Open(func(rc *reactor.Conn) reactor.Handler {
		p.conn = NewServer(rc, shared, p)
		return p.conn
	})
	for _, piece := range pieces {
		peer.Send(piece)
		l.Settle()
	}
	require.LessOrEqual(t, len(p.conn.streams), shared.Limits.StreamsMax)
	got := string(peer.Received())
	peer.Close()
	l.Settle()
	l.On(func() {
		for _, s := range p.begun {
			s.Release()
		}
	})
	require.Zero(t, p.conn.Streams())
	require.Zero(t, p.conn.queued)
	require.Zero(t, shared.granted)
	return got, p.failed
}
