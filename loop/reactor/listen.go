// This file opens the listening sockets of an Engine. accept.go accepts on them;
// inherit.go has sockets that another process opened.

package reactor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listener is one listening address of an Engine.
type Listener struct {
	// Addr is the address to listen on: "host:port", "unix:/path", "unix:@name"
	// (abstract) or "systemd:NAME". Port 0 chooses a free port.
	Addr string
	// Proxy, if not nil, requires a PROXY header on every connection.
	Proxy *ProxyProtocol
	// TLS, if not nil, is used on every connection.
	TLS *TLS
	// Open is called on the loop for each connection, with TLS after its handshake,
	// and returns the connection's Handler. It must not wait. nil: Config.Open.
	Open func(c *Conn) Handler
}

// Prefixes of Listener.Addr. An address without one is TCP.
const (
	unixPrefix    = "unix:"
	systemdPrefix = "systemd:"
)

// staleDialMax limits the dial that finds out whether a unix socket is in use.
const staleDialMax = time.Second

// listening is a Listener with its sockets. It is not safe for concurrent use.
type listening struct {
	Listener
	addr net.Addr // as bound: port 0 is resolved
	// fds has for each loop the descriptors that it polls, at least one; they are
	// non-blocking and close-on-exec. With fewer sockets than loops, loops share a
	// descriptor; with more, a loop has several.
	fds        [][]int
	sockets    []Socket   // each once
	from       *Inherited // source of the sockets; nil if this process opened them
	handedOver bool       // a successor uses the sockets
}

// close closes the sockets. It removes the file of a unix socket unless systemd, a
// running predecessor or a successor uses it.
//
// The caller must have removed the descriptors from its epoll instances: if another
// process holds the same sockets, closing a descriptor here does not end its
// registration.
func (l *listening) close() {
	for _, s := range l.sockets {
		_ = unix.Close(s.FD)
	}
	if path, ok := socketPath(l.addr); ok && len(l.sockets) > 0 && !l.handedOver && (l.from == nil || l.from.pathIsOurs(l.sockets[0])) {
		_ = unix.Unlink(path)
	}
	l.sockets, l.fds = nil, nil
}

// isBoundTo reports whether one of the sockets is bound to addr.
func (l *listening) isBoundTo(addr net.Addr) bool {
	return slices.ContainsFunc(l.sockets, func(s Socket) bool { return sameAddr(addr, s.Addr) })
}

// markHandedOver records that a successor uses the sockets, so that close keeps the
// file of a unix socket.
func (l *listening) markHandedOver() { l.handedOver = true }

// socketPath returns the path of a unix socket's file. TCP and abstract sockets
// have none.
func socketPath(addr net.Addr) (string, bool) {
	a, ok := addr.(*net.UnixAddr)
	if !ok || a.Name == "" || a.Name[0] == '@' {
		return "", false
	}
	return a.Name, true
}

// socketsOf returns the sockets of all, for ServeHandover.
func socketsOf(all []*listening) (sockets []Socket) {
	for _, l := range all {
		sockets = append(sockets, l.sockets...)
	}
	return sockets
}

// listen opens the sockets of the wanted Listeners for a number of loops, at least
// one. It takes a socket from inherited (nil: none) if one is bound to the wanted
// address, and opens new ones otherwise. The caller closes what is left in
// inherited (CloseRest).
//
// A TCP address has one socket for each loop (SO_REUSEPORT, see
// docs/decisions/003), a unix address one for all. An address in use fails with
// EADDRINUSE. After an error only the sockets that are still in inherited stay
// open.
func listen(wanted []Listener, loops int, inherited *Inherited) (all []*listening, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				l.close()
			}
			all = nil
		}
	}()
	for _, w := range wanted {
		addr, err := resolveListenAddr(w.Addr)
		if err != nil {
			return all, err
		}
		for _, other := range all {
			if w.Addr == other.Addr && !isPortZero(addr) || other.isBoundTo(addr) {
				return all, fmt.Errorf("listen %s: the address is listed twice", w.Addr)
			}
		}
		l := &listening{Listener: w}
		if l.sockets = inherited.takeSockets(w.Addr, addr); len(l.sockets) > 0 {
			l.from = inherited
		} else if addr == nil {
			return all, fmt.Errorf("listen %s: no socket of that name was passed", w.Addr)
		} else if l.sockets, err = openSockets(addr, loops); err != nil {
			return all, err
		}
		l.addr = l.sockets[0].Addr
		l.fds = assignToLoops(l.sockets, loops)
		all = append(all, l)
	}
	return all, nil
}

// assignToLoops gives each socket to at least one loop and each loop at least one
// socket.
func assignToLoops(sockets []Socket, loops int) [][]int {
	fds := make([][]int, loops)
	for i := range max(loops, len(sockets)) {
		fds[i%loops] = append(fds[i%loops], sockets[i%len(sockets)].FD)
	}
	return fds
}

// resolveListenAddr returns the address for a Listener.Addr, nil for
// "systemd:NAME".
func resolveListenAddr(addr string) (net.Addr, error) {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		if path == "" { // the kernel would choose an abstract name
			return nil, errors.New("listen unix: no path")
		}
		return &net.UnixAddr{Name: path, Net: "unix"}, nil
	}
	if strings.HasPrefix(addr, systemdPrefix) {
		return nil, nil
	}
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen tcp %s: %w", addr, err)
	}
	return tcp, nil
}

// isPortZero reports whether addr is a TCP address with port 0.
func isPortZero(addr net.Addr) bool {
	a, ok := addr.(*net.TCPAddr)
	return ok && a.Port == 0
}

// sameAddr reports whether a and b are the same address, so that sockets cannot be
// bound to both. All unspecified IP addresses are the same, as for net.Listen. An
// address with port 0 is the same as no other.
func sameAddr(a, b net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		b, ok := b.(*net.TCPAddr)
		if !ok || a.Port != b.Port || a.Port == 0 {
			return false
		}
		anyA, anyB := len(a.IP) == 0 || a.IP.IsUnspecified(), len(b.IP) == 0 || b.IP.IsUnspecified()
		return anyA && anyB || anyA == anyB && a.IP.Equal(b.IP) && a.Zone == b.Zone
	case *net.UnixAddr:
		b, ok := b.(*net.UnixAddr)
		return ok && a.Name == b.Name
	}
	return false
}

// openSockets opens new sockets for an address of resolveListenAddr.
func openSockets(addr net.Addr, loops int) ([]Socket, error) {
	if a, ok := addr.(*net.TCPAddr); ok {
		return openTCP(a, loops)
	}
	return openUnix(addr.(*net.UnixAddr))
}

// openTCP opens one socket for each loop. The first one is bound without
// SO_REUSEPORT: with it, the kernel would share a port that another process uses
// instead of refusing it. The option is set afterwards, without closing the socket,
// and admits the others to the group.
func openTCP(addr *net.TCPAddr, loops int) (sockets []Socket, err error) {
	defer func() {
		if err != nil {
			closeSockets(sockets)
			sockets = nil
		}
	}()
	for len(sockets) < loops {
		var config net.ListenConfig
		config.SetMultipathTCP(false) // its accepts cost more, and proxies in front do not use it
		if len(sockets) > 0 {
			addr = sockets[0].Addr.(*net.TCPAddr)
			config.Control = func(_, _ string, c syscall.RawConn) error { return setReusePort(c) }
		}
		s, err := openSocket(&config, addr)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, s)
		if len(sockets) == 1 && loops > 1 {
			if err := unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return sockets, os.NewSyscallError("setsockopt", err)
			}
		}
	}
	return sockets, nil
}

func setReusePort(c syscall.RawConn) (err error) {
	if failed := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}); failed != nil {
		return failed
	}
	return err
}

// openUnix opens the socket of a unix address. It first removes the file of a
// process that ended without removing it: a dial of such a file is refused.
func openUnix(addr *net.UnixAddr) ([]Socket, error) {
	if path, ok := socketPath(addr); ok && isStale(path) {
		_ = os.Remove(path)
	}
	s, err := openSocket(&net.ListenConfig{}, addr)
	if err != nil {
		return nil, err
	}
	return []Socket{s}, nil
}

// isStale reports whether path is a socket that no process listens on.
func isStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.DialTimeout("unix", path, staleDialMax)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// openSocket listens as net.Listen does (address family, backlog, both IP versions
// for an unspecified address) and removes the socket from the runtime's poller.
func openSocket(config *net.ListenConfig, addr net.Addr) (Socket, error) {
	ln, err := config.Listen(context.Background(), addr.Network(), addr.String())
	if err != nil {
		return Socket{}, err
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	defer func() { _ = ln.Close() }()
	fd, err := dupFD(ln.(syscall.Conn))
	if err != nil {
		return Socket{}, err
	}
	return Socket{Addr: ln.Addr(), FD: fd}, nil
}

// dupFD returns a duplicate of c's descriptor, which the caller closes.
func dupFD(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	if failed := raw.Control(func(own uintptr) {
		fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3)
	}); failed != nil {
		return -1, failed
	}
	return fd, os.NewSyscallError("fcntl", err)
}

func closeSockets(sockets []Socket) {
	for _, s := range sockets {
		_ = unix.Close(s.FD)
	}
}
