package websocket

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// rig is one WebSocket on a test loop, with the client's end of its connection.
type rig struct {
	t       testing.TB
	loop    *looptest.Loop
	set     *Set
	conn    *Conn
	peer    *looptest.Peer
	reasons map[string]int
	errs    []error
}

func newRig(t testing.TB, o Options, lo looptest.Options) *rig {
	r := &rig{t: t, loop: looptest.New(t, lo), reasons: map[string]int{}}
	r.set = NewSet(SetConfig{
		Loop:   r.loop.Loop,
		Count:  func(reason string) { r.reasons[reason]++ },
		Failed: func(_ *Conn, err error) { r.errs = append(r.errs, err) },
	})
	r.peer = r.loop.Open(func(conn *reactor.Conn) reactor.Handler {
		r.conn = r.set.Accept(Accepted{Conn: conn, Options: o.WithDefaults(), Deflate: o.Compress})
		return r.conn
	})
	return r
}

// echo makes the connection send every message back.
func (r *rig) echo() {
	r.serve(func(m *Message) error { return m.Conn().Write(m.Kind, m.Data) })
}

func (r *rig) serve(onMessage func(*Message) error) {
	r.loop.On(func() { require.NoError(r.t, r.conn.Serve(onMessage, nil)) })
}

// frames parses what the client has received: "OP PAYLOAD" for each frame, a close frame as "close CODE".
func (r *rig) frames() (all []string) {
	in := bytes.NewReader(r.peer.Received())
	for in.Len() > 0 {
		f, err := ws.ReadFrame(in)
		if err == io.ErrUnexpectedEOF {
			return append(all, "cut")
		}
		require.NoError(r.t, err)
		require.False(r.t, f.Header.Masked, "a server does not mask")
		require.True(r.t, f.Header.Fin)
		all = append(all, shown(f))
	}
	return all
}

func shown(f ws.Frame) string {
	payload := string(f.Payload)
	if f.Header.OpCode == ws.OpClose {
		if len(f.Payload) < 2 {
			return "close"
		}
		code, _ := ws.ParseCloseFrameData(f.Payload)
		return fmt.Sprintf("close %d", code)
	}
	if len(payload) > 40 {
		payload = fmt.Sprintf("%d bytes", len(payload))
	}
	name := map[ws.OpCode]string{ws.OpText: "text", ws.OpBinary: "binary", ws.OpPing: "ping", ws.OpPong: "pong"}[f.Header.OpCode]
	if f.Header.Rsv != 0 {
		name += "*"
	}
	return name + " " + payload
}

// frameOf is a frame of a client.
func frameOf(op ws.OpCode, fin bool, rsv byte, payload string) []byte {
	f := ws.NewFrame(op, fin, []byte(payload))
	f.Header.Rsv = rsv
	var b bytes.Buffer
	_ = ws.WriteFrame(&b, ws.MaskFrameInPlace(f)) // a Buffer does not fail
	return b.Bytes()
}

func text(s string) []byte { return frameOf(ws.OpText, true, 0, s) }
func blob(s string) []byte { return frameOf(ws.OpBinary, true, 0, s) }
func ping(s string) []byte { return frameOf(ws.OpPing, true, 0, s) }

func closing(code Code, reason string) []byte {
	return frameOf(ws.OpClose, true, 0, string(ws.NewCloseFrameBody(ws.StatusCode(code), reason)))
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
