package reactor

// Connecting: non-blocking sockets on the loop, the addresses of a name one after
// the other with a head start for each (RFC 8305).

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"tafe/loop"
)

const (
	// headStart is for how long an address is tried alone (RFC 8305 section 8).
	headStart = 250 * time.Millisecond
	// backlogPause is the time after which a unix socket is tried again whose
	// server has a full backlog.
	backlogPause = 5 * time.Millisecond
	// retryMax bounds how often an address is tried again for a reason of this
	// machine's.
	retryMax = 2
	// keepAlive and probeMax are net.Dialer's defaults.
	keepAlive = 15 * time.Second
	probeMax  = 9
)

// errSelf ends an attempt whose socket was connected to itself.
var errSelf = os.NewSyscallError("connect", unix.ECONNREFUSED)

// dialing is one call of a Dialer. From start on it belongs to its loop; the caller
// reads the outcome once done.
type dialing struct {
	dialer   *Dialer
	r        *Reactor
	network  string
	until    int64            // loop clock: the end of its time
	addrs    []netip.AddrPort // to be tried
	literal  [1]netip.AddrPort
	path     string     // of a unix socket
	attempts []*attempt // under way
	next     loop.Timer // begins another attempt
	deadline loop.Timer
	waiter   loop.Waiter // the caller

	done bool
	conn net.Conn
	err  error // the first
}

// attempt is one socket that is being connected.
type attempt struct {
	x      *dialing
	fd     int
	to     unix.Sockaddr
	remote net.Addr
	tries  int
}

// run connects. t is the calling task, nil for another goroutine.
func (x *dialing) run(ctx context.Context, t *loop.Task) (net.Conn, error) {
	if t != nil {
		if x.start(); !x.done {
			x.waiter = loop.WaiterFor(t)
		}
	} else {
		x.waiter = loop.WaiterFor(nil)
		if !x.r.loop.PostUnbounded(x.start) {
			return nil, x.opError(nil, loop.ErrClosed)
		}
	}
	if t == nil || !x.done {
		if ctx.Done() != nil {
			stop := context.AfterFunc(ctx, func() {
				x.r.loop.PostUnbounded(func() { x.timeOut(contextError(ctx)) })
			})
			defer stop()
		}
		if cause := x.waiter.Wait(nil, 0); cause != nil {
			return nil, cause
		}
	}
	return x.conn, x.err
}

// abandon ends what is left of a dial without a connection for its caller.
func (x *dialing) abandon() {
	switch {
	case x.conn != nil:
		_ = x.conn.Close() // which counts it
		return
	case !x.done && x.deadline.Armed():
		x.fail(loop.ErrClosed)
	}
	x.r.engine.releaseDial()
}

// start begins the first attempt. On the loop.
func (x *dialing) start() {
	if x.r.ending {
		x.fail(loop.ErrShutdown)
		return
	}
	x.r.dials[x] = struct{}{}
	x.deadline.Owner, x.next.Owner = x, x
	x.r.loop.AfterFunc(&x.deadline, time.Duration(x.until-x.r.Now()), func(t *loop.Timer) {
		t.Owner.(*dialing).timeOut(errTimeout)
	})
	x.advance()
}

// advance begins the next attempt, at once another where that fails, and arms the
// timer for the one after it.
func (x *dialing) advance() {
	for !x.done && (len(x.addrs) > 0 || x.path != "") {
		a := x.nextAttempt()
		if err := a.begin(); err != nil {
			x.keepFirstError(a, err)
			continue
		}
		break
	}
	switch {
	case x.done:
	case len(x.attempts) == 0:
		x.finish(nil)
	case len(x.addrs) > 0:
		x.r.loop.AfterFunc(&x.next, headStart, func(t *loop.Timer) { t.Owner.(*dialing).advance() })
	}
}

func (x *dialing) nextAttempt() *attempt {
	a := &attempt{x: x, fd: -1}
	if x.path != "" {
		a.to, a.remote = &unix.SockaddrUnix{Name: x.path}, &net.UnixAddr{Name: x.path, Net: "unix"}
		x.path = ""
		return a
	}
	addr := x.addrs[0]
	x.addrs = x.addrs[1:]
	a.to, a.remote = sockaddrOf(addr), net.TCPAddrFromAddrPort(addr)
	return a
}

// note keeps the first error: that of the address that is preferred.
func (x *dialing) keepFirstError(a *attempt, err error) {
	if x.err == nil {
		x.err = x.opError(a.remote, err)
	}
}

// fail ends the dial with err unless it has ended. On the loop.
func (x *dialing) fail(err error) {
	if x.done {
		return
	}
	var remote net.Addr
	if len(x.attempts) > 0 {
		remote = x.attempts[0].remote
	}
	x.err = x.opError(remote, err)
	x.finish(nil)
}

// expire ends the dial with err, unless its time was enough and it is the loop that
// was late: an attempt may be connected whose event has not come yet.
func (x *dialing) timeOut(err error) {
	if err == errTimeout {
		for _, a := range slices.Clone(x.attempts) {
			if a.fd >= 0 {
				a.ready(0)
			}
		}
	}
	x.fail(err)
}

// finish ends all attempts and wakes the caller.
func (x *dialing) finish(c net.Conn) {
	x.done, x.conn = true, c
	if c != nil {
		x.err = nil
	}
	x.r.loop.StopTimer(&x.next)
	x.r.loop.StopTimer(&x.deadline)
	for _, a := range x.attempts {
		a.close()
	}
	x.attempts = nil
	delete(x.r.dials, x)
	x.waiter.Wake()
}

// fault makes a dial's error of err.
func (x *dialing) opError(remote net.Addr, err error) error {
	return &net.OpError{Op: "dial", Net: x.network, Source: x.dialer.LocalAddr, Addr: remote, Err: err}
}

// begin makes a socket and connects it. Without an error it is connected, or one
// of x.attempts.
func (a *attempt) begin() error {
	for {
		err := a.connect()
		if err == nil {
			return nil
		}
		a.close()
		if !a.mayRetry(err) {
			return err
		}
	}
}

// connect is one try of begin.
func (a *attempt) connect() (err error) {
	family := unix.AF_UNIX
	switch a.to.(type) {
	case *unix.SockaddrInet4:
		family = unix.AF_INET
	case *unix.SockaddrInet6:
		family = unix.AF_INET6
	}
	if a.fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := a.x.bind(a.fd, family); err != nil {
		return err
	}
	r := a.x.r
	switch err := unix.Connect(a.fd, a.to); err {
	case nil:
		return a.connected(r.add)
	case unix.EINPROGRESS, unix.EINTR:
		if err := r.addConnecting(a.fd, a); err != nil {
			return err
		}
	case unix.EAGAIN: // a unix socket's server is behind with accepting
		a.close()
		a.x.r.loop.AfterFunc(&a.x.next, backlogPause, func(t *loop.Timer) { t.Owner.(*dialing).retry() })
	default:
		return os.NewSyscallError("connect", err)
	}
	a.x.attempts = append(a.x.attempts, a)
	return nil
}

// retry tries the one attempt of a unix socket again.
func (x *dialing) retry() {
	a := x.attempts[0]
	x.attempts = x.attempts[:0]
	if err := a.begin(); err != nil {
		x.keepFirstError(a, err)
		x.finish(nil)
	}
}

// again tells whether another try may have another outcome: the kernel chose a
// local port that was taken meanwhile, or connected the socket to itself, which it
// can where no one listens on a port of the ephemeral range.
func (a *attempt) mayRetry(err error) bool {
	a.tries++
	local, _ := a.x.dialer.LocalAddr.(*net.TCPAddr)
	return a.tries <= retryMax && (local == nil || local.Port == 0) && (err == errSelf || errors.Is(err, unix.EADDRNOTAVAIL))
}

// ready looks how a connect has ended. A second connect(2) tells that exactly, also
// when the event was one of an earlier descriptor with the same number.
func (a *attempt) ready(netpoll.IOEvent) {
	err := unix.Connect(a.fd, a.to)
	switch err {
	case unix.EALREADY, unix.EINPROGRESS, unix.EINTR:
		return
	case nil, unix.EISCONN:
		err = a.connected(a.x.r.switchToRead)
	default:
		err = os.NewSyscallError("connect", err)
	}
	if err == nil {
		return
	}
	x := a.x
	x.attempts = slices.DeleteFunc(x.attempts, func(b *attempt) bool { return b == a })
	a.close()
	if a.mayRetry(err) {
		if err = a.begin(); err == nil {
			return
		}
	}
	x.keepFirstError(a, err)
	x.r.loop.StopTimer(&x.next)
	if len(x.addrs) > 0 || len(x.attempts) == 0 {
		x.advance() // at once
	}
}

// connected makes a Conn of the socket, which register has its events of, and ends
// the dial.
func (a *attempt) connected(register func(fd int, s source) error) error {
	x, r := a.x, a.x.r
	s := &socket{r: r, fd: a.fd, remote: a.remote}
	if isSelf(s.LocalAddr(), a.remote) {
		return errSelf
	}
	if err := register(a.fd, s); err != nil {
		return err
	}
	a.fd = -1
	if _, ok := a.remote.(*net.TCPAddr); ok {
		x.dialer.setOptions(s.fd)
	}
	s.conn = r.Open(s, nil)
	r.dialed++
	r.stats.Dialed++
	s.conn.release = func(c *Conn) {
		c.r.dialed--
		c.r.engine.releaseDial()
	}
	x.finish(NewNetConn(s.conn))
	return nil
}

// isSelf tells whether a socket has the same address at both ends.
func isSelf(local, remote net.Addr) bool {
	l, ok := local.(*net.TCPAddr)
	if !ok {
		return false
	}
	r := remote.(*net.TCPAddr)
	return l.Port == r.Port && l.IP.Equal(r.IP)
}

// close gives the descriptor of an attempt back.
func (a *attempt) close() {
	if a.fd >= 0 {
		a.x.r.remove(a.fd)
		_ = unix.Close(a.fd)
		a.fd = -1
	}
}

// setOptions sets what net.Dialer sets on a TCP connection. Errors are ignored, as
// there.
func (d *Dialer) setOptions(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if d.KeepAlive < 0 {
		return
	}
	idle := d.KeepAlive
	if idle == 0 {
		idle = keepAlive
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int((idle+time.Second-1)/time.Second))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAlive/time.Second))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probeMax)
}

// bind binds a socket to the Dialer's LocalAddr.
func (x *dialing) bind(fd, family int) error {
	var from unix.Sockaddr
	switch local := x.dialer.LocalAddr.(type) {
	case nil:
		return nil
	case *net.UnixAddr:
		from = &unix.SockaddrUnix{Name: local.Name}
	case *net.TCPAddr:
		ip, _ := x.localIP()
		switch {
		case ip.IsValid() && !ip.IsUnspecified():
		case family == unix.AF_INET:
			ip = netip.IPv4Unspecified()
		default:
			ip = netip.IPv6Unspecified()
		}
		from = sockaddrOf(netip.AddrPortFrom(ip, uint16(local.Port)))
		if local.Port == 0 { // the kernel chooses a port for the pair of addresses, in connect
			_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		}
	default:
		return mismatched(local)
	}
	return os.NewSyscallError("bind", unix.Bind(fd, from))
}

// localIP is the address of LocalAddr, invalid where any will do. The error is that
// of an address of another network.
func (x *dialing) localIP() (netip.Addr, error) {
	local := x.dialer.LocalAddr
	if local == nil {
		return netip.Addr{}, nil
	}
	tcp, ok := local.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, mismatched(local)
	}
	return tcp.AddrPort().Addr().Unmap(), nil
}

func mismatched(local net.Addr) error {
	return &net.AddrError{Err: "mismatched local address type", Addr: local.String()}
}

// sockaddrOf converts an address for the kernel.
func sockaddrOf(a netip.AddrPort) unix.Sockaddr {
	ip := a.Addr()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(i.Index)
		} else if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			sa.ZoneId = uint32(n)
		}
	}
	return sa
}
