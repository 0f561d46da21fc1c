package reactor_test

// Real servers for tests: started on free ports in temporary folders, killed by
// their process ids.

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 60 * time.Second // for a machine with much else to do

// binary finds a server's program. Where it is absent the test is skipped, and
// fails where CI=true.
func binary(t *testing.T, name string, places ...string) string {
	t.Helper()
	for _, place := range places {
		if found, _ := filepath.Glob(filepath.Join(place, name)); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		require.Fail(t, name+" is not installed, and CI=true requires it")
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// server is a process that listens.
type server struct {
	t       *testing.T
	end     syscall.Signal // ends it and its children at once
	ready   func() error   // if not nil, asks more than whether it accepts
	addr    string
	port    string
	command func() *exec.Cmd
	cmd     *exec.Cmd
	exited  chan struct{}
	log     string // the file its output goes to
}

// startServer starts what command makes, which is to listen on the port it is
// given, and waits until it accepts and, if ready is not nil, that has no error.
func startServer(t *testing.T, end syscall.Signal, command func(port string) *exec.Cmd, ready func(port string) error) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	s := &server{t: t, end: end, ready: func() error { return nil }, addr: "127.0.0.1:" + port, port: port, log: filepath.Join(t.TempDir(), "log"), command: func() *exec.Cmd { return command(port) }}
	if ready != nil {
		s.ready = func() error { return ready(port) }
	}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// start begins the process, again if it ends before it accepts: its predecessor
// may still hold what it needs.
func (s *server) start() {
	s.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		out, err := os.Create(s.log) // a pipe would be waited for, and children inherit it
		require.NoError(s.t, err)
		s.cmd, s.exited = s.command(), make(chan struct{})
		s.cmd.Stdout, s.cmd.Stderr = out, out
		require.NoError(s.t, s.cmd.Start())
		_ = out.Close()
		go func(cmd *exec.Cmd, exited chan struct{}) { _ = cmd.Wait(); close(exited) }(s.cmd, s.exited)
		if s.accepts(end) {
			return
		}
		s.kill()
	}
	said, _ := os.ReadFile(s.log)
	require.Fail(s.t, "the server does not start", "%s", said)
}

func (s *server) accepts(end time.Time) bool {
	for time.Now().Before(end) {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			_ = c.Close()
			if s.ready() == nil {
				return true
			}
		}
		select {
		case <-s.exited:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

func (s *server) kill() {
	_ = s.cmd.Process.Signal(s.end)
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}
