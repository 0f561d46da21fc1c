package app

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"tafe/app/websocket"
)

const handshake = "\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// socketApp has an echo by Serve and one by a straight-line handler.
func socketApp(o websocket.Options, options Options) *App {
	if options.Log == nil {
		options.Log = quiet
	}
	a := New(options)
	a.Get("/serve", func(c *Context) error {
		c.SetHeader("X-Of-Handler", "yes")
		ws, err := c.WebSocket(o)
		if err != nil {
			return err
		}
		return ws.Serve(func(m *websocket.Message) error { return m.Conn().Write(m.Kind, m.Data) }, nil)
	})
	a.Get("/straight", func(c *Context) error {
		ws, err := c.WebSocket(o)
		if err != nil {
			return err
		}
		for {
			kind, data, err := ws.Read()
			if err != nil {
				return err
			}
			if err := ws.Write(kind, data); err != nil {
				return err
			}
		}
	}, Timeout(time.Minute))
	a.Get("/fails", func(c *Context) error {
		if _, err := c.WebSocket(o); err != nil {
			return err
		}
		return errors.New("broken")
	})
	a.Get("/panics", func(c *Context) error {
		if _, err := c.WebSocket(o); err != nil {
			return err
		}
		panic("boom")
	})
	a.Get("/returns", func(c *Context) error {
		ws, err := c.WebSocket(o)
		if err != nil {
			return err
		}
		return ws.Write(websocket.Text, []byte("bye"))
	})
	return a
}

func TestWebSocketHandshake(t *testing.T) {
	s := serve(t, socketApp(websocket.Options{Origins: []string{"*.trusted.example"}, Protocols: []string{"chat.v1"}, Compress: true}, Options{}), 1)
	for _, tc := range []struct {
		why, request string
		status       int
		want         []string
	}{
		{"the example of RFC 6455", "GET /serve HTTP/1.1" + handshake, 101,
			[]string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "X-Of-Handler: yes"}},
		{"lists and case", "GET /serve HTTP/1.1" + strings.NewReplacer("Upgrade: websocket", "upgrade: h2c, WebSocket", "Connection: Upgrade", "connection: keep-alive, upgrade").Replace(handshake), 101, nil},
		{"a subprotocol", "GET /serve HTTP/1.1" + handshake + "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\n", 101, []string{"Sec-WebSocket-Protocol: chat.v1"}},
		{"none of ours", "GET /serve HTTP/1.1" + handshake + "Sec-WebSocket-Protocol: chat.v2\r\n", 101, nil},
		{"compression as Chromium offers it", "GET /serve HTTP/1.1" + handshake + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n", 101,
			[]string{"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"}},
		{"the second offer", "GET /serve HTTP/1.1" + handshake + "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9, permessage-deflate\r\n", 101,
			[]string{"Sec-WebSocket-Extensions: permessage-deflate"}},
		{"extensions that do not parse", "GET /serve HTTP/1.1" + handshake + "Sec-WebSocket-Extensions: ;;\r\n", 101, nil},
		{"a page of the same host", "GET /serve HTTP/1.1" + handshake + "Origin: https://a.example\r\n", 101, nil},
		{"a page of a trusted host", "GET /serve HTTP/1.1" + handshake + "Origin: https://b.trusted.example\r\n", 101, nil},
		{"a page of another host", "GET /serve HTTP/1.1" + handshake + "Origin: https://trusted.example.evil\r\n", 403, nil},
		{"a page without an origin of its own", "GET /serve HTTP/1.1" + handshake + "Origin: null\r\n", 403, nil},
		{"no upgrade", "GET /serve HTTP/1.1\r\nHost: a\r\n", 426, []string{"Upgrade: websocket", "Connection: upgrade"}},
		{"another upgrade", "GET /serve HTTP/1.1" + strings.Replace(handshake, "websocket", "h2c", 1), 426, nil},
		{"another version", "GET /serve HTTP/1.1" + strings.Replace(handshake, "13", "8", 1), 426, []string{"Sec-WebSocket-Version: 13"}},
		{"a short key", "GET /serve HTTP/1.1" + strings.Replace(handshake, "dGhl", "", 1), 400, nil},
		{"a body", "GET /serve HTTP/1.1" + handshake + "Content-Length: 1\r\n", 400, nil},
	} {
		t.Run(tc.why, func(t *testing.T) {
			conn := dial(t, s)
			_, err := io.WriteString(conn, tc.request+"\r\n")
			require.NoError(t, err)
			r := bufio.NewReader(conn)
			var head strings.Builder
			for line := ""; line != "\r\n"; head.WriteString(line) {
				line, err = r.ReadString('\n')
				require.NoError(t, err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head.String())), nil)
			require.NoError(t, err)
			require.Equal(t, tc.status, resp.StatusCode, head.String())
			for _, line := range tc.want {
				require.Contains(t, head.String(), line)
			}
			for _, optional := range []string{"Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
				if !strings.Contains(strings.Join(tc.want, "\n"), optional) {
					require.NotContains(t, head.String(), optional)
				}
			}
		})
	}
	requireReason(t, s, "websocket-origin", 2)
}

// Frames that come with the handshake, or in any pieces after it, are not lost.
func TestWebSocketEarlyFrames(t *testing.T) {
	s := serve(t, socketApp(websocket.Options{}, Options{}), 1)
	for _, path := range []string{"/serve", "/straight"} {
		conn := dial(t, s)
		_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1"+handshake+"\r\n\x81\x81\x00\x00\x00\x00a\x81\x81\x00\x00\x00\x00b\x81\x81\x00")
		require.NoError(t, err)
		r := bufio.NewReader(conn)
		_, err = http.ReadResponse(r, nil)
		require.NoError(t, err)
		got := make([]byte, 6)
		_, err = io.ReadFull(r, got)
		require.NoError(t, err)
		require.Equal(t, "\x81\x01a\x81\x01b", string(got))
		_, err = io.WriteString(conn, "\x00\x00\x00c")
		require.NoError(t, err)
		_, err = io.ReadFull(r, got[:3])
		require.NoError(t, err)
		require.Equal(t, "\x81\x01c", string(got[:3]))
	}
	counted(t, s, func(now Stats) bool { return now.WebSockets == websocket.Stats{Open: 2, In: 6, Out: 6} })
}

// echoes are messages of all sizes that matter.
func echoes() [][]byte {
	return [][]byte{[]byte("hello"), {}, []byte(strings.Repeat("compressible ", 5000)), make([]byte, 125), make([]byte, 126), make([]byte, 200_000)}
}

func TestWebSocketWithGorilla(t *testing.T) {
	s := serve(t, socketApp(websocket.Options{Compress: true}, Options{}), 2)
	for _, path := range []string{"/serve", "/straight"} {
		for _, compress := range []bool{false, true} {
			dialer := gorilla.Dialer{EnableCompression: compress, HandshakeTimeout: patience}
			c, _, err := dialer.Dial("ws://"+s.Addr().String()+path, nil)
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
			for _, m := range echoes() {
				require.NoError(t, c.WriteMessage(gorilla.BinaryMessage, m))
				kind, got, err := c.ReadMessage()
				require.NoError(t, err)
				require.Equal(t, gorilla.BinaryMessage, kind)
				require.Equal(t, string(m), string(got))
			}
			w, err := c.NextWriter(gorilla.TextMessage) // gorilla fragments what does not fit its buffer
			require.NoError(t, err)
			for range 10 {
				_, err = w.Write([]byte(strings.Repeat("x", 3000)))
				require.NoError(t, err)
			}
			require.NoError(t, w.Close())
			_, got, err := c.ReadMessage()
			require.NoError(t, err)
			require.Len(t, got, 30_000)
			require.NoError(t, c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(4000, "bye")))
			_, _, err = c.ReadMessage()
			require.True(t, gorilla.IsCloseError(err, 4000), "%v", err)
			require.NoError(t, c.Close())
		}
	}
	counted(t, s, func(now Stats) bool { return now.WebSockets.Open == 0 && now.Active == 0 })
	require.Empty(t, reasonsOf(t, s))
}

func TestWebSocketWithCoder(t *testing.T) {
	s := serve(t, socketApp(websocket.Options{Compress: true, Protocols: []string{"b", "a"}}, Options{}), 2)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, path := range []string{"/serve", "/straight"} {
		for _, mode := range []coder.CompressionMode{coder.CompressionDisabled, coder.CompressionNoContextTakeover, coder.CompressionContextTakeover} {
			c, _, err := coder.Dial(ctx, "ws://"+s.Addr().String()+path, &coder.DialOptions{CompressionMode: mode, Subprotocols: []string{"a", "b"}})
			require.NoError(t, err)
			c.SetReadLimit(1 << 20)
			require.Equal(t, "b", c.Subprotocol(), "the server's preference")
			for _, m := range echoes() {
				require.NoError(t, c.Write(ctx, coder.MessageText, m))
				kind, got, err := c.Read(ctx)
				require.NoError(t, err)
				require.Equal(t, coder.MessageText, kind)
				require.Equal(t, string(m), string(got))
			}
			require.NoError(t, c.Close(coder.StatusNormalClosure, "bye"))
		}
	}
	counted(t, s, func(now Stats) bool { return now.WebSockets.Open == 0 })
}

func TestWebSocketWithNpmWS(t *testing.T) {
	need := func(err error, what string) {
		if err == nil {
			return
		}
		if os.Getenv("CI") == "true" {
			require.NoError(t, err, what)
		}
		t.Skipf("%s: %v", what, err)
	}
	for _, program := range []string{"node", "npm"} {
		_, err := exec.LookPath(program)
		need(err, program+" is not installed")
	}
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "npm-ws"))))
	install := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	out, err := install.CombinedOutput()
	if err != nil {
		err = errors.New(string(out))
	}
	need(err, "npm ci failed")
	s := serve(t, socketApp(websocket.Options{Compress: true, Protocols: []string{"chat.v1"}}, Options{}), 1)
	for _, tc := range []struct{ path, compress, extensions string }{
		{"/serve", "no", ""},
		{"/straight", "yes", "permessage-deflate"},
	} {
		client := exec.Command("node", "client.mjs", "ws://"+s.Addr().String()+tc.path, tc.compress)
		client.Dir = dir
		out, err := client.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, "open chat.v1 "+tc.extensions+"\nmessage 5 true\nmessage 10 true\nmessage 70000 true\nmessage 3 true\nmessage 0 true\n"+
			"message 200000 true\npong are you there\nclose 4321 \n", string(out))
	}
}

func TestWebSocketHandlerEnds(t *testing.T) {
	s := serve(t, socketApp(websocket.Options{}, Options{}), 1)
	for _, tc := range []struct {
		path string
		code int
	}{{"/returns", 1000}, {"/fails", 1011}, {"/panics", 1011}} {
		c, _, err := gorilla.DefaultDialer.Dial("ws://"+s.Addr().String()+tc.path, nil)
		require.NoError(t, err)
		for err == nil {
			_, _, err = c.ReadMessage()
		}
		require.True(t, gorilla.IsCloseError(err, tc.code), "%s: %v", tc.path, err)
		require.NoError(t, c.Close())
	}
	requireReason(t, s, "panic", 1)
	requireReason(t, s, "handler-error", 1)
}

// A client that breaks the protocol is told why, and counted.
func TestWebSocketViolation(t *testing.T) {
	s := serve(t, socketApp(websocket.Options{MessageMax: 1000}, Options{}), 1)
	for _, tc := range []struct {
		why, sent, reason string
		code              int
	}{
		{"a frame without a mask", "\x81\x01a", websocket.ReasonProtocol, 1002},
		{"a message that is too big", "\x82\xfe\x10\x00aaaa", websocket.ReasonTooBig, 1009},
	} {
		c, _, err := gorilla.DefaultDialer.Dial("ws://"+s.Addr().String()+"/straight", nil)
		require.NoError(t, err)
		_, err = io.WriteString(c.NetConn(), tc.sent)
		require.NoError(t, err)
		_, _, err = c.ReadMessage()
		require.True(t, gorilla.IsCloseError(err, tc.code), "%s: %v", tc.why, err)
		requireReason(t, s, tc.reason, 1)
		require.NoError(t, c.Close())
	}
}

func TestDrainClosesWebSockets(t *testing.T) {
	for _, path := range []string{"/serve", "/straight"} {
		s := serve(t, socketApp(websocket.Options{}, Options{}), 2)
		var all []*gorilla.Conn
		for range 8 {
			c, _, err := gorilla.DefaultDialer.Dial("ws://"+s.Addr().String()+path, nil)
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			all = append(all, c)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		drained := make(chan error, 1)
		go func() { drained <- s.Drain(ctx) }()
		for _, c := range all {
			_, _, err := c.ReadMessage()
			require.True(t, gorilla.IsCloseError(err, 1001), "%v", err)
		}
		require.NoError(t, <-drained)
		require.NoError(t, ctx.Err(), "long before its time is over")
	}
}

func TestWebSocketUnderNetHTTP(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/", func(c *Context) error {
		_, err := c.WebSocket(websocket.Options{})
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return c.String(200, hello)
	})
	r := httptest.NewRequest("GET", "/", nil)
	for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	require.Equal(t, hello, w.Body.String())
}

// The access log has the request when its handler has returned.
func TestWebSocketAccessLog(t *testing.T) {
	entries := make(chan Entry, 1)
	s := serve(t, socketApp(websocket.Options{}, Options{AccessLog: func(e *Entry) { entries <- Entry{Status: e.Status, Route: e.Route, Reason: e.Reason} }}), 1)
	c, _, err := gorilla.DefaultDialer.Dial("ws://"+s.Addr().String()+"/serve", nil)
	require.NoError(t, err)
	require.Equal(t, Entry{Status: 101, Route: "/serve"}, <-entries)
	require.NoError(t, c.Close())
}
