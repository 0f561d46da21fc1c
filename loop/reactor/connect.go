// This file connects non-blocking sockets on the loop for a Dialer. The addresses
// of a name are tried one after the other, each with a head start (RFC 8305).
// resolve.go finds the addresses.

package reactor

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
	// headStart is how long an address is tried alone (RFC 8305 section 8).
	headStart = 250 * time.Millisecond
	// backlogPause is the time between two connects to a unix socket with a full
	// backlog.
	backlogPause = 5 * time.Millisecond
	// retryMax limits how often an address is tried again after an error of the
	// local machine.
	retryMax = 2
	// keepAlive and probeMax are net.Dialer's defaults.
	keepAlive = 15 * time.Second
	probeMax  = 9
)

// errSelf ends an attempt that connected the socket to itself.
var errSelf = os.NewSyscallError("connect", unix.ECONNREFUSED)

// dialing is one call of a Dialer. From start until done it belongs to its loop;
// then the caller reads conn and err.
type dialing struct {
	dialer   *Dialer
	r        *Reactor
	network  string
	until    int64            // deadline on the loop clock
	addrs    []netip.AddrPort // not yet tried
	literal  [1]netip.AddrPort
	path     string     // of a unix socket not yet tried
	attempts []*attempt // in progress
	next     loop.Timer // begins the next attempt
	deadline loop.Timer
	waiter   loop.Waiter // the caller

	done bool
	conn net.Conn
	err  error // the first one
}

// attempt is one socket that is being connected.
type attempt struct {
	x      *dialing
	fd     int
	to     unix.Sockaddr
	remote net.Addr
	tries  int
}

// run connects. t is the calling task, or nil if the caller is not a task.
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

// abandon releases what a dial without a result for its caller still holds.
func (x *dialing) abandon() {
	switch {
	case x.conn != nil:
		_ = x.conn.Close() // calls releaseDial
		return
	case !x.done && x.deadline.Armed():
		x.fail(loop.ErrClosed)
	}
	x.r.engine.releaseDial()
}

// start begins the first attempt. It runs on the loop.
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

// advance begins the next attempt, or the one after it if that fails at once, and
// arms the timer for the following address.
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

// nextAttempt returns an attempt for the unix path or the next address.
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

// keepFirstError keeps the error of the first attempt that failed: its address is
// the preferred one.
func (x *dialing) keepFirstError(a *attempt, err error) {
	if x.err == nil {
		x.err = x.opError(a.remote, err)
	}
}

// fail ends the dial with err unless it has ended. It runs on the loop.
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

// timeOut ends the dial with err. If the deadline has passed, it first looks for an
// attempt that is connected and whose event has not been handled because the loop
// is late.
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

// opError wraps err in the *net.OpError of a dial.
func (x *dialing) opError(remote net.Addr, err error) error {
	return &net.OpError{Op: "dial", Net: x.network, Source: x.dialer.LocalAddr, Addr: remote, Err: err}
}

// begin makes a socket and connects it. If it returns nil, the socket is connected
// or the attempt is one of x.attempts.
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
	case unix.EAGAIN: // the backlog of the unix socket is full
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

// mayRetry reports whether another try may succeed: the kernel chose a local port
// that was taken meanwhile, or connected the socket to itself, which is possible
// where nothing listens on a port of the ephemeral range.
func (a *attempt) mayRetry(err error) bool {
	a.tries++
	local, _ := a.x.dialer.LocalAddr.(*net.TCPAddr)
	return a.tries <= retryMax && (local == nil || local.Port == 0) && (err == errSelf || errors.Is(err, unix.EADDRNOTAVAIL))
}

// ready handles the end of a connect. A second connect(2) returns its result, also
// when the event belongs to an earlier descriptor with the same number.
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
		x.advance() // without waiting for the head start
	}
}

// connected makes a Conn of the socket and ends the dial. register directs the
// events of the descriptor to the Conn.
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

// isSelf reports whether a socket has the same address at both ends.
func isSelf(local, remote net.Addr) bool {
	l, ok := local.(*net.TCPAddr)
	if !ok {
		return false
	}
	r := remote.(*net.TCPAddr)
	return l.Port == r.Port && l.IP.Equal(r.IP)
}

// close closes the descriptor of an attempt.
func (a *attempt) close() {
	if a.fd >= 0 {
		a.x.r.remove(a.fd)
		_ = unix.Close(a.fd)
		a.fd = -1
	}
}

// setOptions sets the options that net.Dialer sets on a TCP connection. Like there,
// errors are ignored.
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

// bind binds a socket to Dialer.LocalAddr.
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
		if local.Port == 0 { // the kernel chooses a port at connect
			_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		}
	default:
		return mismatched(local)
	}
	return os.NewSyscallError("bind", unix.Bind(fd, from))
}

// localIP returns the IP address of LocalAddr, invalid if there is none. It fails
// if LocalAddr is not a TCP address.
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

// sockaddrOf converts an address to that of a system call.
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
