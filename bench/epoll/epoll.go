// Package epoll wraps what the load generator and the delay backend need of Linux epoll: register, wait with nanosecond timeouts,
// non-blocking sockets by number. There are no callbacks. Each caller is one loop on one locked thread; nothing here is safe
// for concurrent use.
package epoll

import (
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Readiness bits, as in epoll_ctl(2). Everything is level triggered.
const (
	In     = unix.EPOLLIN
	Out    = unix.EPOLLOUT
	Hangup = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// Event is one readiness report: the descriptor's token, given at Add, and the bits that are ready.
type Event struct {
	Token int32
	Bits  uint32
}

// Poller is one epoll instance.
type Poller struct {
	fd  int
	raw []unix.EpollEvent
	out []Event
}

// New opens an epoll instance that reports at most eventsMax events a call.
func New(eventsMax int) (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &Poller{fd: fd, raw: make([]unix.EpollEvent, eventsMax), out: make([]Event, 0, eventsMax)}, nil
}

// Close releases the instance; descriptors that were added stay open.
func (p *Poller) Close() error { return unix.Close(p.fd) }

// Add registers fd for the given bits under token.
func (p *Poller) Add(fd int, token int32, bits uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: bits, Fd: token})
}

// Change replaces the bits that fd is registered for.
func (p *Poller) Change(fd int, token int32, bits uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: bits, Fd: token})
}

// Remove ends the watch of fd, which stays open.
func (p *Poller) Remove(fd int) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, &unix.EpollEvent{})
}

// Wait blocks until something is ready or timeout has passed; a negative timeout waits without limit. The events are
// valid until the next call. A signal ends the wait early with no events.
//
// It uses epoll_pwait2: epoll_wait's millisecond is too coarse for a request schedule. A zero timeout is a raw system
// call, which the Go scheduler does not get to see: it returns at once.
func (p *Poller) Wait(timeout time.Duration) ([]Event, error) {
	var ts unix.Timespec
	var tsp unsafe.Pointer
	if timeout >= 0 {
		ts = unix.NsecToTimespec(int64(timeout))
		tsp = unsafe.Pointer(&ts)
	}
	var n uintptr
	var errno unix.Errno
	if timeout == 0 {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.raw[0])),
			uintptr(len(p.raw)), uintptr(tsp), 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.raw[0])),
			uintptr(len(p.raw)), uintptr(tsp), 0, 0)
	}
	if errno == unix.EINTR {
		return nil, nil
	}
	if errno != 0 {
		return nil, fmt.Errorf("epoll_pwait2: %w", errno)
	}
	p.out = p.out[:0]
	for _, e := range p.raw[:n] {
		p.out = append(p.out, Event{Token: e.Fd, Bits: e.Events})
	}
	return p.out, nil
}

// Read is read(2) on a non-blocking descriptor, without telling the Go scheduler: it never blocks.
func Read(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// Write is send(2) with MSG_NOSIGNAL on a non-blocking descriptor, without telling the Go scheduler.
func Write(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// Connect opens a non-blocking TCP socket from the IPv4 address source and starts to connect it to addr. The caller
// waits for Out and then asks ConnectError. Naming the source lets a benchmark use more than one address's worth of
// ephemeral ports; the port itself is picked at connect time.
func Connect(source netip.Addr, addr netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4()}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", source, err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())})
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connect %s: %w", addr, err)
	}
	return fd, nil
}

// ConnectError returns the result of a connect that has become writable.
func ConnectError(fd int) error {
	v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if v != 0 {
		return unix.Errno(v)
	}
	return nil
}

// Listen opens a non-blocking listening socket on an IPv4 address.
func Listen(addr netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", addr, err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen %s: %w", addr, err)
	}
	return fd, nil
}
