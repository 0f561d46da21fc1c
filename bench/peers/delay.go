package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"tafe/bench/epoll"
)

// delay is the backend that every server's /work calls: it answers each request a fixed time after it came. One epoll
// loop with a timer of nanosecond resolution; the delay is the same for all, so the queue of answers that wait is in
// order by itself.
type delay struct {
	poller   *epoll.Poller
	listener int
	wait     time.Duration
	base     time.Time
	waiting  []pending // oldest first
	first    int
	callers  map[int]*caller
	buf      []byte
}

// caller is one connection. It is marked when it goes, so that an answer that still waits is not sent to the next one on its descriptor.
type caller struct {
	fd      int
	partial []byte
	gone    bool
}

type pending struct {
	at time.Duration
	to *caller
}

const listenerToken = -1

var delayAnswer = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")

func serveDelay(o options) error {
	addr, err := netip.ParseAddrPort(o.Listen)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	d := &delay{wait: time.Duration(o.Millis) * time.Millisecond, base: time.Now(), callers: map[int]*caller{}, buf: make([]byte, 64<<10)}
	if d.poller, err = epoll.New(1024); err != nil {
		return err
	}
	if d.listener, err = epoll.Listen(addr); err != nil {
		return err
	}
	if err := d.poller.Add(d.listener, listenerToken, epoll.In); err != nil {
		return fmt.Errorf("watch the listener: %w", err)
	}
	for {
		events, err := d.poller.Wait(d.timeout())
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Token == listenerToken {
				d.accept()
			} else if c := d.callers[int(e.Token)]; c != nil {
				d.read(c)
			}
		}
		d.answer()
	}
}

// timeout is the time until the oldest answer is due; negative, without limit, when none waits.
func (d *delay) timeout() time.Duration {
	if d.first == len(d.waiting) {
		return -1
	}
	return max(0, d.waiting[d.first].at-time.Since(d.base))
}

func (d *delay) accept() {
	for {
		fd, _, err := unix.Accept4(d.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if d.poller.Add(fd, int32(fd), epoll.In) != nil {
			_ = unix.Close(fd)
			continue
		}
		d.callers[fd] = &caller{fd: fd}
	}
}

// read notes an answer for each head that ends. Requests have no bodies here.
func (d *delay) read(c *caller) {
	n, errno := epoll.Read(c.fd, d.buf)
	if errno == unix.EAGAIN {
		return
	}
	if errno != 0 || n == 0 {
		d.drop(c)
		return
	}
	b := d.buf[:n]
	if len(c.partial) > 0 {
		c.partial = append(c.partial, b...)
		b = c.partial
	}
	at := time.Since(d.base) + d.wait
	for {
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 {
			break
		}
		d.waiting = append(d.waiting, pending{at: at, to: c})
		b = b[i+4:]
	}
	c.partial = append(c.partial[:0], b...)
}

func (d *delay) answer() {
	now := time.Since(d.base)
	for d.first < len(d.waiting) && d.waiting[d.first].at <= now {
		c := d.waiting[d.first].to
		d.waiting[d.first] = pending{}
		d.first++
		if c.gone {
			continue
		}
		if n, errno := epoll.Write(c.fd, delayAnswer); errno != 0 || n < len(delayAnswer) {
			d.drop(c)
		}
	}
	if d.first > 4096 && d.first*2 > len(d.waiting) {
		n := copy(d.waiting, d.waiting[d.first:])
		clear(d.waiting[n:])
		d.waiting, d.first = d.waiting[:n], 0
	}
	if d.first == len(d.waiting) {
		d.waiting, d.first = d.waiting[:0], 0
	}
}

func (d *delay) drop(c *caller) {
	c.gone = true
	delete(d.callers, c.fd)
	_ = unix.Close(c.fd)
}
