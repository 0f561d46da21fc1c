package reactor

// socket: the Transport of a descriptor, without TLS. Reads and writes are raw
// system calls: they do not block, so the Go scheduler need not know of them.

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

type socket struct {
	r         *Reactor
	fd        int
	conn      *Conn
	remote    net.Addr
	local     net.Addr // nil: asked for when needed
	wantWrite bool     // write events are on
	readEdge  bool     // read events are edge-triggered: nobody reads
}

// ready passes events on to the connection.
func (s *socket) ready(events netpoll.IOEvent) {
	c := s.conn
	if events&(unix.EPOLLIN|unix.EPOLLPRI|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.Readable()
	}
	if events&unix.EPOLLOUT != 0 && s.wantWrite {
		c.Writable()
	}
}

// Read implements Transport.
func (s *socket) Read(first, then []byte) (n int, err error) {
	for {
		switch {
		case len(first) == 0:
			n, err = rawRead(s.fd, then)
		case len(then) == 0:
			n, err = rawRead(s.fd, first)
		default:
			// A second call when the first has filled its buffer: readv would make every
			// call dearer.
			if n, err = rawRead(s.fd, first); n == len(first) {
				if k, _ := rawRead(s.fd, then); k > 0 {
					n += k
				}
			}
		}
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("read", err)
		}
	}
}

// Write implements Transport.
func (s *socket) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		n, err = rawWrite(s.fd, p)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("write", err)
		}
	}
	return 0, nil
}

// writeBoth sends what the socket takes of a and then b. An error is left to the
// next Write.
func (s *socket) writeBoth(a, b []byte) int {
	var n int
	var err error
	switch {
	case len(b) == 0:
		n, err = rawWrite(s.fd, a)
	case len(a) == 0:
		n, err = rawWrite(s.fd, b)
	default:
		n, err = rawWritev(s.fd, a, b)
	}
	if err != nil {
		return 0
	}
	return n
}

// writeMore sends what the socket takes of p, and says that more follows soon: a
// segment that is not full waits for that, 200 ms at most. An error is left to the
// next Write.
func (s *socket) writeMore(p []byte) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_MORE|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// push has what writeMore has left waiting sent.
func (s *socket) push() { _ = unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

// Unsent implements Transport: a socket keeps nothing.
func (s *socket) Unsent() int { return 0 }

// Want implements Transport. A descriptor that is not to be read stays registered,
// edge-triggered: an error or a reset is still an event.
func (s *socket) Want(read, write bool) {
	s.wantWrite, s.readEdge = write, !read
	pa := netpoll.PollAttachment{FD: s.fd}
	if write {
		_ = s.r.poller.ModReadWrite(&pa, !read)
		return
	}
	_ = s.r.poller.ModRead(&pa, !read)
}

// CloseWrite implements Transport.
func (s *socket) CloseWrite() error { return unix.Shutdown(s.fd, unix.SHUT_WR) }

// Close implements Transport: with a reset, or else a FIN.
func (s *socket) Close(abort bool) {
	s.r.remove(s.fd)
	if abort {
		_ = unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = unix.Close(s.fd)
	s.fd = -1
}

// FD implements Transport.
func (s *socket) FD() int { return s.fd }

// RemoteAddr implements Transport.
func (s *socket) RemoteAddr() net.Addr { return s.remote }

// LocalAddr implements Transport.
func (s *socket) LocalAddr() net.Addr {
	if s.local == nil && s.fd >= 0 {
		if sa, err := unix.Getsockname(s.fd); err == nil {
			s.local = addrOf(sa)
		}
	}
	return s.local
}

// addrOf converts an address of the kernel's.
func addrOf(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: append([]byte(nil), sa.Addr[:]...), Port: sa.Port}
	case *unix.SockaddrInet6:
		a := &net.TCPAddr{IP: append([]byte(nil), sa.Addr[:]...), Port: sa.Port}
		if sa.ZoneId != 0 {
			if i, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				a.Zone = i.Name
			}
		}
		return a
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}
	}
	return &net.UnixAddr{Net: "unix"}
}

// socketError takes the error that the kernel holds for a socket, if any.
func socketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case n != 0:
		return os.NewSyscallError("socket", syscall.Errno(n))
	}
	return nil
}

// accept4 accepts a connection. It is unix.Accept4 without a getsockopt for each,
// which asks for the protocol of the listening socket.
func accept4(fd int) (int, net.Addr, error) {
	var from unix.RawSockaddrAny
	n := uint32(unix.SizeofSockaddrAny)
	accepted, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&n)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, nil, errno
	}
	switch from.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&from))
		return int(accepted), &net.TCPAddr{IP: append([]byte(nil), in.Addr[:]...), Port: hostOrder(in.Port)}, nil
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&from))
		return int(accepted), addrOf(&unix.SockaddrInet6{Addr: in.Addr, Port: hostOrder(in.Port), ZoneId: in.Scope_id}), nil
	}
	return int(accepted), &net.UnixAddr{Net: "unix"}, nil // a peer that connects to a path seldom has one
}

// hostOrder is a port that stands in network order.
func hostOrder(port uint16) int {
	return int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, port)))
}

func rawRead(fd int, p []byte) (int, error) { return rawCall(unix.SYS_READ, fd, p) }

func rawWrite(fd int, p []byte) (int, error) { return rawCall(unix.SYS_WRITE, fd, p) }

func rawCall(call uintptr, fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// rawPeek tells whether a socket has bytes, an end or an error to read.
func rawPeek(fd int) bool {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1,
		unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno != unix.EAGAIN
}

func rawWritev(fd int, a, b []byte) (int, error) { return rawVector(unix.SYS_WRITEV, fd, a, b) }

func rawVector(call uintptr, fd int, a, b []byte) (int, error) {
	v := [2]unix.Iovec{{Base: unsafe.SliceData(a)}, {Base: unsafe.SliceData(b)}}
	v[0].SetLen(len(a))
	v[1].SetLen(len(b))
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&v)), 2)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func timeUntil(at, now int64) time.Duration { return time.Duration(max(at-now, 1)) }
