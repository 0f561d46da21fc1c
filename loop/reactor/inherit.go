// This file has the listening sockets that another process opened: systemd, for
// socket activation, or a predecessor (handover.go).

package reactor

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
	Name string   // systemd's name for it; "" if a tafe process opened it
	FD   int
}

// String returns the socket's name, if it has one, and its address.
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

// Inherited holds listening sockets that another process opened. An Engine takes
// the sockets that its Listeners name; CloseRest closes the others. A nil
// *Inherited holds none. It is not safe for concurrent use.
type Inherited struct {
	sockets     []Socket
	predecessor *handoverPeer // waits for Ready; nil after Ready or Close, and for systemd
	completed   atomic.Bool   // the predecessor has stopped accepting
}

// SystemdSockets returns the sockets of systemd socket activation. files are the
// descriptors of LISTEN_FDS with their names of LISTEN_FDNAMES, as activation.Files
// of go-systemd returns them. It closes them, and fails if one is not a listening
// TCP or unix stream socket.
//
// A Listener uses such a socket if its Addr is the bound address, or
// "systemd:NAME", which means all sockets of that name.
func SystemdSockets(files []*os.File) (*Inherited, error) { return inheritFiles(files) }

// inheritFiles duplicates the sockets of files, and closes files.
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

// dupListeningFile duplicates the listening socket f. Another process may use the
// same socket, so options set here apply there, too.
func dupListeningFile(f *os.File) (Socket, error) {
	fd, err := dupFD(f)
	if err != nil {
		return Socket{}, err
	}
	s := Socket{FD: fd, Name: f.Name()}
	if s.Addr, err = listeningAddr(fd, f); err == nil {
		err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, true)) // systemd passes blocking sockets
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
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr(), nil
}

// takeSockets removes and returns the sockets for a Listener. wanted is its Addr,
// and addr what Addr resolves to, nil for "systemd:NAME".
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

// Listen returns a net.Listener on the socket that is bound to addr ("host:port"),
// for a server outside of the Engine such as an admin listener. It returns nil
// without an error if there is none. If several sockets are bound to addr, it uses
// the first and closes the others.
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

// SocketOf duplicates the descriptor of a listener outside of an Engine, so that
// ServeHandover can pass it on. The caller closes it.
func SocketOf(ln interface {
	net.Listener
	syscall.Conn
}) (Socket, error) {
	fd, err := dupFD(ln)
	return Socket{Addr: ln.Addr(), FD: fd}, err
}

// pathIsOurs reports whether this process removes the file of an inherited unix
// socket.
func (i *Inherited) pathIsOurs(s Socket) bool { return s.Name == "" && i.completed.Load() }

// CloseRest closes the sockets that no Listener took, and returns the name and
// address of each. Connections that wait in their queues are reset when the process
// that passed the sockets has closed them, too.
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

// Close ends the handover unless Ready was called: the predecessor continues to
// serve. It closes the sockets that no Listener took.
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
