package app

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xhttp2 "golang.org/x/net/http2"
)

// heapInUse returns the live heap after a collection.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Each attack is sent until the server ends the connection. It names the reason to the client and counts it, its memory stays bounded, and
// other clients are served.
func TestHTTP2Attacks(t *testing.T) {
	const rounds = 200_000 // far beyond each bound
	for _, c := range []struct {
		why    string
		send   func(w *rawClient, i int) error
		before func(w *rawClient)
		reason string
	}{
		{why: "rapid reset", reason: "h2-resets", send: func(w *rawClient, i int) error {
			id := uint32(2*i + 1)
			w.get(id, "/slow")
			return w.framer.WriteRSTStream(id, xhttp2.ErrCodeCancel)
		}},
		{why: "streams that the server has to reset", reason: "h2-resets", send: func(w *rawClient, i int) error {
			id := uint32(2*i + 1)
			w.get(id, "/slow")
			return w.framer.WriteWindowUpdate(id, 0)
		}},
		{why: "CONTINUATION without end", reason: "h2-continuations", before: func(w *rawClient) {
			_ = w.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: w.section("x", "y")})
		}, send: func(w *rawClient, _ int) error { return w.framer.WriteContinuation(1, false, w.section("x", "y")) }},
		{why: "empty CONTINUATION", reason: "h2-continuations", before: func(w *rawClient) {
			_ = w.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: w.section("x", "y")})
		}, send: func(w *rawClient, _ int) error { return w.framer.WriteContinuation(1, false, nil) }},
		{why: "SETTINGS", reason: "h2-control-frames", send: func(w *rawClient, i int) error {
			return w.framer.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: uint32(i)})
		}},
		{why: "PING", reason: "h2-control-frames", send: func(w *rawClient, _ int) error { return w.framer.WritePing(false, [8]byte{}) }},
		{why: "acknowledgements of nothing", reason: "h2-control-frames", send: func(w *rawClient, _ int) error { return w.framer.WriteSettingsAck() }},
		{why: "PRIORITY", reason: "h2-control-frames", send: func(w *rawClient, i int) error {
			return w.framer.WritePriority(uint32(2*i+1), xhttp2.PriorityParam{})
		}},
		{why: "unknown frames", reason: "h2-control-frames", send: func(w *rawClient, _ int) error { return w.framer.WriteRawFrame(0xee, 0, 0, nil) }},
		{why: "windows opened byte by byte", reason: "h2-control-frames", send: func(w *rawClient, _ int) error { return w.framer.WriteWindowUpdate(0, 1) }},
		{why: "DATA without data", reason: "h2-empty-frames", before: func(w *rawClient) {
			w.headers(1, false, ":method", "POST", ":scheme", "http", ":path", "/slow", ":authority", "h")
		}, send: func(w *rawClient, _ int) error { return w.framer.WriteData(1, false, nil) }},
		{why: "padding in place of data", reason: "h2-empty-frames", before: func(w *rawClient) {
			w.headers(1, false, ":method", "POST", ":scheme", "http", ":path", "/slow", ":authority", "h")
		}, send: func(w *rawClient, _ int) error { return w.framer.WriteDataPadded(1, false, nil, make([]byte, 16)) }},
		{why: "more streams than allowed", reason: "h2-resets", send: func(w *rawClient, i int) error {
			w.get(uint32(2*i+1), "/slow")
			return nil
		}},
		{why: "a field of the dynamic table, repeated", reason: "h2-header-bomb", send: func(w *rawClient, i int) error {
			var section []byte
			for k, v := range map[string]string{":method": "GET", ":scheme": "http", ":path": "/", ":authority": "h"} {
				section = append(section, w.section(k, v)...)
			}
			section = append(append(section, 0x40, 1, 'x', 0x7f, 0xa1, 0x1e), bytes.Repeat([]byte("y"), 4000)...) // into the table
			section = append(section, bytes.Repeat([]byte{0xbe}, 8000)...)
			return w.framer.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: section, EndStream: true, EndHeaders: true})
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			a := demo(Options{Log: quiet, HTTP2: HTTP2{StreamsMax: 100, ResetsMax: 200, ControlFramesMax: 200, EmptyFramesMax: 200}})
			for _, method := range []string{"GET", "POST"} {
				a.Handle(method, "/slow", func(c *Context) error { return c.Sleep(time.Hour) })
			}
			s, client := serveH2C(t, a)
			w := rawHTTP2(t, s)
			answers := make(chan string, 1)
			go func() { // the answers are read, or the client would block the server
				for {
					f, err := w.framer.ReadFrame()
					if err != nil {
						answers <- err.Error()
						return
					}
					if g, ok := f.(*xhttp2.GoAwayFrame); ok {
						answers <- fmt.Sprintf("%v %s", g.ErrCode, g.DebugData())
						_, _ = io.Copy(io.Discard, w.conn)
						return
					}
				}
			}()
			before := heapInUse()
			if c.before != nil {
				c.before(w)
			}
			w.lenient = true // the server may have ended the connection
			got := ""
			for i := 0; i < rounds && got == ""; i++ {
				_ = c.send(w, i)
				select {
				case got = <-answers:
				default:
				}
			}
			if got == "" {
				got = <-answers
			}
			require.Equal(t, "ENHANCE_YOUR_CALM "+c.reason, got)
			requireReason(t, s, c.reason, int(reasonsOf(t, s)[c.reason]))
			require.NotZero(t, reasonsOf(t, s)[c.reason])
			counted(t, s, func(s Stats) bool { return s.Active == 0 })
			require.Less(t, heapInUse(), before+8<<20)
			resp, err := client.Get("http://" + s.Addr().String() + "/plaintext")
			require.NoError(t, err)
			_ = resp.Body.Close()
		})
	}
}

// A head whose cookies are many small fields is bounded as one with other fields.
func TestHTTP2CookieCrumbs(t *testing.T) {
	a := demo(Options{})
	s, _ := serveH2C(t, a)
	w := rawHTTP2(t, s)
	fields := []string{":method", "GET", ":scheme", "http", ":path", "/plaintext", ":authority", "h"}
	for i := range 5000 {
		fields = append(fields, "cookie", fmt.Sprint(i%10))
	}
	w.headers(1, true, fields...)
	require.Equal(t, "431", w.head(1)[":status"])
	w.get(3, "/plaintext")
	require.Equal(t, "200", w.head(3)[":status"], "the state of HPACK has followed")
}

// A client that asks for large answers and gives no window, or tiny ones, pins a bounded amount for a bounded time.
func TestHTTP2TinyWindows(t *testing.T) {
	const size = 512 << 10
	a := New(Options{Log: quiet, HTTP2: HTTP2{WriteTimeout: 50 * time.Millisecond}})
	content := strings.Repeat("x", size)
	a.Get("/", func(c *Context) error { return c.String(200, content) })
	s, client := serveH2C(t, a)
	before := heapInUse()
	w := rawHTTP2(t, s)
	require.NoError(t, w.framer.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0}))
	const streams = 60
	for i := range streams {
		w.get(uint32(2*i+1), "/")
	}
	w.get(2*streams+1, "/")
	counted(t, s, func(s Stats) bool { return s.Requests > 0 })
	require.Less(t, heapInUse(), before+24<<20, "buffers for the answers of all streams would be 60 MiB; the pool of the loop keeps 16")
	for i := 0; ; i++ { // a byte now and then does not help
		if w.framer.WriteWindowUpdate(uint32(2*i+1), 1) != nil || i == 10 {
			break
		}
	}
	requireAtLeast(t, s, "write-timeout", streams)
	resp, err := client.Get("http://" + s.Addr().String())
	require.NoError(t, err)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Len(t, got, size)
	_ = resp.Body.Close()
}

func requireAtLeast(t *testing.T, s *Server, reason string, n uint64) {
	t.Helper()
	require.Eventually(t, func() bool { return reasonsOf(t, s)[reason] >= n }, patience, time.Millisecond)
}

// Requests whose bodies do not arrive end by BodyTimeout.
func TestHTTP2HalfOpen(t *testing.T) {
	a := New(Options{Log: quiet, BodyTimeout: 100 * time.Millisecond})
	a.Post("/", func(c *Context) error {
		_, err := c.Body()
		return err
	})
	s, _ := serveH2C(t, a)
	w := rawHTTP2(t, s)
	for i := range 100 {
		w.headers(uint32(2*i+1), false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "h")
	}
	for i := range 100 {
		require.Equal(t, "408", w.head(uint32(2*i + 1))[":status"])
	}
	requireReason(t, s, "body-timeout", 100)
	counted(t, s, func(s Stats) bool { return s.Active == 0 })
}
