// The rig of the tests: a connection on a loop whose peer speaks frames of x/net/http2.

package http2

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"tafe/httpparse"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// party is the Handler of a Conn and of its streams. It records what it is told, and keeps its streams.
type party struct {
	conn    *Conn
	begun   []*Stream
	heads   map[uint32][]httpparse.Header
	further map[uint32][]Section
	broken  map[uint32]error
	failed  []string
	gone    bool
	closed  bool
	err     error
	onBegin func(s *Stream, head Section)
	arrived func(s *Stream)
}

func newParty() *party {
	return &party{heads: map[uint32][]httpparse.Header{}, further: map[uint32][]Section{}, broken: map[uint32]error{}}
}

func keep(fields []httpparse.Header) []httpparse.Header {
	return append([]httpparse.Header(nil), fields...)
}

func (p *party) Begin(s *Stream, head Section) {
	s.SetHandler(p)
	p.begun = append(p.begun, s)
	p.heads[s.ID()] = keep(head.Fields)
	if p.onBegin != nil {
		p.onBegin(s, head)
	}
}
func (p *party) Progress(*Conn)           {}
func (p *party) Failed(_ *Conn, e *Error) { p.failed = append(p.failed, e.Reason) }
func (p *party) GoingAway(*Conn)          { p.gone = true }
func (p *party) Closed(_ *Conn, err error) {
	p.closed, p.err = true, err
}
func (p *party) Section(s *Stream, head Section) {
	head.Fields = keep(head.Fields)
	p.further[s.ID()] = append(p.further[s.ID()], head)
	if p.conn.client {
		s.SetHeaded()
	}
}
func (p *party) Arrived(s *Stream) {
	if p.arrived != nil {
		p.arrived(s)
	}
}
func (p *party) Room(*Stream)                {}
func (p *party) TimedOut(*Stream)            {}
func (p *party) Broken(s *Stream, err error) { p.broken[s.ID()] = err }

// dialogue is a server Conn whose client is the test.
type dialogue struct {
	*party
	t       *testing.T
	loop    *looptest.Loop
	peer    *looptest.Peer
	shared  *Shared
	out     bytes.Buffer // frames of the test
	framer  *xhttp2.Framer
	in      bytes.Buffer
	encoded bytes.Buffer
	encoder *hpack.Encoder
}

func limits(change func(l *Limits)) *Limits {
	l := DefaultLimits()
	if change != nil {
		change(&l)
	}
	return &l
}

// talk opens a connection and exchanges SETTINGS.
func talk(t *testing.T, l *Limits) *dialogue {
	d := silent(t, l)
	d.out.WriteString(Preface)
	require.NoError(t, d.framer.WriteSettings())
	require.NoError(t, d.framer.WriteSettingsAck())
	d.send()
	d.frames()
	require.Empty(t, d.failed)
	return d
}

// silent opens a connection.
func silent(t *testing.T, l *Limits) *dialogue {
	t.Helper()
	d := &dialogue{party: newParty(), t: t, loop: looptest.New(t, looptest.Options{}), shared: &Shared{Limits: l}}
	d.peer = d.loop.Open(func(rc *reactor.Conn) reactor.Handler {
		d.conn = NewServer(rc, d.shared, d.party)
		return d.conn
	})
	d.framer = xhttp2.NewFramer(&d.out, &d.in)
	d.framer.AllowIllegalWrites = true
	d.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	d.encoder = hpack.NewEncoder(&d.encoded)
	d.loop.Settle()
	return d
}

// send delivers the frames that the test has written.
func (d *dialogue) send() {
	d.peer.Send(append([]byte(nil), d.out.Bytes()...))
	d.out.Reset()
	d.loop.Settle()
}

func (d *dialogue) section(fields ...string) []byte {
	d.encoded.Reset()
	for i := 0; i < len(fields); i += 2 {
		require.NoError(d.t, d.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return append([]byte(nil), d.encoded.Bytes()...)
}

// request writes HEADERS of a GET.
func (d *dialogue) request(id uint32, end bool, more ...string) {
	fields := append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h"}, more...)
	require.NoError(d.t, d.framer.WriteHeaders(xhttp2.HeadersFrameParam{
		StreamID: id, BlockFragment: d.section(fields...), EndStream: end, EndHeaders: true,
	}))
}

// frames returns the frames that have arrived, as text.
func (d *dialogue) frames() (all []string) {
	d.in.Write(d.peer.Received())
	for d.in.Len() > 0 {
		f, err := d.framer.ReadFrame()
		require.NoError(d.t, err)
		all = append(all, frameText(f))
	}
	return all
}

func frameText(f xhttp2.Frame) string {
	h := f.Header()
	end := ""
	if (h.Type == xhttp2.FrameData || h.Type == xhttp2.FrameHeaders) && h.Flags.Has(xhttp2.FlagDataEndStream) {
		end = " end"
	}
	switch f := f.(type) {
	case *xhttp2.DataFrame:
		if len(f.Data()) > 32 {
			return fmt.Sprintf("%d DATA %d%s", h.StreamID, len(f.Data()), end)
		}
		return fmt.Sprintf("%d DATA %q%s", h.StreamID, f.Data(), end)
	case *xhttp2.MetaHeadersFrame:
		text := fmt.Sprintf("%d HEADERS%s", h.StreamID, end)
		for _, field := range f.Fields {
			text += " " + field.Name + "=" + field.Value
		}
		return text
	case *xhttp2.RSTStreamFrame:
		return fmt.Sprintf("%d RST_STREAM %v", h.StreamID, f.ErrCode)
	case *xhttp2.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d %v %s", f.LastStreamID, f.ErrCode, f.DebugData())
	case *xhttp2.WindowUpdateFrame:
		return fmt.Sprintf("%d WINDOW_UPDATE %d", h.StreamID, f.Increment)
	case *xhttp2.SettingsFrame:
		text := "SETTINGS"
		if f.IsAck() {
			text += " ack"
		}
		_ = f.ForeachSetting(func(s xhttp2.Setting) error { text += " " + s.String(); return nil })
		return text
	case *xhttp2.PingFrame:
		return fmt.Sprintf("PING %v %q", f.IsAck(), f.Data[:])
	}
	return h.String()
}

// answer writes a response on the loop.
func answer(s *Stream, status int, body string, end bool) {
	b, at := s.OpenSection(0)
	s.CloseSection(AppendStatus(b, status), at, end && body == "")
	if body != "" {
		Write(s, body, end)
	}
}
