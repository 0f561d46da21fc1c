// A new process takes over from an old one on one host, while requests go on: docs/decisions/008.

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

// visitors send requests at a rate, each on a new connection, until they are stopped. Requests that are due while all visitors
// wait are skipped.
type visitors struct {
	network, addr string
	asked         atomic.Int64
	mu            sync.Mutex
	failed        []error
	ended         chan struct{}
	wg            sync.WaitGroup
}

const (
	visitorsMax     = 64
	visitsPerSecond = 2000
)

func visit(network, addr string) *visitors {
	v := &visitors{network: network, addr: addr, ended: make(chan struct{})}
	due := make(chan struct{})
	for range visitorsMax {
		v.wg.Go(func() {
			for range due {
				v.asked.Add(1)
				if err := v.ask(); err != nil {
					v.mu.Lock()
					v.failed = append(v.failed, err)
					v.mu.Unlock()
				}
			}
		})
	}
	v.wg.Go(func() {
		defer close(due)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		start := time.Now()
		for begun := 0; ; {
			select {
			case <-v.ended:
				return
			case <-tick.C:
			}
			for wanted := int(time.Since(start).Seconds() * visitsPerSecond); begun < wanted; begun++ {
				select {
				case due <- struct{}{}:
				default: // all wait
				}
			}
		}
	})
	return v
}

// ask makes one request.
func (v *visitors) ask() error {
	c, err := net.DialTimeout(v.network, v.addr, processTimeMax)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(processTimeMax))
	if _, err := io.WriteString(c, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && (!strings.HasPrefix(string(answer), "HTTP/1.1 200 ") || !strings.HasSuffix(string(answer), "\r\n\r\nhello")) {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}

// more returns when n more requests have been begun.
func (v *visitors) more(t *testing.T, n int64) {
	t.Helper()
	enough := v.asked.Load() + n
	await(t, "requests", func() bool { return v.asked.Load() >= enough })
}

func (v *visitors) stop() (asked int64, failed []error) {
	close(v.ended)
	v.wg.Wait()
	return v.asked.Load(), v.failed
}

// handoverConfig is a file with routes, on two addresses, for processes that take over from one another.
type handoverConfig struct {
	file, addr, unix, admin, handover string
}

func newHandoverConfig(t *testing.T) *handoverConfig {
	t.Helper()
	dir := t.TempDir()
	c := &handoverConfig{
		file: filepath.Join(dir, "edge.toml"), addr: "127.0.0.1:" + testrig.Port(t), unix: filepath.Join(dir, "serve.sock"), admin: "127.0.0.1:" + testrig.Port(t),
		handover: filepath.Join(dir, "handover.sock"),
	}
	writeConfig(t, c.file, fmt.Sprintf(`
[server]
handover = %q
loops = 2
[[listener]]
listen = %q
[[listener]]
listen = "unix:%s"
[admin]
listen = %q
[timeouts]
drain_delay = "1h" # which a take-over does not wait for
[[route]]
path = "/hello"
respond = { body = "hello" }
`, c.handover, c.addr, c.unix, c.admin))
	return c
}

func (c *handoverConfig) serve(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, append([]string{"serve", "--config", c.file}, args...)...)
	require.Equal(t, fmt.Sprintf("serving http://%s/, unix:%s, admin http://%s/", c.addr, c.unix, c.admin), p.line())
	return p
}

func TestTakeOverLosesNoRequest(t *testing.T) {
	t.Parallel()
	const takeOvers = 10
	for _, tt := range []struct {
		why, network string
		loops        []string // by turns
	}{
		{"tcp", "tcp", []string{"2"}},
		{"a unix socket", "unix", []string{"2"}},
		{"more and fewer loops", "tcp", []string{"1", "3"}},
	} {
		t.Run(tt.why, func(t *testing.T) {
			c := newHandoverConfig(t)
			addr := c.addr
			if tt.network == "unix" {
				addr = c.unix
			}
			old := c.serve(t, "--loops", tt.loops[0])
			kept := dialRaw(t, c.addr)
			kept.send("GET /hello HTTP/1.1\r\n")
			v := visit(tt.network, addr)
			for i := 1; i <= takeOvers; i++ {
				v.more(t, 300)
				next := c.serve(t, "--loops", tt.loops[i%len(tt.loops)])
				if i == 1 { // the old process answers what it has begun to read
					kept.send("Host: a\r\n\r\n")
					_, body := kept.receive()
					require.Equal(t, "hello", body)
					_, err := kept.r.ReadByte()
					require.Error(t, err)
					require.NoError(t, kept.Close())
				}
				code, _ := old.wait()
				require.Zero(t, code)
				require.Contains(t, old.stderr.String(), "drained")
				await(t, "the successor's log", func() bool { return strings.Contains(next.stderr.String(), "took over from the previous process") })
				old = next
			}
			v.more(t, 300)
			asked, failed := v.stop()
			t.Logf("%d requests, each on a new connection, %d take-overs: %d failed", asked, takeOvers, len(failed))
			require.Empty(t, failed)
			old.signal(syscall.SIGINT)
			old.signal(syscall.SIGINT) // an hour of drain_delay would follow
		})
	}
}

// A process that ends before it is ready leaves the old one serving.
func TestSuccessorThatFails(t *testing.T) {
	t.Parallel()
	c := newHandoverConfig(t)
	old := c.serve(t)
	v := visit("tcp", c.addr)
	u := visit("unix", c.unix)
	v.more(t, 100)

	// It finds another address taken.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	text, err := os.ReadFile(c.file)
	require.NoError(t, err)
	bad := filepath.Join(t.TempDir(), "bad.toml")
	writeConfig(t, bad, string(text)+fmt.Sprintf("[[listener]]\nlisten = %q\n", taken.Addr()))
	code, _ := start(t, "serve", "--config", bad).wait()
	require.Equal(t, exitFailure, code)

	// It is killed when it has the sockets: the connection to the old process ends.
	i := receive(t, c.handover)
	require.NotEmpty(t, i.CloseRest())
	require.NoError(t, i.Close())

	v.more(t, 100)
	u.more(t, 100)
	for _, v := range []*visitors{v, u} {
		asked, failed := v.stop()
		t.Logf("%s: %d requests, %d failed", v.network, asked, len(failed))
		require.Empty(t, failed)
	}
	require.FileExists(t, c.unix)

	// And the next one takes over.
	next := c.serve(t)
	code, _ = old.wait()
	require.Zero(t, code)
	status, _ := get(t, c.admin, "/readyz")
	require.Equal(t, http.StatusOK, status, "the admin listener has moved, too")
	next.signal(syscall.SIGINT)
	next.signal(syscall.SIGINT)
}

// receive retries while the old process has not noticed that the previous connection is closed.
func receive(t *testing.T, path string) (i *reactor.Inherited) {
	t.Helper()
	await(t, "the hand-over socket", func() bool {
		var err error
		i, err = reactor.Receive(t.Context(), path)
		return err == nil
	})
	return i
}

// A handover path that is not a socket is an error at the start.
func TestHandoverPathInUse(t *testing.T) {
	t.Parallel()
	c := newHandoverConfig(t)
	require.NoError(t, os.WriteFile(c.handover, nil, 0o600))
	p := start(t, "serve", "--config", c.file)
	code, _ := p.wait()
	require.Equal(t, exitFailure, code)
	require.Contains(t, p.stderr.String(), "not a socket")
	require.NoFileExists(t, c.unix)
}

// supervisorSocket receives the messages to systemd.
func supervisorSocket(t *testing.T) (path string, told func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify.sock")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return path, func() string {
		var b [1024]byte
		_ = c.SetReadDeadline(time.Now().Add(processTimeMax))
		n, err := c.Read(b[:])
		require.NoError(t, err)
		return string(b[:n])
	}
}

// The supervisor learns of the new process before the old one can end, and the old one sends nothing more.
func TestTakeOverUnderASupervisor(t *testing.T) {
	c := newHandoverConfig(t)
	path, told := supervisorSocket(t)
	t.Setenv("NOTIFY_SOCKET", path)
	old := c.serve(t)
	require.Equal(t, "READY=1", told())
	next := c.serve(t)
	require.Equal(t, "MAINPID="+strconv.Itoa(next.cmd.Process.Pid)+"\nREADY=1", told())
	code, _ := old.wait()
	require.Zero(t, code)
	next.signal(syscall.SIGTERM)
	require.Equal(t, "STOPPING=1", told())
	require.NoError(t, next.cmd.Process.Kill())
}

// activated runs tafe as systemd does, with sockets from descriptor 3 on.
func activated(t *testing.T, names string, sockets []*os.File, args ...string) *process {
	t.Helper()
	// LISTEN_PID is the process's own: a shell knows it and becomes the process.
	p := prepare(t, "sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", binary}, args...)...)
	p.cmd.Env = append(os.Environ(), "LISTEN_FDS="+strconv.Itoa(len(sockets)), "LISTEN_FDNAMES="+names)
	p.cmd.ExtraFiles = sockets
	p.run()
	return p
}

// systemd holds the sockets while the service restarts: requests wait, and none fails.
func TestSocketActivation(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	other, err := net.Listen("unix", filepath.Join(dir, "a.sock"))
	require.NoError(t, err)
	defer func() { _ = other.Close() }()
	unused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = unused.Close() }()
	var sockets []*os.File
	for _, l := range []interface{ File() (*os.File, error) }{ln.(*net.TCPListener), other.(*net.UnixListener), unused.(*net.TCPListener)} {
		f, err := l.File()
		require.NoError(t, err)
		defer func() { _ = f.Close() }()
		sockets = append(sockets, f)
	}
	file := filepath.Join(dir, "edge.toml")
	writeConfig(t, file, fmt.Sprintf(`
[server]
loops = 2
[[listener]]
listen = %q
[[listener]]
listen = "systemd:local"
[[route]]
path = "/hello"
respond = { body = "hello" }
`, ln.Addr()))
	serve := func() *process {
		p := activated(t, "http:local:unused", sockets, "serve", "--config", file, "--admin", "127.0.0.1:0")
		require.Contains(t, p.line(), fmt.Sprintf("serving http://%s/, unix:%s, ", ln.Addr(), other.Addr()))
		return p
	}
	p := serve()
	await(t, "a warning", func() bool { return strings.Contains(p.stderr.String(), "systemd:unused ("+unused.Addr().String()+")") })
	v, u := visit("tcp", ln.Addr().String()), visit("unix", other.Addr().String())
	for range 5 {
		v.more(t, 100)
		u.more(t, 20)
		p.signal(syscall.SIGTERM)
		code, _ := p.wait()
		require.Zero(t, code)
		p = serve()
	}
	v.more(t, 100)
	u.more(t, 20)
	for _, v := range []*visitors{v, u} {
		asked, failed := v.stop()
		t.Logf("%s: %d requests, 5 restarts: %d failed", v.network, asked, len(failed))
		require.Empty(t, failed)
	}
	p.signal(syscall.SIGTERM)
	code, _ := p.wait()
	require.Zero(t, code)
	require.FileExists(t, other.Addr().String(), "the file is systemd's")
}
