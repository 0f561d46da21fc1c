package loop

// Take-over: when a new process listens on an address beside an old one, the
// kernel hands new connections to all sockets of the address alike. The new
// process has it prefer its own, so that the old one, which cannot stop
// accepting, gets none any more and can end when its connections have. See
// docs/decisions/008.

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// takeOver has the kernel give new connections of the Engine's addresses to the
// Engine's own sockets, if there are others.
func (e *Engine) takeOver() error {
	return e.eachShared(func(addr string, fd, own, others int) error {
		if err := prefer(fd, others, own); err != nil {
			return err
		}
		e.config.Log.Info("new connections are taken over", "addr", addr, "sockets", own, "others", others)
		return nil
	})
}

// handOver is for an Engine that is about to close its sockets and has a
// successor. They close one by one, and the first that goes breaks the numbers by
// which the successor's are preferred: what came to the others then was reset. The
// Engine's are the first, and each is replaced by the last when it goes, so that
// the number after them is the successor's until all are closed (if it has as many
// sockets), and stands for none from then on: the kernel chooses among all.
func (e *Engine) handOver() error {
	return e.eachShared(func(_ string, fd, own, _ int) error { return prefer(fd, own, 1) })
}

// eachShared calls do for each address on which others listen, too, with a
// descriptor of a socket of its group and the number of sockets.
func (e *Engine) eachShared(do func(addr string, fd, own, others int) error) error {
	for _, l := range e.listens {
		tcp, ok := l.addr.(*net.TCPAddr)
		if !ok {
			continue
		}
		all, err := listeningOn(tcp.AddrPort())
		if err != nil {
			return fmt.Errorf("loop: take over: %w", err)
		}
		own := e.config.Loops
		if all <= own {
			continue
		}
		fd, err := e.gnet.DupListener("tcp", tcp.String())
		if err != nil {
			return fmt.Errorf("loop: take over: %w", err)
		}
		err = do(tcp.String(), fd, own, all-own)
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("loop: take over: %w", err)
		}
	}
	return nil
}

// prefer has the group of fd's address choose among the sockets from the number
// first on, count of them, by chance. Sockets are numbered in the order in which
// they began to listen; when one goes, the last takes its number, and for a
// number that there is none of the kernel chooses among all.
func prefer(fd, first, count int) error {
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(count)},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: uint32(first)},
		{Code: unix.BPF_RET | 0x10}, // the accumulator
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// listeningOn counts the sockets that listen on an address, of all processes.
func listeningOn(a netip.AddrPort) (n int, err error) {
	file, want := "/proc/net/tcp", procAddr(a)
	if a.Addr().Is6() && !a.Addr().Is4In6() {
		file = "/proc/net/tcp6"
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	const listening = "0A"
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 3 && fields[1] == want && fields[3] == listening {
			n++
		}
	}
	return n, lines.Err()
}

// procAddr is an address as /proc/net/tcp spells it: words of the machine's byte
// order, here little-endian.
func procAddr(a netip.AddrPort) string {
	ip := a.Addr().Unmap().AsSlice()
	for i := 0; i < len(ip); i += 4 {
		ip[i], ip[i+1], ip[i+2], ip[i+3] = ip[i+3], ip[i+2], ip[i+1], ip[i]
	}
	return fmt.Sprintf("%s:%04X", strings.ToUpper(hex.EncodeToString(ip)), a.Port())
}

// claimShared is the address of a listener that other processes have too. The
// socket is bound and does not listen: a moment of that would draw connections
// that nobody accepts.
func claimShared(addr string) (net.Addr, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(nil)
	if ip := tcp.IP.To4(); ip != nil {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(ip)}
	} else {
		six := &unix.SockaddrInet6{Port: tcp.Port}
		copy(six.Addr[:], tcp.IP)
		sa = six
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: tcp, Err: os.NewSyscallError("bind", err)}
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	switch s := got.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: s.Addr[:], Port: s.Port}, nil
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: s.Addr[:], Port: s.Port}, nil
	}
	return nil, fmt.Errorf("listen tcp %s: no such family", addr)
}
