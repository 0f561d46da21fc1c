// WebSockets and event streams over HTTP/2.

package app

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"tafe/app/websocket"
)

// streams is a client of HTTP/2 that writes frames by hand.
type streams struct {
	t      *testing.T
	framer *xhttp2.Framer
	data   map[uint32]*bytes.Buffer
	status map[uint32]string
	ended  map[uint32]bool
}

func dialHTTP2(t *testing.T, s *Server) *streams {
	conn := dial(t, s)
	_, err := io.WriteString(conn, xhttp2.ClientPreface)
	require.NoError(t, err)
	c := &streams{t, xhttp2.NewFramer(conn, conn), map[uint32]*bytes.Buffer{}, map[uint32]string{}, map[uint32]bool{}}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, c.framer.WriteSettings())
	return c
}

func (c *streams) open(id uint32, end bool, fields ...string) {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		require.NoError(c.t, e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	c.data[id] = &bytes.Buffer{}
	require.NoError(c.t, c.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end}))
}

// until reads frames until met is true.
func (c *streams) until(met func() bool) {
	for !met() {
		f, err := c.framer.ReadFrame()
		require.NoError(c.t, err)
		switch f := f.(type) {
		case *xhttp2.SettingsFrame:
			if !f.IsAck() {
				require.NoError(c.t, c.framer.WriteSettingsAck())
			}
		case *xhttp2.MetaHeadersFrame:
			c.status[f.StreamID] = f.PseudoValue("status")
			c.ended[f.StreamID] = f.StreamEnded()
		case *xhttp2.DataFrame:
			c.data[f.StreamID].Write(f.Data())
			c.ended[f.StreamID] = f.StreamEnded()
		case *xhttp2.RSTStreamFrame:
			require.Fail(c.t, "reset", "stream %d: %v", f.StreamID, f.ErrCode)
		}
	}
}

func (c *streams) text(id uint32) string { return c.data[id].String() }

func (c *streams) sendMessage(id uint32, op ws.OpCode, payload []byte) {
	var b bytes.Buffer
	require.NoError(c.t, ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(op, true, payload))))
	require.NoError(c.t, c.framer.WriteData(id, false, b.Bytes()))
}

func serveHTTP2(t *testing.T, a *App) *Server {
	return serveWith(t, a, ServerConfig{Loops: 1, Listeners: []Listener{{Addr: "127.0.0.1:0", H2C: true}}})
}

func TestWebSocketOverHTTP2(t *testing.T) {
	s := serveHTTP2(t, socketApp(websocket.Options{Protocols: []string{"chat"}}, Options{}))
	c := dialHTTP2(t, s)
	for i, path := range []string{"/serve", "/straight"} {
		id := uint32(2*i + 1)
		c.open(id, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", path, ":authority", "a.example",
			"sec-websocket-version", "13", "sec-websocket-protocol", "chat", "origin", "http://a.example")
		c.until(func() bool { return c.status[id] != "" })
		require.Equal(t, "200", c.status[id], path)
		c.sendMessage(id, ws.OpText, []byte("hello"))
		c.until(func() bool { return c.text(id) == "\x81\x05hello" })
		c.sendMessage(id, ws.OpPing, []byte("p"))
		c.until(func() bool { return c.text(id) == "\x81\x05hello\x8a\x01p" })
		c.sendMessage(id, ws.OpClose, ws.NewCloseFrameBody(4000, ""))
		c.until(func() bool { return c.ended[id] })
		require.Equal(t, "\x81\x05hello\x8a\x01p\x88\x02\x0f\xa0", c.text(id))
	}
	c.open(5, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/serve", ":authority", "a.example",
		"sec-websocket-version", "13", "origin", "http://evil.example")
	c.until(func() bool { return c.status[5] != "" })
	require.Equal(t, "403", c.status[5])
	counted(t, s, func(now Stats) bool { return now.WebSockets.Open == 0 && now.Active == 0 })
}

func TestEventsOverHTTP2(t *testing.T) {
	a, ended := eventApp(SSEOptions{}, func(c *Context, s *SSE) error {
		if err := s.Send(Event{ID: "1", Data: "x"}); err != nil {
			return err
		}
		return c.Sleep(time.Hour)
	})
	event, err := EncodeEvent(&Event{Data: "y"})
	require.NoError(t, err)
	gone := make(chan struct{}, 2)
	a.Get("/detached", func(c *Context) error {
		defer c.task.Leave(c.task.Enter())
		e, err := DetachEvents(c, SSEOptions{}, func() { gone <- struct{}{} })
		if err == nil {
			e.Send(event)
		}
		return err
	})
	s := serveHTTP2(t, a)
	c := dialHTTP2(t, s)
	c.open(1, true, ":method", "GET", ":scheme", "http", ":path", "/events", ":authority", "a")
	c.open(3, true, ":method", "GET", ":scheme", "http", ":path", "/detached", ":authority", "a")
	c.open(5, true, ":method", "GET", ":scheme", "http", ":path", "/detached", ":authority", "a")
	c.until(func() bool {
		return c.text(1) == "id: 1\ndata: x\n\n" && c.text(3) == "data: y\n\n" && c.text(5) == "data: y\n\n"
	})
	counted(t, s, func(now Stats) bool { return now.EventStreams == 3 && now.Active == 1 })
	require.NoError(t, c.framer.WriteRSTStream(5, xhttp2.ErrCodeCancel))
	<-gone
	counted(t, s, func(now Stats) bool { return now.EventStreams == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(ctx) }()
	c.until(func() bool { return c.ended[1] && c.ended[3] })
	<-gone
	require.ErrorIs(t, endOf(t, ended), ErrDraining)
	require.NoError(t, <-drained)
}
