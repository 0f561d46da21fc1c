// PostgreSQL and Redis for the tests. Where their programs are absent the tests are skipped, and with CI=true they fail.

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// startPostgres returns the URL of a new database.
func startPostgres(t *testing.T) string {
	places, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	initdb, postgres := find(t, "initdb", places), find(t, "postgres", places)
	dir, err := os.MkdirTemp("", "notes") // t.TempDir is not open to another user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	as := unprivileged(t, dir)
	data := filepath.Join(dir, "data")
	run := func(path string, args ...string) *exec.Cmd {
		cmd := exec.Command(path, args...)
		cmd.Dir, cmd.SysProcAttr = dir, as
		return cmd
	}
	if out, err := run(initdb, "-D", data, "-A", "trust", "-U", "notes", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	port := freePort(t)
	server := run(postgres, "-D", data, "-p", port, "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
	background(t, server, syscall.SIGQUIT)
	url := "postgres://notes@127.0.0.1:" + port + "/postgres?sslmode=disable"
	await(t, "PostgreSQL", func() bool {
		return exec.Command(find(t, "psql", places), url, "-c", "select 1").Run() == nil
	})
	return url
}

// startRedis returns the URL of a new Redis server.
func startRedis(t *testing.T) string {
	port := freePort(t)
	background(t, exec.Command(find(t, "redis-server", nil), "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()), syscall.SIGKILL)
	await(t, "Redis", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "redis://127.0.0.1:" + port
}

func find(t *testing.T, name string, places []string) string {
	t.Helper()
	for _, place := range places {
		if path, err := exec.LookPath(filepath.Join(place, name)); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skipf("%s is not installed", name)
	}
	return path
}

// background runs a server until the test ends.
func background(t *testing.T, cmd *exec.Cmd, end syscall.Signal) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(end)
		_ = cmd.Wait()
	})
}

// await polls until met.
func await(t *testing.T, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
}

// unprivileged gives dir to another user if the test is root's: PostgreSQL does not run as root.
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
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr != nil || gidErr != nil || os.Chown(dir, uid, gid) != nil {
			continue
		}
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: true}}
	}
	t.Skip("PostgreSQL does not run as root, and there is no other user")
	return nil
}
