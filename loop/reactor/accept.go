package reactor

// Accepting: from a listening socket to a Conn. An accept that fails never ends a
// loop; it pauses accepting for a moment.

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"tafe/loop"
)

const (
	acceptMax = 32 // a turn, of one listener
	// keepAliveSeconds without traffic, and the kernel asks whether a peer is there.
	keepAliveSeconds = 60
	acceptRetry      = 100 * time.Millisecond
)

// acceptor is a listening socket of a loop.
type acceptor struct {
	r       *Reactor
	listens *listening
	fd      int
	timer   loop.Timer // of a pause
	failing bool       // the last accept failed, and that was logged
	ended   bool
}

// accept has the reactor accept from the sockets of l that are its own.
func (r *Reactor) accept(l *listening, id int) error {
	for _, fd := range l.fds[id] {
		setInherited(fd)
		a := &acceptor{r: r, listens: l, fd: fd}
		a.timer.Owner = a
		if err := r.add(fd, a); err != nil {
			return err
		}
		r.accepts = append(r.accepts, a)
	}
	return nil
}

// setInherited sets the options of a listening socket that accepted sockets inherit
// (Linux), so that none is set for each. They do not exist for unix sockets.
func setInherited(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveSeconds)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveSeconds/4)
}

// ready accepts what waits, up to a bound for the sake of other connections.
func (a *acceptor) ready(netpoll.IOEvent) { a.take(acceptMax) }

// take reports whether there may be more.
func (a *acceptor) take(most int) bool {
	for range most {
		fd, remote, err := accept4(a.fd)
		switch err {
		case nil:
			a.accepted(fd, remote)
		case unix.EAGAIN:
			a.failing = false // not before all that waited are accepted: near a limit it fails again and again
			return false
		case unix.EINTR, unix.ECONNABORTED:
		default:
			a.pause(err)
			return false
		}
	}
	return true
}

// pause stops accepting for a moment: descriptors or memory may be free by then.
func (a *acceptor) pause(err error) {
	r := a.r
	r.engine.acceptErrors.Add(1)
	if !a.failing {
		a.failing = true
		r.engine.config.Log.Error("accept failed; trying again until it succeeds",
			"addr", a.listens.addr.String(), "error", os.NewSyscallError("accept4", err), "pause", acceptRetry)
	}
	r.remove(a.fd)
	r.loop.AfterFunc(&a.timer, acceptRetry, func(t *loop.Timer) {
		if a := t.Owner.(*acceptor); !a.ended {
			_ = a.r.add(a.fd, a)
		}
	})
}

// stopAccepting takes what is queued, and then no more.
func (r *Reactor) stopAccepting() {
	for _, a := range r.accepts {
		if a.ended {
			continue
		}
		for range 1 << 10 {
			if !a.take(acceptMax) {
				break
			}
		}
		a.ended = true
		r.loop.StopTimer(&a.timer)
		r.remove(a.fd)
	}
}

// accepted makes a Conn of an accepted descriptor, or closes it.
func (a *acceptor) accepted(fd int, remote net.Addr) {
	r := a.r
	e := r.engine
	if e.conns.Add(1) > int64(e.config.ConnMax) {
		e.conns.Add(-1)
		e.refused.Add(1)
		r.stats.Refused++
		_ = unix.Close(fd)
		return
	}
	s := &socket{r: r, fd: fd, remote: remote}
	if err := r.add(fd, s); err != nil {
		e.conns.Add(-1)
		_ = unix.Close(fd)
		a.pause(err)
		return
	}
	c := r.Open(s, nil)
	s.conn = c
	c.release, c.opening = accountOf, true
	e.opening.Add(1)
	if a.listens.Proxy != nil {
		c.awaitPreface(a.listens)
		return
	}
	c.admit(a.listens)
}

// accountOf gives the place of an accepted connection back.
func accountOf(c *Conn) {
	e := c.r.engine
	c.opened()
	e.conns.Add(-1)
	if c.counted.IsValid() {
		e.perIP.leave(c.counted)
	}
}

// admit goes on with a connection whose client is known: it is counted, speaks
// TLS if it is to, and gets its handler.
func (c *Conn) admit(l *listening) {
	e := c.r.engine
	if most := e.config.ConnMaxPerIP; most > 0 {
		if ip, ok := clientIP(c.transport.RemoteAddr()); ok {
			if !e.perIP.enter(ip, most) {
				e.refused.Add(1)
				c.r.stats.Refused++
				c.handler = refusedHandler{}
				c.end(nil)
				return
			}
			c.counted = ip
		}
	}
	if l.TLS != nil {
		c.startTLS(l.TLS, l.Open)
		return
	}
	c.handler = l.Open(c)
	c.opened()
}

// opened says that Open was called for an accepted connection, or will never be.
func (c *Conn) opened() {
	if c.opening {
		c.opening = false
		c.r.engine.opening.Add(-1)
	}
}

// refusedHandler is of connections that are closed before they have one.
type refusedHandler struct{}

func (refusedHandler) Data(*Conn)          {}
func (refusedHandler) Timeout(*Conn)       {}
func (refusedHandler) Closed(*Conn, error) {}

func clientIP(a net.Addr) (netip.Addr, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return ip, ip.IsValid()
}

// perIP counts the connections of each client address, of all loops.
type perIP struct {
	mu sync.Mutex
	n  map[netip.Addr]int
}

func (p *perIP) enter(ip netip.Addr, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[ip] >= most {
		return false
	}
	if p.n == nil {
		p.n = map[netip.Addr]int{}
	}
	p.n[ip]++
	return true
}

func (p *perIP) leave(ip netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[ip]--; p.n[ip] <= 0 {
		delete(p.n, ip)
	}
}
