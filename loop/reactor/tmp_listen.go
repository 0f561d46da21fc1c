package reactor

import (
	"net"

	"golang.org/x/sys/unix"
)

type Inherited struct{}

type listening struct {
	Listener
	addr net.Addr
	fds  [][]int
}

func (l *listening) close() {
	for _, fds := range l.fds {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
}

func listen(wanted []Listener, loops int, _ *Inherited) (all []*listening, err error) {
	for _, l := range wanted {
		ls := &listening{Listener: l}
		addr := l.Addr
		for range loops {
			fd, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			a, _ := net.ResolveTCPAddr("tcp", addr)
			sa := &unix.SockaddrInet4{Port: a.Port}
			copy(sa.Addr[:], a.IP.To4())
			if err := unix.Bind(fd, sa); err != nil {
				return nil, err
			}
			_ = unix.Listen(fd, 1024)
			got, _ := unix.Getsockname(fd)
			ls.addr = addrOf(got)
			addr = ls.addr.String()
			ls.fds = append(ls.fds, []int{fd})
		}
		all = append(all, ls)
	}
	return all, nil
}

func fileLimits(connMax, dialMax int) (int, int, []string) {
	if connMax <= 0 {
		connMax = 10000
	}
	if dialMax <= 0 {
		dialMax = 2000
	}
	return connMax, dialMax, nil
}
