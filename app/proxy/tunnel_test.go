package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echoUpgrade switches to an echo protocol.
func echoUpgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "echo" || r.Header.Get("Connection") != "upgrade" {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	c, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nSec-Key: k\r\n\r\nfirst ")
	_ = rw.Flush()
	_, _ = io.Copy(c, rw)
}

const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n"

func TestTunnel(t *testing.T) {
	t.Parallel()
	f := serve(t, GroupOptions{Servers: to(backend(t, echoUpgrade))}, Options{})
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, upgradeRequest+"early ")
	require.NoError(t, err)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, 101, resp.StatusCode)
	require.Equal(t, "echo", resp.Header.Get("Upgrade"))
	require.Equal(t, "k", resp.Header.Get("Sec-Key"))
	read := func(want string) {
		got := make([]byte, len(want))
		_, err := io.ReadFull(in, got)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	read("first early ")
	for range 100 {
		_, err = io.WriteString(c, "again ")
		require.NoError(t, err)
		read("again ")
	}
	require.Equal(t, 1, f.group.Stats().TunnelsOpen)
	require.Equal(t, 1, f.group.Stats().Servers[0].Active)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { s := f.group.Stats(); return s.TunnelsOpen == 0 && s.Servers[0].Active == 0 }, patience, time.Millisecond,
		"the client's end ends the server's")
}

// The end of one direction leaves the other open.
func TestTunnelDirectionsEndSeparately(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 1)
	f := serve(t, GroupOptions{Servers: to(backend(t, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		_ = rw.Flush()
		all, _ := io.ReadAll(rw) // to the client's FIN
		ended <- string(all)
		_, _ = io.WriteString(c, "answer after the end")
	}))}, Options{})
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, upgradeRequest+"all of it")
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	in := bufio.NewReader(c)
	_, err = http.ReadResponse(in, nil)
	require.NoError(t, err)
	rest, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "all of it", <-ended)
	require.Equal(t, "answer after the end", string(rest))
	require.Eventually(t, func() bool { s := f.group.Stats(); return s.TunnelsOpen == 0 && s.Servers[0].Active == 0 }, patience, time.Millisecond)
}

func TestTunnelRefused(t *testing.T) {
	t.Parallel()
	f := serve(t, GroupOptions{Servers: to(backend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }))}, Options{})
	require.Equal(t, "403 ", f.raw(t, upgradeRequest), "an ordinary answer")
	require.Zero(t, f.group.Stats().Tunnels)
}

func TestIdleTunnelEnds(t *testing.T) {
	t.Parallel()
	f := serve(t, GroupOptions{Servers: to(backend(t, echoUpgrade))}, Options{StreamIdle: 30 * time.Millisecond})
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, upgradeRequest)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, c)
	require.NoError(t, err, "it is closed, and not by our deadline")
	require.Eventually(t, func() bool { return f.group.Stats().TunnelsOpen == 0 }, patience, time.Millisecond)
}
