// This file accepts connections: a listening socket becomes Conns. A failed accept
// pauses accepting and never ends the loop. listen.go opens the sockets.

package reactor

import (
	"fmt"
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
	acceptMax = 32 // connections of one listener in one turn of the loop
	// keepAliveSeconds is the idle time before the first keep-alive probe.
	keepAliveSeconds = 60
	// acceptRetry is the pause after a failed accept.
	acceptRetry = 100 * time.Millisecond
)

// acceptor is a listening socket that one loop polls.
type acceptor struct {
	r         *Reactor
	listening *listening
	fd        int
	timer     loop.Timer // ends a pause
	failing   bool       // accepting has failed since the queue was last empty; that was logged
	stopped   bool
}

// addListeners polls the sockets of all listeners that belong to the loop with this
// id.
func (r *Reactor) addListeners(listeners []*listening, id int) error {
	for _, l := range listeners {
		if err := r.addAcceptors(l, id); err != nil {
			return fmt.Errorf("reactor: listen %s: %w", l.addr, err)
		}
	}
	return nil
}

// addAcceptors polls the sockets of l that belong to the loop with this id.
func (r *Reactor) addAcceptors(l *listening, id int) error {
	for _, fd := range l.fds[id] {
		setInherited(fd)
		a := &acceptor{r: r, listening: l, fd: fd}
		a.timer.Owner = a
		if err := r.add(fd, a); err != nil {
			return err
		}
		r.accepts = append(r.accepts, a)
	}
	return nil
}

// setInherited sets options that accepted sockets inherit from their listening
// socket (Linux), which saves system calls for each connection. Unix sockets do not
// have them.
func setInherited(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveSeconds)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveSeconds/4)
}

// ready accepts queued connections, at most acceptMax so that other connections get
// their turn.
func (a *acceptor) ready(netpoll.IOEvent) { a.acceptBatch(acceptMax) }

// acceptBatch accepts up to most connections and reports whether there may be more.
func (a *acceptor) acceptBatch(most int) bool {
	for range most {
		fd, remote, err := accept4(a.fd)
		switch err {
		case nil:
			if err := a.accepted(fd, remote); err != nil {
				a.pause(err)
				return false
			}
		case unix.EAGAIN:
			a.failing = false // only when the queue is empty: close to a limit, accepts fail again and again
			return false
		case unix.EINTR, unix.ECONNABORTED:
		default:
			a.pause(err)
			return false
		}
	}
	return true
}

// pause stops accepting for acceptRetry, until descriptors or memory may be free
// again.
func (a *acceptor) pause(err error) {
	r := a.r
	r.engine.acceptErrors.Add(1)
	if !a.failing {
		a.failing = true
		r.engine.config.Log.Error("accept failed; retrying",
			"addr", a.listening.addr.String(), "error", os.NewSyscallError("accept4", err), "pause", acceptRetry)
	}
	r.remove(a.fd)
	r.loop.AfterFunc(&a.timer, acceptRetry, func(t *loop.Timer) {
		if a := t.Owner.(*acceptor); !a.stopped {
			if err := a.r.add(a.fd, a); err != nil {
				a.pause(err)
			}
		}
	})
}

// stopAccepting accepts the queued connections and then stops polling the
// listeners.
func (r *Reactor) stopAccepting() {
	for _, a := range r.accepts {
		if a.stopped {
			continue
		}
		for range 1 << 10 {
			if !a.acceptBatch(acceptMax) {
				break
			}
		}
		a.stopped = true
		r.loop.StopTimer(&a.timer)
		r.remove(a.fd)
	}
}

// accepted makes a Conn of an accepted descriptor. Beyond ConnMax it closes it.
func (a *acceptor) accepted(fd int, remote net.Addr) error {
	r := a.r
	e := r.engine
	if e.conns.Add(1) > int64(e.config.ConnMax) {
		e.conns.Add(-1)
		e.refused.Add(1)
		r.stats.Refused++
		_ = unix.Close(fd)
		return nil
	}
	s := &socket{r: r, fd: fd, remote: remote}
	if err := r.add(fd, s); err != nil {
		e.conns.Add(-1)
		_ = unix.Close(fd)
		return err
	}
	c := r.Open(s, nil)
	s.conn = c
	c.release, c.opening = releaseAccepted, true
	e.opening.Add(1)
	if a.listening.Proxy != nil {
		c.awaitProxyHeader(a.listening)
		return nil
	}
	c.admit(a.listening)
	return nil
}

// releaseAccepted is Conn.release of an accepted connection: it corrects the
// counters.
func releaseAccepted(c *Conn) {
	e := c.r.engine
	c.opened()
	e.conns.Add(-1)
	if c.countedIP.IsValid() {
		e.perIP.remove(c.countedIP)
	}
}

// admit continues with a connection whose client address is known. It checks
// ConnMaxPerIP, then starts TLS or calls Open.
func (c *Conn) admit(l *listening) {
	e := c.r.engine
	if most := e.config.ConnMaxPerIP; most > 0 {
		if ip, ok := clientIP(c.transport.RemoteAddr()); ok {
			if !e.perIP.add(ip, most) {
				e.refused.Add(1)
				c.r.stats.Refused++
				c.handler = refusedHandler{}
				c.end(nil)
				return
			}
			c.countedIP = ip
		}
	}
	if l.TLS != nil {
		c.startTLS(l.TLS, l.Open)
		return
	}
	c.handler = l.Open(c)
	c.opened()
}

// opened ends the state that Engine.Opening counts: Open was called, or never will
// be.
func (c *Conn) opened() {
	if c.opening {
		c.opening = false
		c.r.engine.opening.Add(-1)
	}
}

// refusedHandler is the Handler of connections that are closed before they have
// one.
type refusedHandler struct{}

func (refusedHandler) Data(*Conn)          {}
func (refusedHandler) Timeout(*Conn)       {}
func (refusedHandler) Closed(*Conn, error) {}

// clientIP returns the IP address of a TCP address, without a zone.
func clientIP(a net.Addr) (netip.Addr, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return ip, ip.IsValid()
}

// perIP counts the accepted connections of each client address over all loops. Any
// goroutine.
type perIP struct {
	mu sync.Mutex
	n  map[netip.Addr]int
}

// add counts a connection of ip and reports true, unless there are already most.
func (p *perIP) add(ip netip.Addr, most int) bool {
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

func (p *perIP) remove(ip netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[ip]--; p.n[ip] <= 0 {
		delete(p.n, ip)
	}
}
