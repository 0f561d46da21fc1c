package load

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"tafe/bench/epoll"
)

// conn is one connection with the requests in flight on it, oldest first.
type conn struct {
	fd      int
	index   int32
	source  netip.Addr
	open    bool // connected
	joining bool // Plan.Upgrade has no answer yet, or the settings of HTTP/2 have not come
	queued  bool // in loop.free
	writing bool // registered for Out: it connects, or a write was cut short
	out     []byte
	frames  []byte // the memory of out, of HTTP/2
	flights *flights
	scan    scanner
	h2      *h2conn // of HTTP/2, in place of scan
}

// room reports whether the connection takes a request now.
func (c *conn) room() bool {
	if c.h2 == nil {
		return c.open && c.flights.len() == 0
	}
	return c.open && !c.joining && !c.h2.leaving && c.flights.len() < c.h2.streams
}

// dial opens the socket; the connection is usable once it becomes writable.
func (l *loop) dial(c *conn) {
	c.open, c.joining, c.writing, c.out = false, l.plan.Upgrade != nil, true, l.plan.Upgrade
	c.scan.reset()
	if c.h2 != nil {
		c.h2.reset()
		c.joining, c.out, c.h2.out = true, c.h2.out, nil
	}
	fd, err := epoll.Connect(c.source, l.plan.Addr)
	if err == nil {
		c.fd = fd
		err = l.poller.Add(fd, c.index, epoll.In|epoll.Out)
	}
	if err != nil {
		l.fail(c, ErrorConnect, l.now())
	}
}

// connected takes the first writable event.
func (l *loop) connected(c *conn) {
	if err := epoll.ConnectError(c.fd); err != nil {
		l.fail(c, ErrorConnect, l.now())
		return
	}
	c.open, l.reached = true, true
	l.refused = 0
	if len(c.out) > 0 { // a request that waited for the connect
		l.write(c)
		return
	}
	c.writing = false
	_ = l.poller.Change(c.fd, c.index, epoll.In)
	l.idle(c)
}

// flush writes the frames that a connection of HTTP/2 has made.
func (l *loop) flush(c *conn) {
	if c.open && c.h2 != nil && len(c.out) == 0 && len(c.h2.out) > 0 {
		l.write(c)
	}
}

// write sends what it can and asks for Out when the socket is full.
func (l *loop) write(c *conn) {
	for {
		if len(c.out) == 0 && c.h2 != nil {
			c.out, c.h2.out, c.frames = c.h2.out, c.frames[:0], c.h2.out
		}
		if len(c.out) == 0 {
			break
		}
		n, errno := epoll.Write(c.fd, c.out)
		if errno == unix.EAGAIN {
			if !c.writing {
				c.writing = true
				_ = l.poller.Change(c.fd, c.index, epoll.In|epoll.Out)
			}
			return
		}
		if errno != 0 {
			l.fail(c, ErrorClosed, l.now())
			return
		}
		c.out = c.out[n:]
	}
	if c.writing {
		c.writing = false
		_ = l.poller.Change(c.fd, c.index, epoll.In)
	}
}

// read takes what has come and answers the flights it completes. One time stamp serves all answers of one read.
func (l *loop) read(c *conn) {
	n, errno := epoll.Read(c.fd, l.buf)
	switch {
	case errno == unix.EAGAIN:
		return
	case errno != 0:
		l.fail(c, ErrorClosed, l.now())
		return
	case n == 0:
		l.streamEnded(c)
		return
	}
	now := l.now()
	l.bytes += int64(n)
	b := l.buf[:n]
	if c.h2 != nil {
		l.readFrames(c, b, now)
		return
	}
	for len(b) > 0 {
		eaten, done, err := c.scan.next(b)
		b = b[eaten:]
		if err == nil && done && c.flights.len() == 0 && !c.joining {
			err = errMalformed
		}
		if err != nil {
			l.fail(c, ErrorMalformed, now)
			return
		}
		switch {
		case done && c.joining:
			if c.scan.status != 101 {
				l.fail(c, ErrorStatus, now)
				return
			}
			c.joining = false
			c.scan.upgrade()
		case done:
			l.answered(c, now)
		}
	}
	if c.flights.len() > 0 || c.joining {
		return
	}
	if c.scan.close || l.plan.Reconnect {
		l.redial(c)
		return
	}
	l.idle(c)
}

// readFrames is read for HTTP/2. What the answers make room for is sent in one write.
func (l *loop) readFrames(c *conn, b []byte, now int64) {
	for len(b) > 0 {
		eaten, done, err := c.h2.next(b)
		b = b[eaten:]
		switch {
		case errors.Is(err, errSettings):
			l.broken = err // they will not change
			return
		case err != nil:
			l.fail(c, ErrorMalformed, now)
			return
		case done:
			l.ended++
			l.check(c.h2.ended, c.h2.ended.status, c.h2.ended.bodyBytes, now)
		}
	}
	c.joining = !c.h2.ready
	if c.h2.leaving && c.flights.len() == 0 {
		l.redial(c)
		return
	}
	if c.room() {
		l.idle(c)
	}
	l.flush(c)
}

// streamEnded is the server's end of stream: the end of an answer, or of the connection.
func (l *loop) streamEnded(c *conn) {
	if c.scan.eof() && c.flights.len() == 1 {
		l.answered(c, l.now())
		l.redial(c)
		return
	}
	l.fail(c, ErrorClosed, l.now())
}

func (l *loop) redial(c *conn) {
	_ = unix.Close(c.fd)
	c.fd = -1
	if l.stopping && l.due.len() == 0 {
		c.open = false
		return
	}
	l.dial(c)
	l.first(c)
}

// first puts the request that a plan with Reconnect sends on each new connection.
func (l *loop) first(c *conn) {
	if l.plan.Reconnect && c.fd >= 0 && c.flights.len() == 0 {
		l.send(c, l.now(), l.pick())
	}
}

// errRefused ends a run whose server does not take connections any more.
var errRefused = errors.New("load: the server refuses connections")

// refusedMax is the number of consecutive failed connects that ends the run.
const refusedMax = 1000

// fail counts what was in flight under class, and reconnects.
func (l *loop) fail(c *conn, class string, now int64) {
	if class == ErrorConnect {
		l.errors[class]++
		l.refused++
	}
	if class == ErrorMalformed && c.flights.len() == 0 { // an answer without a request
		l.errors[class]++
	}
	c.flights.each(func(f flight) {
		l.ended++
		if class != ErrorConnect {
			l.errors[class]++
		}
		if class == ErrorTimeout && l.plan.Rate > 0 {
			l.record(f, now)
		}
	})
	c.flights.clear()
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
	}
	c.open = false
	if l.stopping && l.due.len() == 0 || l.refused > refusedMax {
		return
	}
	l.again = append(l.again, c)
}
