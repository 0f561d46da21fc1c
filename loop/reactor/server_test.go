// This file starts the real servers of client_test.go on free ports and in
// temporary folders, and kills them by their process ids.

package reactor_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

const patience = 60 * time.Second // for a machine with much else to do

// server is a process that listens on a port.
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

// startServer starts the command that listens on the given port. It waits until the
// server accepts and, if ready is not nil, until ready returns nil.
func startServer(t *testing.T, end syscall.Signal, command func(port string) *exec.Cmd, ready func(port string) error) *server {
	t.Helper()
	port := testrig.Port(t)
	s := &server{t: t, end: end, ready: func() error { return nil }, addr: "127.0.0.1:" + port, port: port, log: filepath.Join(t.TempDir(), "log"), command: func() *exec.Cmd { return command(port) }}
	if ready != nil {
		s.ready = func() error { return ready(port) }
	}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// start starts the process. It retries if the process ends before it accepts,
// because an earlier one may still hold its port or files.
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

// unprivileged gives dir to an unprivileged user and makes commands run as that
// user.
func unprivileged(t *testing.T, dir string) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		require.NoError(t, err)
		gid, err := strconv.Atoi(u.Gid)
		require.NoError(t, err)
		require.NoError(t, os.Chown(dir, uid, gid))
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: true}}
	}
	t.Skip("no user to run a server that refuses to run as root")
	return nil
}

// crowd is many tasks on all loops of an engine that repeat one call until they are
// stopped.
type crowd struct {
	e        *reactor.Engine
	do       func(t *loop.Task, who, round int) error
	stopping atomic.Bool
	wg       sync.WaitGroup
	members  []member
}

// member has the counts of one task.
type member struct {
	ok, failed atomic.Int64
	last       atomic.Value // of error
}

func newCrowd(e *reactor.Engine, size int, do func(t *loop.Task, who, round int) error) *crowd {
	c := &crowd{e: e, do: do, members: make([]member, size)}
	for i := range size {
		c.wg.Go(func() { _ = onTask(e.Loops()[i%len(e.Loops())], func(t *loop.Task) { c.work(t, i) }) })
	}
	return c
}

func (c *crowd) work(t *loop.Task, i int) {
	m := &c.members[i]
	for round := 0; !c.stopping.Load(); round++ {
		if err := c.do(t, i, round); err != nil {
			m.last.Store(fmt.Errorf("%w", err))
			m.failed.Add(1)
			if t.Sleep(20*time.Millisecond) != nil {
				return
			}
			continue // tries again
		}
		m.ok.Add(1)
	}
}

// each waits until every member's count has risen by n.
func (c *crowd) each(t *testing.T, why string, n int64, count func(*member) *atomic.Int64) {
	t.Helper()
	before := make([]int64, len(c.members))
	for i := range c.members {
		before[i] = count(&c.members[i]).Load()
	}
	behind := 0
	require.Eventually(t, func() bool {
		for behind < len(c.members) && count(&c.members[behind]).Load() >= before[behind]+n {
			behind++
		}
		return behind == len(c.members)
	}, patience, 5*time.Millisecond, "%s: member %d does not", why, behind)
}

func succeeded(m *member) *atomic.Int64 { return &m.ok }
func failed(m *member) *atomic.Int64    { return &m.failed }

func (c *crowd) failures() (n int64, example any) {
	for i := range c.members {
		if k := c.members[i].failed.Load(); k > 0 {
			n += k
			example = c.members[i].last.Load()
		}
	}
	return n, example
}

func (c *crowd) stop() {
	c.stopping.Store(true)
	c.wg.Wait()
}

// survives tests a client whose server is killed under load. The client works
// without an error, fails while the server is down, and works again. It leaves
// nothing behind.
func survives(t *testing.T, s *server, client func(d *reactor.Dialer) (do func(t *loop.Task, who, round int) error, done func())) {
	t.Helper()
	e := startEngine(t, 2, nothing)
	do, done := client(bound(e))
	c := newCrowd(e, 500, do)
	defer c.stop()
	c.each(t, "before", 5, succeeded)
	if n, err := c.failures(); n > 0 {
		require.Fail(t, "failures while the server was up", "%d, one: %v", n, err)
	}
	s.kill()
	c.each(t, "requests fail while the server is down", 1, failed)
	s.start()
	c.each(t, "and recover by themselves", 5, succeeded)
	c.stop()
	done()
	require.Eventually(t, func() bool { return e.Dialed() == 0 }, patience, time.Millisecond, "connections are left")
	for _, l := range e.Loops() {
		stats := make(chan reactor.Stats, 1)
		require.True(t, l.Post(func() { stats <- reactor.Of(l).Stats() }))
		s := <-stats
		require.Zero(t, s.TasksAlive)
		require.Zero(t, s.Conns)
		require.Zero(t, s.Timers)
		require.Zero(t, s.Panics)
	}
}
