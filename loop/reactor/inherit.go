package reactor

// This file keeps listening sockets that another process opened: systemd, for
// socket activation, or a predecessor (takeover.go) that hands over its own.

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Socket is a listening socket that passes from one process to another.
type Socket struct {
	Addr net.Addr // as bound
	Name string   // what systemd calls it; "" if a tafe process opened it
	FD   int
}

// String returns the socket's name, where it has one, and its address.
func (s Socket) String() string {
	text := s.Addr.String()
	if u, ok := s.Addr.(*net.UnixAddr); ok {
		text = unixPrefix + u.Name
	}
	if s.Name != "" {
		text = systemdPrefix + s.Name + " (" + text + ")"
	}
	return text
}

// Inherited holds listening sockets that another process opened, until an Engine
// takes those that it wants. A nil *Inherited holds none. Its methods are not safe
// for concurrent use.
type Inherited struct {
	sockets     []Socket
	predecessor *peer       // waits for Ready; nil for systemd, and from Ready or Close on
	completed   atomic.Bool // the predecessor has stopped accepting
}

// SystemdSockets returns the sockets of socket activation. files are those of
// LISTEN_FDS, each with its name of LISTEN_FDNAMES, as activation.Files of
// go-systemd returns them; they are closed. It fails if one is no listening stream
// socket of TCP or unix.
//
// A Listener gets such a socket where its Addr is the bound address, or
// "systemd:NAME", which takes all sockets of the name.
func SystemdSockets(files []*os.File) (*Inherited, error) { return inheritFiles(files) }

// inherit takes the sockets out of files, and closes these.
func inheritFiles(files []*os.File) (*Inherited, error) {
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	i := &Inherited{}
	for n, f := range files {
		s, err := dupListeningFile(f)
		if err != nil {
			closeSockets(i.sockets)
			return nil, fmt.Errorf("inherited socket %d %q: %w", n, f.Name(), err)
		}
		i.sockets = append(i.sockets, s)
	}
	return i, nil
}

// adopt duplicates the listening socket that f is. The socket may be in use by
// another process: what it sets applies there, too.
func dupListeningFile(f *os.File) (Socket, error) {
	fd, err := dupFD(f)
	if err != nil {
		return Socket{}, err
	}
	s := Socket{FD: fd, Name: f.Name()}
	if s.Addr, err = listeningAddr(fd, f); err == nil {
		err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, true)) // systemd's is a blocking one
	}
	if err != nil {
		_ = unix.Close(fd)
		return Socket{}, err
	}
	return s, nil
}

// listeningAddr returns the address that a socket listens on.
func listeningAddr(fd int, f *os.File) (net.Addr, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_STREAM || accepts == 0 {
		return nil, fmt.Errorf("not a listening stream socket")
	}
	ln, err := net.FileListener(f) // knows all forms of addresses
	if err != nil {
		return nil, err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr(), nil
}

// take removes the sockets that are wanted and returns them. addr is what the
// Listener's Addr resolves to, nil for "systemd:NAME".
func (i *Inherited) takeSockets(wanted string, addr net.Addr) (taken []Socket) {
	if i == nil {
		return nil
	}
	name, byName := strings.CutPrefix(wanted, systemdPrefix)
	rest := i.sockets[:0]
	for _, s := range i.sockets {
		if byName && s.Name == name && name != "" || !byName && sameAddr(addr, s.Addr) {
			taken = append(taken, s)
		} else {
			rest = append(rest, s)
		}
	}
	i.sockets = rest
	return taken
}

// Listen returns a net.Listener of the socket that is bound to addr ("host:port"),
// for a server that is no Engine's, such as an admin listener. It returns nil if
// there is none. Of several sockets it takes the first and closes the others.
func (i *Inherited) Listen(addr string) (net.Listener, error) {
	resolved, err := resolveListenAddr(addr)
	if err != nil || i == nil || resolved == nil {
		return nil, err
	}
	taken := i.takeSockets(addr, resolved)
	if len(taken) == 0 {
		return nil, nil
	}
	closeSockets(taken[1:])
	f := os.NewFile(uintptr(taken[0].FD), addr)
	defer func() { _ = f.Close() }()
	return net.FileListener(f)
}

// SocketOf returns a descriptor of a listener that is no Engine's, to be handed
// over with those of the Engine (ServeHandover). The caller closes it.
func SocketOf(ln interface {
	net.Listener
	syscall.Conn
}) (Socket, error) {
	fd, err := dupFD(ln)
	return Socket{Addr: ln.Addr(), FD: fd}, err
}

// pathIsOurs reports whether the file of an inherited unix socket is this
// process's to remove.
func (i *Inherited) pathIsOurs(s Socket) bool { return s.Name == "" && i.completed.Load() }

// CloseRest closes the sockets that no Listener took, and describes each by its
// name and address. Connections that wait there are reset once the process that
// passed them has closed them, too.
func (i *Inherited) CloseRest() (closed []string) {
	if i == nil {
		return nil
	}
	for _, s := range i.sockets {
		closed = append(closed, s.String())
	}
	closeSockets(i.sockets)
	i.sockets = nil
	return closed
}

// Close gives up the take-over, if Ready has not been called: the predecessor goes
// on. It closes the sockets that no Listener took.
func (i *Inherited) Close() error {
	if i == nil {
		return nil
	}
	i.CloseRest()
	if i.predecessor == nil {
		return nil
	}
	err := i.predecessor.conn.Close()
	i.predecessor = nil
	return err
}
