package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tafe/bench/epoll"
)

// delay is the backend that every server's /work calls, and the upstream that proxies ask: it answers each request a
// fixed time after it came, GET /1k and GET /1m with that many bytes, anything else with two; GET /slow after slowWait,
// as a bidder that misses every deadline. One epoll loop with a timer of nanosecond resolution; each queue has one delay,
// so the answers that wait in it are in order by themselves.
type delay struct {
	poller   *epoll.Poller
	listener int
	base     time.Time
	queues   [2]queue // the usual ones, and the slow ones
	callers  map[int]*caller
	buf      []byte
}

// caller is one connection. It is marked when it goes, so that an answer that still waits is not sent to the next one on its descriptor.
type caller struct {
	fd      int
	partial []byte
	out     []byte // answers that the socket did not take yet
	gone    bool
}

type pending struct {
	at     time.Duration
	to     *caller
	answer []byte
}

// queue holds the answers that wait for the same time.
type queue struct {
	wait    time.Duration
	waiting []pending // oldest first
	first   int
}

// slowWait is longer than any deadline that a scenario sets.
const slowWait = 200 * time.Millisecond

const listenerToken = -1

var (
	answerShort = answerOf(2)
	answer1K    = answerOf(1 << 10)
	answer1M    = answerOf(1 << 20)
)

func answerOf(bytes int) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", bytes, strings.Repeat("k", bytes))
}

// answerTo picks the answer by the start of a request.
func answerTo(head []byte) []byte {
	switch {
	case bytes.HasPrefix(head, []byte("GET /1k ")):
		return answer1K
	case bytes.HasPrefix(head, []byte("GET /1m ")):
		return answer1M
	}
	return answerShort
}

func serveDelay(o options) error {
	addr, err := netip.ParseAddrPort(o.Listen)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	d := &delay{base: time.Now(), callers: map[int]*caller{}, buf: make([]byte, 64<<10)}
	d.queues[0].wait, d.queues[1].wait = time.Duration(o.Millis)*time.Millisecond, slowWait
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
				d.serve(c, e.Bits)
			}
		}
		d.answer()
	}
}

// timeout is the time until the oldest answer is due; negative, without limit, when none waits.
func (d *delay) timeout() time.Duration {
	timeout := time.Duration(-1)
	for i := range d.queues {
		q := &d.queues[i]
		if q.first < len(q.waiting) {
			t := max(0, q.waiting[q.first].at-time.Since(d.base))
			if timeout < 0 || t < timeout {
				timeout = t
			}
		}
	}
	return timeout
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

func (d *delay) serve(c *caller, bits uint32) {
	if bits&epoll.Out != 0 {
		d.write(c, nil)
	}
	if !c.gone && bits&(epoll.In|epoll.Hangup) != 0 {
		d.read(c)
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
	now := time.Since(d.base)
	for {
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 {
			break
		}
		q := &d.queues[0]
		if bytes.HasPrefix(b, []byte("GET /slow ")) {
			q = &d.queues[1]
		}
		q.waiting = append(q.waiting, pending{at: now + q.wait, to: c, answer: answerTo(b)})
		b = b[i+4:]
	}
	c.partial = append(c.partial[:0], b...)
}

// answer sends what is due.
func (d *delay) answer() {
	now := time.Since(d.base)
	for i := range d.queues {
		q := &d.queues[i]
		for q.first < len(q.waiting) && q.waiting[q.first].at <= now {
			p := q.waiting[q.first]
			q.waiting[q.first] = pending{}
			q.first++
			if !p.to.gone {
				d.write(p.to, p.answer)
			}
		}
		q.compact()
	}
}

// compact returns the room of answered requests back.
func (q *queue) compact() {
	switch {
	case q.first == len(q.waiting):
		q.waiting, q.first = q.waiting[:0], 0
	case q.first > 4096 && 2*q.first > len(q.waiting):
		n := copy(q.waiting, q.waiting[q.first:])
		clear(q.waiting[n:])
		q.waiting, q.first = q.waiting[:n], 0
	}
}

// write sends what it can of what is still to be sent and then of answer, and asks for Out when the socket is full.
func (d *delay) write(c *caller, answer []byte) {
	waited := len(c.out) > 0
	b := answer
	if waited {
		c.out = append(c.out, answer...)
		b = c.out
	}
	n, errno := epoll.Write(c.fd, b)
	if errno == unix.EAGAIN {
		n = 0
	} else if errno != 0 {
		d.drop(c)
		return
	}
	c.out = append(c.out[:0], b[n:]...)
	if waits := len(c.out) > 0; waits != waited {
		bits := uint32(epoll.In)
		if waits {
			bits |= epoll.Out
		}
		_ = d.poller.Change(c.fd, int32(c.fd), bits)
	}
}

func (d *delay) drop(c *caller) {
	c.gone = true
	delete(d.callers, c.fd)
	_ = unix.Close(c.fd)
}
