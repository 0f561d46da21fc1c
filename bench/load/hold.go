package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"tafe/bench/epoll"
)

// Holding describes the connections that Hold opens.
type Holding struct {
	Addr  netip.AddrPort
	Conns int
	// Request is sent once on each connection, or over HTTP/2 Streams times; 0 is HTTP/1.
	Request Request
	Streams int
	// Until says when a connection is as it shall stay.
	Until Until
	// Limit is how long all may take together.
	Limit time.Duration
}

// Until is a state of a connection.
type Until int

// The states: all requests have been sent and are parked in the server; all are answered; the head of the answer, a stream, has come.
const (
	Sent Until = iota
	Answered
	Begun
)

// Held are connections that stay open, for measuring the memory of a server for each, and for sending to all of them.
type Held struct {
	poller *epoll.Poller
	conns  []*heldConn
	buf    []byte
}

type heldConn struct {
	fd    int
	ready bool
	scan  scanner
	h2    *h2conn // of HTTP/2, in place of scan
	asked int     // requests that were sent over HTTP/2
}

// Close closes all connections.
func (h *Held) Close() {
	for _, c := range h.conns {
		_ = unix.Close(c.fd)
	}
	h.conns = nil
	_ = h.poller.Close()
}

// holdTogether is the number of connections that are opened at a time: below any listen backlog.
const holdTogether = 128

// Hold opens connections and returns when each has reached its state, so that it has run all of the server's code. It may be called by any goroutine
// and is not bound to a core.
func Hold(what Holding) (*Held, error) {
	if !what.Addr.Addr().Is4() || !what.Addr.Addr().IsLoopback() {
		return nil, fmt.Errorf("load: %s is not an IPv4 loopback address", what.Addr)
	}
	if err := Room(what.Conns); err != nil {
		return nil, err
	}
	var request *encoded
	if what.Streams > 0 {
		var err error
		if request, err = encode(&what.Request); err != nil {
			return nil, err
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poller, err := epoll.New(1024)
	if err != nil {
		return nil, err
	}
	h := &Held{poller: poller, buf: make([]byte, 64<<10)}
	end := time.Now().Add(what.Limit)
	for len(h.conns) < what.Conns {
		if err := h.more(&what, request, min(holdTogether, what.Conns-len(h.conns)), end); err != nil {
			n := len(h.conns)
			h.Close()
			return nil, fmt.Errorf("load: after %d of %d connections: %w", n, what.Conns, err)
		}
	}
	return h, nil
}

// Room returns an error if the limit on descriptors is too low for that many connections.
func Room(conns int) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	if uint64(conns)+64 > lim.Cur {
		return fmt.Errorf("load: %d descriptors are needed, ulimit -n allows %d", conns+64, lim.Cur)
	}
	return nil
}

// more opens and serves one batch.
func (h *Held) more(what *Holding, request *encoded, n int, end time.Time) error {
	for range n {
		index := len(h.conns)
		source := netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + index%sourceCount)})
		fd, err := epoll.Connect(source, what.Addr)
		if err != nil {
			return err
		}
		c := &heldConn{fd: fd}
		if request != nil {
			c.h2 = &h2conn{request: request, streams: what.Streams}
			c.h2.reset()
		}
		h.conns = append(h.conns, c)
		if err := h.poller.Add(fd, int32(index), epoll.Out); err != nil {
			return err
		}
	}
	for left := n; left > 0; {
		if time.Now().After(end) {
			return errors.New("too slow")
		}
		events, err := h.poller.Wait(turnMax)
		if err != nil {
			return err
		}
		for _, e := range events {
			c := h.conns[e.Token]
			was := c.ready
			if err := h.step(c, e, what); err != nil {
				return err
			}
			if c.ready && !was {
				left--
			}
		}
	}
	return nil
}

// step sends when the connection is there, and reads until its state is reached. What comes later is dropped.
func (h *Held) step(c *heldConn, e epoll.Event, what *Holding) error {
	if e.Bits&epoll.Out != 0 {
		if err := epoll.ConnectError(c.fd); err != nil {
			return err
		}
		raw := what.Request.Raw
		if c.h2 != nil {
			raw, c.h2.out = c.h2.out, nil
		}
		c.ready = c.h2 == nil && what.Until == Sent
		return errors.Join(send(c.fd, raw), h.poller.Change(c.fd, e.Token, epoll.In))
	}
	n, errno := epoll.Read(c.fd, h.buf)
	switch {
	case errno == unix.EAGAIN:
		return nil
	case errno != 0 || n == 0:
		return errors.New("the server closed the connection")
	case c.ready && c.h2 == nil:
		return nil
	case c.h2 != nil:
		return c.readFrames(h.buf[:n], what)
	}
	_, done, err := c.scan.next(h.buf[:n])
	if err != nil {
		return err
	}
	c.ready = done || what.Until == Begun && c.scan.state != scanHead
	if c.ready && c.scan.status != what.Request.Status {
		return fmt.Errorf("status %d", c.scan.status)
	}
	return nil
}

// readFrames sends the requests when the server's settings have come, and answers its frames.
func (c *heldConn) readFrames(b []byte, what *Holding) error {
	for len(b) > 0 {
		n, done, err := c.h2.next(b)
		if err != nil {
			return err
		}
		b = b[n:]
		if done && c.h2.ended.status != what.Request.Status {
			return fmt.Errorf("status %d", c.h2.ended.status)
		}
	}
	for ; c.h2.ready && c.asked < what.Streams; c.asked++ {
		c.h2.open(flight{})
	}
	c.ready = c.asked == what.Streams && (what.Until == Sent || c.h2.flights.len() == 0)
	out := c.h2.out
	c.h2.out = nil
	return send(c.fd, out)
}

// send writes what a new connection takes at once.
func send(fd int, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if n, errno := epoll.Write(fd, b); errno != 0 || n < len(b) {
		return fmt.Errorf("request not sent whole: %d bytes, %w", n, errno)
	}
	return nil
}
