// The end of a process, tested from outside: what a drain waits for, what clients receive, and which files remain.

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

// echoUpstream switches every request to a protocol that returns what it gets.
func echoUpstream(t *testing.T) (addr string) {
	t.Helper()
	return testrig.Serve(t, func(conn net.Conn) {
		if _, err := testrig.ReadHead(conn); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, conn)
	})
}

func TestTunnelsLiveUntilTheDrainIsOver(t *testing.T) {
	t.Parallel()
	e, _ := startConfigured(t, fmt.Sprintf(`
[timeouts]
drain = "1h"
[[upstream]]
name = "echo"
servers = [{ addr = %q }]
[[route]]
path = "/echo"
proxy = { upstream = "echo" }
`, echoUpstream(t)))
	open := func() *rawConn {
		c := dialRaw(t, e.addr)
		c.send("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		response, err := http.ReadResponse(c.r, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
		return c
	}
	echoes := func(c *rawConn) {
		c.send("still here\n")
		line, err := c.r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "still here\n", line)
	}
	left, kept := open(), open()
	e.signal(syscall.SIGTERM)
	awaitNotReady(t, e)
	for range 3 {
		echoes(left)
		echoes(kept)
	}
	require.NoError(t, left.Close())
	echoes(kept)
	code := e.cutShort()
	_, err := kept.r.ReadByte()
	require.ErrorIs(t, err, io.EOF, "a tunnel ends, and is not reset")
	require.Zero(t, code, "a tunnel that ends with the server is no failure: %s", e.stderr)
}

// cutShort signals until the process ends its drain, and waits for its exit. A second signal soon after the first counts as the
// first, and one after the server has stopped kills the process.
func (p *process) cutShort() (code int) {
	await(p.t, "the drain is cut short", func() bool {
		if strings.Contains(p.stderr.String(), "drain cut short") {
			return true
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		return false
	})
	code, _ = p.wait()
	return code
}

// A process that is taken over sends Connection: close on kept connections before it closes them.
func TestTakeOverAnnouncesTheEndOfKeptConnections(t *testing.T) {
	t.Parallel()
	c := newHandoverConfig(t)
	old := c.serve(t)
	kept := dialRaw(t, c.addr)
	ask := func() (*http.Response, error) {
		kept.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
		response, err := http.ReadResponse(kept.r, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
		}
		return response, err
	}
	stop, told := make(chan struct{}), make(chan error, 1)
	go func() { // asks on and on, as clients with kept connections do
		for {
			response, err := ask()
			if err != nil || response.Close {
				told <- err
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	next := c.serve(t)
	require.NoError(t, <-told, "the last answer says Connection: close")
	close(stop)
	code, _ := old.wait()
	require.Zero(t, code)
	require.NoError(t, next.cmd.Process.Kill())
}

// The file of a unix socket belongs to the process that is starting, even if the previous one exits before the handover is
// complete.
func TestEndWhileASuccessorStartsLeavesItsSocket(t *testing.T) {
	t.Parallel()
	c := newHandoverConfig(t)
	old := c.serve(t)
	i, err := reactor.Receive(t.Context(), c.handover) // a successor that is slow to start
	require.NoError(t, err)
	defer func() { _ = i.Close() }()
	ln, err := i.Listen("unix:" + c.unix)
	require.NoError(t, err)
	require.NotNil(t, ln)
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	defer func() { _ = ln.Close() }()
	old.cutShort()
	conn, err := net.Dial("unix", c.unix)
	require.NoError(t, err, "the successor is reached by the file")
	require.NoError(t, conn.Close())
	require.NoFileExists(t, c.handover)
}
