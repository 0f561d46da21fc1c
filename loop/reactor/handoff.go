package reactor

// Handoff on the reactors' side: which goroutine owns a loop, and the spare ones
// that take loops over.

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"tafe/loop"
)

const (
	sparesMax = 16 // idle ones that are kept
	stopGrace = time.Second
)

// own runs r's loop on the calling goroutine, beginning with a first turn, until
// the loop has stopped or was taken; then the goroutine is a spare one.
func (e *Engine) own(r *Reactor, first func() bool) {
	for r != nil {
		err := r.after(first())
		if err == nil {
			err = r.poller.Polling(r.event)
		}
		switch err {
		case errTaken:
		case errStopped:
			e.running.Done()
		default:
			e.failed(err)
			e.running.Done()
		}
		r = e.spare()
		if r != nil {
			first = r.loop.Drive().Adopt
		}
	}
}

// spare waits for a loop to take over. It returns nil when enough goroutines wait,
// or the engine has ended.
func (e *Engine) spare() *Reactor {
	if e.idleSpares.Add(1) > sparesMax {
		e.idleSpares.Add(-1)
		return nil
	}
	defer e.idleSpares.Add(-1)
	select {
	case r := <-e.spares:
		return r
	case <-e.exited:
		return nil
	}
}

// HandOver has a spare goroutine adopt the loop: loop.Owner.
func (r *Reactor) HandOver() {
	e := r.engine
	select {
	case e.spares <- r:
	default:
		go e.own(r, r.loop.Drive().Adopt)
	}
}

// RunBeside runs f beside the loop.
func (r *Reactor) RunBeside(f func()) { go f() }

// Unflushed tells whether output waits for the next Flush. It is for the goroutine
// that owns the loop, or has just taken it.
func (r *Reactor) Unflushed() bool { return len(r.dirty) > 0 }

// Pending tells whether the poller has an event. Any goroutine.
func (r *Reactor) Pending() bool {
	fds := [1]unix.PollFd{{Fd: int32(r.epoll), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], 0)
	return n > 0 || err == unix.EINTR
}

// waitingMax bounds the descriptors that Waiting looks at.
const waitingMax = 4096

// Waiting is how many of the poller's descriptors, connections and listening sockets,
// have something to read. The poller itself is not asked, since that would take events
// from the loop: the kernel lists its descriptors, and they are polled. Any goroutine.
func (r *Reactor) Waiting() int {
	if !r.Pending() {
		return 0
	}
	list, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(r.epoll))
	if err != nil {
		return 1
	}
	var fds []unix.PollFd
	for line := range bytes.Lines(list) {
		fields := bytes.Fields(line)
		if len(fields) < 4 || string(fields[0]) != "tfd:" || len(fds) == waitingMax {
			continue
		}
		fd, err := strconv.Atoi(string(fields[1]))
		events, err2 := strconv.ParseUint(string(fields[3]), 16, 64)
		if err != nil || err2 != nil || events&unix.EPOLLET != 0 || fd == r.bell || fd == r.alarm {
			continue // the poller's own and the loop's wakes
		}
		if events&unix.POLLIN != 0 {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if len(fds) == 0 {
		return 0
	}
	n, err := unix.Poll(fds, 0)
	if err != nil {
		return 1
	}
	for _, f := range fds {
		if f.Revents == 0 {
			continue
		}
		if listens, err := unix.GetsockoptInt(int(f.Fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
			continue
		}
		if info, err := unix.GetsockoptTCPInfo(int(f.Fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && info.Unacked > 0 {
			n += int(info.Unacked) - 1 // connections that wait to be accepted
		}
	}
	return n
}

// releasedStacks are the stacks of the tasks that run beside the loops.
func (e *Engine) releasedStacks() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var all []byte
	for _, dump := range bytes.Split(buf, []byte("\n\n")) {
		for _, l := range e.loops {
			for _, id := range l.Observe().ReleasedGoroutines() {
				if bytes.HasPrefix(dump, []byte("goroutine "+strconv.FormatUint(id, 10)+" ")) {
					all = append(append(all, dump...), "\n\n"...)
				}
			}
		}
	}
	return string(all)
}

var _ loop.Owner = (*Reactor)(nil)
