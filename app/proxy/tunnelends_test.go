package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"

	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"

// upgraded opens a tunnel and returns its two ends.
func tunnelled(t *testing.T, early, late string, limits reactor.Limits) (client, server *net.TCPConn, in *bufio.Reader) {
	t.Helper()
	ends := make(chan *net.TCPConn)
	over := make(chan struct{})
	o := GroupOptions{Servers: to(testrig.Serve(t, func(c net.Conn) {
		if _, err := testrig.ReadHead(c); err != nil {
			return
		}
		_, _ = io.WriteString(c, switching+late)
		ends <- c.(*net.TCPConn)
		<-over
	}))}
	t.Cleanup(func() { close(over) })
	f := serveWithin(t, limits, o, Options{})
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, upgradeRequest+early)
	require.NoError(t, err)
	server = <-ends
	_ = server.SetDeadline(time.Now().Add(patience))
	in = bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, 101, resp.StatusCode)
	return c.(*net.TCPConn), server, in
}

// If both ends write more than a tunnel buffers before either reads, the tunnel applies backpressure and loses
// nothing.
func TestTunnelHoldsBack(t *testing.T) {
	t.Parallel()
	const size, writeTimeout = 32 << 20, 100 * time.Millisecond
	client, server, in := tunnelled(t, "", "", reactor.Limits{WriteTimeout: writeTimeout})
	done, held := make(chan error, 2), make(chan bool, 2)
	send := func(c *net.TCPConn) {
		block, sent, stalled := make([]byte, 64<<10), 0, false
		for sent < size {
			_ = c.SetWriteDeadline(time.Now().Add(5 * writeTimeout))
			n, err := c.Write(block[:min(len(block), size-sent)])
			sent += n
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded) && !stalled:
				stalled = true
				held <- true
			case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
				held <- false
				done <- err
				return
			}
		}
		done <- c.CloseWrite()
	}
	go send(client)
	go send(server)
	require.True(t, <-held, "it is not read before the tunnel is full, and for longer than a client may pause")
	require.True(t, <-held)
	n, err := io.Copy(io.Discard, in)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	n, err = io.Copy(io.Discard, server)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	require.NoError(t, <-done)
	require.NoError(t, <-done)
}

// Bytes written together with the request or with the 101 arrive, however their sender closes afterwards.
func TestTunnelEndsAtOnce(t *testing.T) {
	t.Parallel()
	halfClose := func(c *net.TCPConn) error { return c.CloseWrite() }
	for range 50 {
		client, server, in := tunnelled(t, "last words", "late words", reactor.Limits{})
		require.NoError(t, halfClose(server))
		require.NoError(t, halfClose(client))
		all, err := io.ReadAll(server)
		require.NoError(t, err)
		require.Equal(t, "last words", string(all))
		all, err = io.ReadAll(in)
		require.NoError(t, err)
		require.Equal(t, "late words", string(all))

		_, server, in = tunnelled(t, "", "late words", reactor.Limits{})
		require.NoError(t, server.Close())
		all, err = io.ReadAll(in)
		require.NoError(t, err)
		require.Equal(t, "late words", string(all))

		client, server, _ = tunnelled(t, "last words", "", reactor.Limits{})
		require.NoError(t, client.Close())
		all, err = io.ReadAll(server)
		require.NoError(t, err)
		require.Equal(t, "last words", string(all))
	}
}

// stallListener accepts connections whose writes report that they wait for their peer.
type stallListener struct {
	net.Listener
	after   time.Duration
	stalled chan struct{}
}

func (l *stallListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &stallConn{Conn: c, l: l}, nil
}

// stallConn is a connection of a stallListener.
type stallConn struct {
	net.Conn
	l *stallListener
}

func (c *stallConn) Write(p []byte) (n int, err error) {
	for n < len(p) {
		_ = c.SetWriteDeadline(time.Now().Add(c.l.after))
		k, err := c.Conn.Write(p[n:min(n+64<<10, len(p))])
		n += k
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			select {
			case c.l.stalled <- struct{}{}:
			default:
			}
		case err != nil:
			return n, err
		}
	}
	return n, nil
}

// A WebSocket with messages of 10 MB survives a client that pauses in the middle of one, for longer than the write timeout of other
// connections. The answers are more than the kernel buffers on the way.
func TestWebSocketSurvivesPauses(t *testing.T) {
	t.Parallel()
	const size, copies, writeTimeout = 10 << 20, 5, 50 * time.Millisecond
	ln := &stallListener{after: 3 * writeTimeout, stalled: make(chan struct{}, 1)}
	over := make(chan error, 1)
	echo := httptest.NewUnstartedServer(websocket.Handler(func(ws *websocket.Conn) {
		var message []byte
		var err error
		for err = websocket.Message.Receive(ws, &message); err == nil; err = websocket.Message.Receive(ws, &message) {
			for range copies {
				err = errors.Join(err, websocket.Message.Send(ws, message))
			}
		}
		over <- err
	}))
	ln.Listener, echo.Listener = echo.Listener, ln
	echo.Start()
	t.Cleanup(echo.Close)
	f := serveWithin(t, reactor.Limits{WriteTimeout: writeTimeout}, GroupOptions{Servers: to(ln.Addr().String())}, Options{})
	conn, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * patience)) // 100 MB pass, under the race detector too
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(256<<10))
	config, err := websocket.NewConfig("ws://"+f.Addr().String()+"/", f.url)
	require.NoError(t, err)
	pausing := &pausingConn{Conn: conn, left: size / 10, over: over}
	ws, err := websocket.NewClient(config, pausing)
	require.NoError(t, err)
	messages := [][]byte{bytes.Repeat([]byte{'a'}, size), bytes.Repeat([]byte{'b'}, size)}
	sent := make(chan error, len(messages))
	go func() {
		for _, m := range messages {
			sent <- websocket.Message.Send(ws, m)
		}
	}()
	pausing.resume = ln.stalled
	for i, m := range messages {
		for range copies {
			var got []byte
			require.NoError(t, websocket.Message.Receive(ws, &got), "message %d", i)
			require.True(t, bytes.Equal(m, got), "message %d", i)
		}
		require.NoError(t, <-sent)
	}
	require.Negative(t, pausing.left, "the client has paused")
	require.Equal(t, 1, f.group.Stats().TunnelsOpen)
	require.NoError(t, ws.Close())
}

// pausingConn does not read after left bytes, until resume. Then left is negative.
type pausingConn struct {
	net.Conn
	left   int
	resume <-chan struct{}
	over   <-chan error // the other end has ended
}

func (c *pausingConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		select {
		case <-c.resume:
		case err := <-c.over:
			return 0, fmt.Errorf("the tunnel ended during the pause: %w", err)
		case <-time.After(3 * patience):
			return 0, errors.New("the sender has not stalled")
		}
		c.left = -1
	}
	if c.left > 0 {
		p = p[:min(len(p), c.left)]
	}
	n, err := c.Conn.Read(p)
	if c.left > 0 {
		c.left -= n
	}
	return n, err
}
