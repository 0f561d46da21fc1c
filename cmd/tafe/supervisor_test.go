package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 20 * time.Second

// Messages to systemd in its protocol: one datagram per state.
func TestSupervisorIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer func() { _ = socket.Close() }()
	next := func(within time.Duration) string {
		require.NoError(t, socket.SetReadDeadline(time.Now().Add(within)))
		b := make([]byte, 4096)
		n, err := socket.Read(b)
		if os.IsTimeout(err) {
			return ""
		}
		require.NoError(t, err)
		return string(b[:n])
	}
	until := func(prefix string) string {
		for {
			got := next(patience)
			require.NotEmpty(t, got, "waiting for %s", prefix)
			if strings.HasPrefix(got, prefix) {
				return got
			}
			require.Equal(t, "WATCHDOG=1", got)
		}
	}

	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "400000")
	e := startServe(t, "--handoff", "off")
	require.Equal(t, "READY=1", next(patience), "not before it serves")
	require.Equal(t, "WATCHDOG=1", next(patience))

	// A loop that is held is not alive.
	resp, err := http.Get("http://" + e.addr + "/hog?how=sleep&ms=2000")
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.NoError(t, socket.SetReadDeadline(time.Now()))
	told := 0
	for next(time.Millisecond) != "" {
		told++
	}
	require.LessOrEqual(t, told, 4, "of the ten that 2 s have room for: those from before and after")
	until("WATCHDOG=1")

	require.NoError(t, e.cmd.Process.Signal(syscall.SIGHUP))
	require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, until("RELOADING=1"))
	until("READY=1")
	require.NoError(t, e.cmd.Process.Signal(syscall.SIGTERM))
	until("STOPPING=1")
	code, _ := e.wait()
	require.Zero(t, code)
}
