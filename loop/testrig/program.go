// Programs that a test needs, and ports for them.

package testrig

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Lacks skips the test because the machine lacks something that the test needs. With CI=true the test fails instead.
func Lacks(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, which CI=true requires", what)
	}
	t.Skip(what)
}

// Program returns the path of a program: from the places, which are patterns of folders, or from PATH. Without it, the test is skipped as by
// Lacks.
func Program(t testing.TB, name string, places ...string) string {
	t.Helper()
	for _, place := range places {
		if found, _ := filepath.Glob(filepath.Join(place, name)); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		Lacks(t, name+" is not installed")
	}
	return path
}

// Port returns a port of 127.0.0.1 for a server that cannot listen on port 0. A socket that does not listen is bound to the port until the
// test ends: the kernel gives the port to no other socket, and a server that binds it by number, with SO_REUSEADDR, succeeds.
func Port(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	bound, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort((&net.TCPAddr{Port: bound.(*syscall.SockaddrInet4).Port}).String())
	require.NoError(t, err)
	return port
}
