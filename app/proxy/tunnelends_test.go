package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"

// upgraded opens a tunnel and returns its two ends.
func tunnelled(t *testing.T, early, late string, limits reactor.Limits) (client, server *net.TCPConn, in *bufio.Reader) {
	t.Helper()
	ends := make(chan *net.TCPConn)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	o := GroupOptions{Servers: to(upstreamOf(t, func(c net.Conn) {
		buf := make([]byte, 1)
		for seen := ""; !strings.HasSuffix(seen, "\r\n\r\n"); seen += string(buf) {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, switching+late)
		ends <- c.(*net.TCPConn)
		<-over
	}))}
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
