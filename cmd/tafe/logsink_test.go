// Logs with slow readers and full disks: they stop no loop, neither the watchdog nor the admin listener nor the exit of the
// process, and lost lines are counted.

package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fullPipe is a full pipe.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	require.NoError(t, unix.SetNonblock(fds[1], true))
	for line := append(bytes.Repeat([]byte{'x'}, 511), '\n'); ; {
		if _, err := unix.Write(fds[1], line); err != nil {
			require.ErrorIs(t, err, unix.EAGAIN)
			break
		}
	}
	require.NoError(t, unix.SetNonblock(fds[1], false))
	return r, w
}

// deadPipe has no reader.
func deadPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	return path
}

// droppedLines reads a series of /metrics.
func droppedLines(t *testing.T, e *edgeProcess, log string) int {
	t.Helper()
	status, body := get(t, e.admin, "/metrics")
	require.Equal(t, 200, status)
	found := regexp.MustCompile(`(?m)^tafe_log_lines_dropped_total\{log="` + log + `"\} (\d+)$`).FindStringSubmatch(body)
	require.NotNil(t, found, "no series for the log %s", log)
	n, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	return n
}

func TestServerOutlivesTheReadersOfItsLogs(t *testing.T) {
	t.Parallel()
	file := func(name string) func(t *testing.T) *os.File {
		return func(t *testing.T) *os.File {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			require.NoError(t, err)
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
	}
	for _, c := range []struct {
		why    string
		stderr func(t *testing.T) *os.File // nil: one that is read
		flags  func(t *testing.T) []string // beyond the usual ones
		lost   string                      // the log that must count lost lines
	}{
		{"nobody reads stderr", func(t *testing.T) *os.File { _, w := fullPipe(t); return w }, nil, ""},
		{"the reader of stderr is gone", deadPipe, nil, "server"},
		{"stderr is on a full disk", file("/dev/full"), nil, "server"},
		{"the access log is on a full disk", nil, func(*testing.T) []string { return []string{"--access-log", "/dev/full"} }, "access"},
		{"the overruns are on a full disk", nil, func(*testing.T) []string { return []string{"--overrun-log", "/dev/full"} }, "watchdog"},
		{"nobody reads the FIFO of the access log", nil, func(t *testing.T) []string { return []string{"--access-log", fifo(t)} }, ""},
		{"nobody reads the FIFO of the overruns", nil, func(t *testing.T) []string { return []string{"--overrun-log", fifo(t)} }, ""},
	} {
		t.Run(c.why, func(t *testing.T) {
			args := []string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--loops", "1", "--budget", "1ms"}
			if c.flags != nil {
				args = append(args, c.flags(t)...)
			}
			p := prepare(t, binary, args...)
			if c.stderr != nil {
				p.cmd.Stderr = c.stderr(t)
			}
			p.run()
			e := serveOn(p)
			for range 20 { // each refusal is logged by the loop
				bad := dialRaw(t, e.addr)
				bad.send("GET / HTTP/1.1\r\n\r\n")
				response, _ := bad.receive()
				require.Equal(t, 400, response.StatusCode)
			}
			status, _ := get(t, e.addr, "/hog?ms=20&how=spin")
			require.Equal(t, 200, status)
			for _, target := range []string{"/healthz", "/overruns", "/metrics", "/"} {
				status, _ := get(t, e.admin, target)
				require.Equal(t, 200, status, target)
			}
			e.signal(syscall.SIGHUP) // logs are opened anew
			status, _ = get(t, e.addr, "/plaintext")
			require.Equal(t, 200, status)
			if c.lost != "" {
				await(t, "lost lines are counted", func() bool { return droppedLines(t, e, c.lost) > 0 })
			}
			e.signal(syscall.SIGTERM)
			code, _ := e.wait()
			require.Equal(t, exitOK, code)
		})
	}
}

func TestLogOnAFIFOComesToALateReader(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	e := startServe(t, "--access-log", path)
	status, _ := get(t, e.addr, "/plaintext")
	require.Equal(t, 200, status)
	r, err := os.Open(path)
	require.NoError(t, err)
	defer r.Close()
	line := make([]byte, 4096)
	n, err := r.Read(line)
	require.NoError(t, err)
	require.Contains(t, string(line[:n]), `"target":"/plaintext"`)
}

func TestServerOutlivesTheLimitOnFileSizes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	p := prepare(t, "sh", "-c", `ulimit -f 1; exec "$0" serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --access-log "$1"`, binary, path)
	p.run()
	e := serveOn(p)
	await(t, "the file has reached its limit", func() bool {
		status, _ := get(t, e.addr, "/plaintext")
		require.Equal(t, 200, status)
		return droppedLines(t, e, "access") > 0
	})
	e.signal(syscall.SIGTERM)
	code, _ := e.wait()
	require.Equal(t, exitOK, code, e.stderr)
}

func TestServerNeedsNoStdout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why    string
		stdout func(t *testing.T) *os.File
		script string
	}{
		{"its reader does not read", func(t *testing.T) *os.File { _, w := fullPipe(t); return w }, `exec "$@"`},
		{"its reader is gone", deadPipe, `exec "$@"`},
		{"it is closed", deadPipe, `exec "$@" >&-`},
	} {
		t.Run(c.why, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			p := prepare(t, "sh", "-c", c.script, "sh", binary, "serve", "--listen", "unix:"+socket, "--admin", "127.0.0.1:0", "--access-log", "-")
			p.cmd.Stdout = c.stdout(t)
			p.run()
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}}}
			await(t, "the server answers", func() bool {
				response, err := client.Get("http://a/plaintext")
				if err != nil {
					return false
				}
				_ = response.Body.Close()
				return response.StatusCode == 200
			})
			p.signal(syscall.SIGTERM)
			code, _ := p.wait()
			require.Equal(t, exitOK, code, p.stderr)
		})
	}
}
