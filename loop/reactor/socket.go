// This file has the Transport of a plain socket. Its reads and writes are raw
// system calls: they do not block, so the Go scheduler need not be informed of
// them.

package reactor

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

// socket is the Transport of a descriptor.
type socket struct {
	r         *Reactor
	fd        int
	conn      *Conn
	remote    net.Addr
	local     net.Addr // nil: not known yet
	wantWrite bool     // write events are on
	readEdge  bool     // read events are edge-triggered, because the Conn is not reading
}

// ready passes events to the Conn.
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
			// A second call only if the first has filled its buffer is cheaper than readv
			// every time.
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

// writeBoth sends what the socket accepts of a followed by b. It ignores errors,
// which the next Write returns.
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

// writeMore sends what the socket accepts of p with MSG_MORE: a segment that is not
// full waits up to 200 ms for more bytes. It ignores errors, which the next Write
// returns.
func (s *socket) writeMore(p []byte) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_MORE|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// push sends the segment that writeMore left waiting.
func (s *socket) push() { _ = unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

// Unsent implements Transport. A socket has no buffer in this process.
func (s *socket) Unsent() int { return 0 }

// Want implements Transport. A descriptor that is not read stays registered,
// edge-triggered, so that errors and resets are still reported.
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

// Close implements Transport. It sends a reset if abort, and FIN otherwise.
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

// addrOf converts an address of a system call to a net.Addr.
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

// socketError returns and clears the pending error of a socket (SO_ERROR).
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

// accept4 accepts a connection. Unlike unix.Accept4 it does not call getsockopt for
// each one to ask for the protocol of the listening socket.
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
	return int(accepted), &net.UnixAddr{Net: "unix"}, nil // clients of unix sockets rarely bind an address
}

// hostOrder converts a port from network byte order.
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

// Arrived reports, without waiting, whether a socket has bytes, an end or an error to read. It takes one system call,
// which cannot block.
func Arrived(fd int) bool {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1,
		unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno != unix.EAGAIN
}

func rawWritev(fd int, a, b []byte) (int, error) {
	v := [2]unix.Iovec{{Base: unsafe.SliceData(a)}, {Base: unsafe.SliceData(b)}}
	v[0].SetLen(len(a))
	v[1].SetLen(len(b))
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&v)), 2)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// timeUntil returns the time from now to at on the loop clock, at least 1 ns.
func timeUntil(at, now int64) time.Duration { return time.Duration(max(at-now, 1)) }
