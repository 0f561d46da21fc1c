package reactor

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop/testrig"
)

const waitMax = 20 * time.Second // of a test, for what takes milliseconds

func listenOn(t *testing.T, loops int, inherited *Inherited, addrs ...string) []*listening {
	t.Helper()
	all, err := listen(wanted(addrs...), loops, inherited)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, l := range all {
			l.close()
		}
	})
	return all
}

func wanted(addrs ...string) (all []Listener) {
	for _, a := range addrs {
		all = append(all, Listener{Addr: a})
	}
	return all
}

// dialURL connects to the address of a listening.
func dialURL(t *testing.T, addr net.Addr) {
	t.Helper()
	c, err := net.DialTimeout(addr.Network(), addr.String(), waitMax)
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// queued accepts the connections that wait on a socket and returns their number.
func queued(t *testing.T, fd int) (n int) {
	t.Helper()
	for {
		c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err == unix.EAGAIN {
			return n
		}
		require.NoError(t, err)
		require.NoError(t, unix.Close(c))
		n++
	}
}

func TestListenTCP(t *testing.T) {
	for _, c := range []struct {
		addr  string
		loops int
		why   string
	}{
		{"127.0.0.1:0", 1, "one loop needs no group"},
		{"127.0.0.1:0", 4, "all loops have the port that the first got"},
		{"[::1]:0", 2, "IPv6"},
		{"localhost:0", 2, "a name"},
		{":0", 2, "all addresses"},
	} {
		l := listenOn(t, c.loops, nil, c.addr)[0]
		require.Len(t, l.sockets, c.loops, c.why)
		require.Len(t, l.fds, c.loops, c.why)
		port := l.addr.(*net.TCPAddr).Port
		require.NotZero(t, port, c.why)
		for i, s := range l.sockets {
			require.Equal(t, []int{s.FD}, l.fds[i], c.why)
			require.Equal(t, port, s.Addr.(*net.TCPAddr).Port, c.why)
			flags, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFL, 0)
			require.NoError(t, err)
			require.NotZero(t, flags&unix.O_NONBLOCK, c.why)
			flags, err = unix.FcntlInt(uintptr(s.FD), unix.F_GETFD, 0)
			require.NoError(t, err)
			require.NotZero(t, flags&unix.FD_CLOEXEC, c.why)
		}
	}
}

// The first socket joins the SO_REUSEPORT group of the others after it began to
// listen. All of them must get connections.
func TestEachLoopGetsConnections(t *testing.T) {
	l := listenOn(t, 4, nil, "127.0.0.1:0")[0]
	const dials = 400
	for range dials {
		dialURL(t, l.addr)
	}
	total := 0
	for _, s := range l.sockets {
		n := queued(t, s.FD)
		require.Greater(t, n, dials/16, "a quarter each, by hash")
		total += n
	}
	require.Equal(t, dials, total)
}

func TestListenOnAllAddressesAcceptsBothVersions(t *testing.T) {
	l := listenOn(t, 2, nil, ":0")[0]
	_, port, err := net.SplitHostPort(l.addr.String())
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), waitMax)
		require.NoError(t, err, host)
		require.NoError(t, c.Close())
	}
}

func TestListenErrors(t *testing.T) {
	taken := listenOn(t, 2, nil, "127.0.0.1:0")[0].addr.String() // with SO_REUSEPORT, of the same user
	dir := t.TempDir()
	live, file := filepath.Join(dir, "live"), filepath.Join(dir, "file")
	listenOn(t, 1, nil, unixPrefix+live)
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	free := "127.0.0.1:" + testrig.Port(t)
	for _, c := range []struct {
		addrs []string
		is    error
		text  string
		why   string
	}{
		{[]string{taken}, unix.EADDRINUSE, "listen tcp " + taken + ": bind: address already in use", "a port in use is not shared"},
		{[]string{":" + taken[strings.LastIndex(taken, ":")+1:]}, unix.EADDRINUSE, "address already in use", "also as part of all addresses"},
		{[]string{unixPrefix + live}, unix.EADDRINUSE, "address already in use", "a server listens there"},
		{[]string{unixPrefix + file}, unix.EADDRINUSE, "address already in use", "a regular file is kept"},
		{[]string{unixPrefix}, nil, "no path", "the kernel would choose a name"},
		{[]string{"systemd:web"}, nil, "listen systemd:web: no socket of that name was passed", "nothing is inherited"},
		{[]string{"127.0.0.1"}, nil, "missing port", "no port"},
		{[]string{"127.0.0.1:http-nope"}, nil, "unknown port", "an unknown service"},
		{[]string{free, free}, nil, "twice", "the same address"},
		{[]string{"0.0.0.0:" + free[len("127.0.0.1:"):], free[len("127.0.0.1"):]}, nil, "twice", "all addresses, spelled differently"},
		{[]string{unixPrefix + "@tafe-twice", unixPrefix + "@tafe-twice"}, nil, "twice", "unix"},
	} {
		before := openFiles(t)
		all, err := listen(wanted(c.addrs...), 2, nil)
		require.ErrorContains(t, err, c.text, c.why)
		if c.is != nil {
			require.ErrorIs(t, err, c.is, c.why)
		}
		require.Empty(t, all, c.why)
		require.Equal(t, before, openFiles(t), "descriptors stay open: %s", c.why)
	}
	require.FileExists(t, file)
}

func openFiles(t *testing.T) int {
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

func TestPortZeroTwice(t *testing.T) {
	all := listenOn(t, 2, nil, "127.0.0.1:0", "127.0.0.1:0")
	require.NotEqual(t, all[0].addr.String(), all[1].addr.String())
}

func TestListenUnixAndTCP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	all := listenOn(t, 3, nil, unixPrefix+path, "127.0.0.1:0", unixPrefix+"@tafe-listen-test")
	for _, l := range all {
		dialURL(t, l.addr)
	}
	require.Len(t, all[0].sockets, 1)
	fd := all[0].sockets[0].FD
	require.Equal(t, [][]int{{fd}, {fd}, {fd}}, all[0].fds, "loops share a unix socket")
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket, info.Mode().Type())
	all[0].close()
	require.NoFileExists(t, path)
	all[0].close() // once more does nothing
}

func TestHandedOverPathStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listenOn(t, 1, nil, unixPrefix+path)[0]
	l.markHandedOver()
	l.close()
	require.FileExists(t, path)
}

func TestStaleUnixSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false) // a process that was killed
	require.NoError(t, ln.Close())
	require.FileExists(t, path)
	dialURL(t, listenOn(t, 1, nil, unixPrefix+path)[0].addr)
}

func TestAssignToLoops(t *testing.T) {
	for _, c := range []struct {
		sockets, loops int
		want           [][]int
		why            string
	}{
		{1, 1, [][]int{{0}}, "one each"},
		{3, 3, [][]int{{0}, {1}, {2}}, "one each"},
		{1, 3, [][]int{{0}, {0}, {0}}, "shared by all"},
		{2, 3, [][]int{{0}, {1}, {0}}, "loops share sockets in turn"},
		{5, 2, [][]int{{0, 2, 4}, {1, 3}}, "every socket is polled"},
	} {
		var sockets []Socket
		for i := range c.sockets {
			sockets = append(sockets, Socket{FD: i})
		}
		require.Equal(t, c.want, assignToLoops(sockets, c.loops), c.why)
	}
}

func TestSameAddr(t *testing.T) {
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		require.NoError(t, err)
		return a
	}
	path := func(s string) net.Addr { return &net.UnixAddr{Name: s, Net: "unix"} }
	for _, c := range []struct {
		a, b net.Addr
		want bool
		why  string
	}{
		{tcp("127.0.0.1:80"), tcp("127.0.0.1:80"), true, "the same"},
		{tcp("127.0.0.1:80"), tcp("127.0.0.1:81"), false, "another port"},
		{tcp("127.0.0.1:80"), tcp("127.0.0.2:80"), false, "another address"},
		{tcp("127.0.0.1:0"), tcp("127.0.0.1:0"), false, "port 0 is always a new one"},
		{tcp(":80"), tcp("0.0.0.0:80"), true, "all addresses"},
		{tcp("[::]:80"), tcp("0.0.0.0:80"), true, "all addresses, by the other version"},
		{tcp(":80"), tcp("127.0.0.1:80"), false, "all, and one of them"},
		{tcp("[fe80::1%1]:80"), tcp("[fe80::1%2]:80"), false, "link-local addresses of two links"},
		{path("/a"), path("/a"), true, "unix"},
		{path("/a"), path("@a"), false, "unix and abstract"},
		{path("/a"), tcp(":80"), false, "two networks"},
		{nil, tcp(":80"), false, "a systemd name has no address"},
	} {
		require.Equal(t, c.want, sameAddr(c.a, c.b), c.why)
		require.Equal(t, c.want && c.a != nil, sameAddr(c.b, c.a), c.why)
	}
}

// passed returns sockets as systemd passes them: blocking, and with names.
func passed(t *testing.T, name string, all ...*listening) (files []*os.File) {
	for _, l := range all {
		for _, s := range l.sockets {
			fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 3)
			require.NoError(t, err)
			require.NoError(t, unix.SetNonblock(fd, false))
			files = append(files, os.NewFile(uintptr(fd), name))
		}
	}
	return files
}

func TestSystemdSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	given := listenOn(t, 2, nil, "127.0.0.1:0", ":0", unixPrefix+path, "127.0.0.1:0")
	addr := func(n int) string { return given[n].addr.String() }
	anyPort := addr(1)[strings.LastIndex(addr(1), ":"):]
	i, err := SystemdSockets(slices.Concat(passed(t, "web", given[0]), passed(t, "LISTEN_FD_5", given[1], given[2]), passed(t, "old", given[3])))
	require.NoError(t, err)
	got := listenOn(t, 3, i, "systemd:web", "0.0.0.0"+anyPort, unixPrefix+path, "127.0.0.1:0")
	for n, why := range []string{"by name", "all addresses", "unix"} {
		require.Equal(t, addr(n), got[n].addr.String(), why)
		require.Len(t, got[n].sockets, len(given[n].sockets), why)
	}
	require.NotEqual(t, addr(3), got[3].addr.String(), "port 0 is a new port")
	require.Len(t, got[3].sockets, 3)
	require.Equal(t, []string{"systemd:old (" + addr(3) + ")", "systemd:old (" + addr(3) + ")"}, i.CloseRest())
	require.Empty(t, i.CloseRest())
	flags, err := unix.FcntlInt(uintptr(got[0].sockets[0].FD), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.O_NONBLOCK)
	dialURL(t, got[0].addr)
	require.Equal(t, 1, queued(t, got[0].sockets[0].FD)+queued(t, got[0].sockets[1].FD))
	got[2].close()
	require.FileExists(t, path, "the file belongs to systemd")
	require.NoError(t, i.Ready(t.Context()), "there is no predecessor")
	require.NoError(t, i.Close())
}

func TestSystemdNameWithoutSocket(t *testing.T) {
	given := listenOn(t, 1, nil, "127.0.0.1:0")
	i, err := SystemdSockets(passed(t, "web", given...))
	require.NoError(t, err)
	defer func() { _ = i.Close() }()
	_, err = listen(wanted("systemd:web", "systemd:web"), 1, i)
	require.ErrorContains(t, err, "twice")
	for _, addr := range []string{"systemd:other", "systemd:"} {
		_, err := listen(wanted(addr), 1, i)
		require.ErrorContains(t, err, "no socket of that name")
	}
}

func TestSystemdSocketErrors(t *testing.T) {
	given := listenOn(t, 1, nil, "127.0.0.1:0")
	datagrams, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	bound, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	for _, f := range []*os.File{os.NewFile(uintptr(datagrams), "dns"), os.NewFile(uintptr(bound), "bound"), null} {
		name := f.Name()
		files := passed(t, "web", given...)
		before := openFiles(t)
		_, err := SystemdSockets(append(files, f))
		require.ErrorContains(t, err, name)
		require.Equal(t, before-2, openFiles(t), "all are closed")
	}
}
