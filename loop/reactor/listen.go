package reactor

// This file opens the listening sockets of an Engine. It does not accept: each
// loop polls its own sockets. inherit.go has sockets that another process opened.

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

// Prefixes of Listener.Addr. An address without one is TCP.
const (
	unixPrefix    = "unix:"
	systemdPrefix = "systemd:"
)

// staleDialMax bounds the dial that finds out whether a unix socket is in use.
const staleDialMax = time.Second

// listening is a Listener with its sockets. Its methods are not safe for
// concurrent use.
type listening struct {
	Listener
	addr net.Addr // as bound: port 0 is resolved
	// fds holds for each loop the descriptors that it polls, at least one;
	// non-blocking and close-on-exec. Loops share a descriptor where there are fewer
	// sockets than loops, and a loop has several where more were inherited.
	fds        [][]int
	sockets    []Socket   // each once
	from       *Inherited // where the sockets came from; nil if this process opened them
	handedOver bool       // a successor has the sockets
}

// close closes the sockets, each once. It removes the path of a unix socket,
// unless systemd, a predecessor that still runs, or a successor uses it.
//
// The caller has deleted the descriptors from its epoll instances before: another
// process may hold the same sockets, and then closing a descriptor here does not
// end its registration.
func (l *listening) close() {
	for _, s := range l.sockets {
		_ = unix.Close(s.FD)
	}
	if path, ok := socketPath(l.addr); ok && len(l.sockets) > 0 && !l.handedOver && (l.from == nil || l.from.pathIsOurs(l.sockets[0])) {
		_ = unix.Unlink(path)
	}
	l.sockets, l.fds = nil, nil
}

// has reports whether one of the sockets is bound to addr.
func (l *listening) isBoundTo(addr net.Addr) bool {
	return slices.ContainsFunc(l.sockets, func(s Socket) bool { return sameAddr(addr, s.Addr) })
}

// handOver records that a successor has the sockets: close leaves the path of a
// unix socket to it.
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

// socketsOf lists the sockets of all, for ServeHandover.
func socketsOf(all []*listening) (sockets []Socket) {
	for _, l := range all {
		sockets = append(sockets, l.sockets...)
	}
	return sockets
}

// listen opens the sockets of the wanted Listeners for that many loops, at least
// one. It takes a socket from inherited (nil: none) where one is bound to the
// wanted address, and opens new ones otherwise; what it leaves there is up to the
// caller (Inherited.CloseRest).
//
// TCP has one socket for each loop (SO_REUSEPORT, see docs/decisions/003), a unix
// address one for all. A taken address is EADDRINUSE. After an error no socket is
// left open but those that are still in inherited.
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
				return all, fmt.Errorf("listen %s: twice", w.Addr)
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

// spread gives each socket to at least one loop and each loop at least one socket.
func assignToLoops(sockets []Socket, loops int) [][]int {
	fds := make([][]int, loops)
	for i := range max(loops, len(sockets)) {
		fds[i%loops] = append(fds[i%loops], sockets[i%len(sockets)].FD)
	}
	return fds
}

// resolve returns the address that Listener.Addr stands for, nil for "systemd:NAME".
func resolveListenAddr(addr string) (net.Addr, error) {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		if path == "" { // the kernel would pick a name
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

func isPortZero(addr net.Addr) bool {
	a, ok := addr.(*net.TCPAddr)
	return ok && a.Port == 0
}

// sameAddr reports whether two sockets cannot be bound to a and b for being the
// same address. All unspecified IP addresses are one, as they are for net.Listen.
// Port 0 equals none.
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

// open opens new sockets for an address of resolve.
func openSockets(addr net.Addr, loops int) ([]Socket, error) {
	if a, ok := addr.(*net.TCPAddr); ok {
		return openTCP(a, loops)
	}
	return openUnix(addr.(*net.UnixAddr))
}

// openTCP opens one socket for each loop. The first listens without SO_REUSEPORT,
// which would silently share a port that another process has: the kernel refuses
// a taken one. It gets the option afterwards, which admits the others to its
// group, so that the port is not free in between.
func openTCP(addr *net.TCPAddr, loops int) (sockets []Socket, err error) {
	defer func() {
		if err != nil {
			closeSockets(sockets)
			sockets = nil
		}
	}()
	for len(sockets) < loops {
		var config net.ListenConfig
		config.SetMultipathTCP(false) // its accepts cost more, and the proxies in front do not speak it
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

// openUnix opens the one socket of a unix address. It removes the file of a
// process that has ended without doing so: a dial of it is refused.
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

// openSocket listens as net.Listen does (family, backlog, both IP versions for an
// unspecified address), and takes the socket out of the runtime's poller.
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

// dup returns a descriptor of c's socket that is the caller's to close.
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
