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

// Held are idle connections, for measuring the memory of a server per connection.
type Held struct{ fds []int }

// Close closes all connections.
func (h *Held) Close() {
	for _, fd := range h.fds {
		_ = unix.Close(fd)
	}
	h.fds = nil
}

// holdTogether is the number of connections that are opened at a time: below any listen backlog.
const holdTogether = 128

// Hold opens n connections, sends r once on each and, if answered, waits for the answer, so that each connection has
// run all of the server's code. Without answered it returns when all requests are sent: they are then parked
// in the server. It gives up at the limit. It may be called by any goroutine and is not bound to a core.
func Hold(addr netip.AddrPort, n int, r Request, answered bool, limit time.Duration) (*Held, error) {
	if !addr.Addr().Is4() || !addr.Addr().IsLoopback() {
		return nil, fmt.Errorf("load: %s is not an IPv4 loopback address", addr)
	}
	if err := roomFor(n); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poller, err := epoll.New(holdTogether)
	if err != nil {
		return nil, err
	}
	defer poller.Close()
	h := &Held{}
	end := time.Now().Add(limit)
	for len(h.fds) < n {
		if err := h.more(poller, addr, min(holdTogether, n-len(h.fds)), r, answered, end); err != nil {
			h.Close()
			return nil, fmt.Errorf("load: after %d of %d connections: %w", len(h.fds), n, err)
		}
	}
	return h, nil
}

// roomFor returns an error if the limit on descriptors is too low.
func roomFor(n int) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	if uint64(n)+64 > lim.Cur {
		return fmt.Errorf("load: %d connections need more than the %d descriptors that ulimit -n allows", n, lim.Cur)
	}
	return nil
}

// more opens and serves one batch.
func (h *Held) more(poller *epoll.Poller, addr netip.AddrPort, n int, r Request, answered bool, end time.Time) error {
	first := len(h.fds)
	scans := make([]scanner, n)
	for i := range n {
		source := netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + (first+i)%sourceCount)})
		fd, err := epoll.Connect(source, addr)
		if err != nil {
			return err
		}
		h.fds = append(h.fds, fd)
		if err := poller.Add(fd, int32(i), epoll.Out); err != nil {
			return err
		}
	}
	buf := make([]byte, 64<<10)
	for left := n; left > 0; {
		if time.Now().After(end) {
			return errors.New("too slow")
		}
		events, err := poller.Wait(turnMax)
		if err != nil {
			return err
		}
		for _, e := range events {
			done, err := h.step(poller, h.fds[first+int(e.Token)], e, &scans[e.Token], buf, r, answered)
			if err != nil {
				return err
			}
			if done {
				left--
			}
		}
	}
	return nil
}

// step sends when the connection is there, and reads until the answer is whole. Done, a connection is watched no more.
func (h *Held) step(poller *epoll.Poller, fd int, e epoll.Event, scan *scanner, buf []byte, r Request, answered bool) (bool, error) {
	if e.Bits&epoll.Out != 0 {
		if err := epoll.ConnectError(fd); err != nil {
			return false, err
		}
		if n, errno := epoll.Write(fd, r.Raw); errno != 0 || n < len(r.Raw) {
			return false, fmt.Errorf("request not sent whole: %d bytes, %w", n, errno)
		}
		if !answered {
			return true, poller.Remove(fd)
		}
		return false, poller.Change(fd, e.Token, epoll.In)
	}
	n, errno := epoll.Read(fd, buf)
	if errno == unix.EAGAIN {
		return false, nil
	}
	if errno != 0 || n == 0 {
		return false, errors.New("the server closed the connection")
	}
	_, done, err := scan.next(buf[:n])
	if err != nil || !done {
		return false, err
	}
	if scan.status != r.Status {
		return false, fmt.Errorf("status %d", scan.status)
	}
	return true, poller.Remove(fd)
}
