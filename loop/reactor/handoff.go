// This file has the goroutines that own loops, and the spare ones that take loops
// over. Package loop decides when a loop is handed off.

package reactor

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
	sparesMax = 16          // idle spare goroutines that are kept
	stopGrace = time.Second // how long Stop waits for the loops after ctx is done
)

// runLoop runs r's loop on the calling goroutine, beginning with the turn first.
// When the loop has stopped or was taken over, the goroutine becomes a spare.
func (e *Engine) runLoop(r *Reactor, first func() bool) {
	for r != nil {
		err := r.afterTurn(first())
		if err == nil {
			err = r.poller.Polling(r.event)
		}
		switch err {
		case errTaken:
		case errStopped:
			e.running.Done()
		default:
			e.loopFailed(err)
			e.running.Done()
		}
		r = e.awaitLoop()
		if r != nil {
			first = r.loop.Drive().Adopt
		}
	}
}

// awaitLoop waits for a loop to take over. It returns nil if sparesMax goroutines
// wait already, or the engine has ended.
func (e *Engine) awaitLoop() *Reactor {
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

// HandOff lets a spare goroutine adopt the loop. It implements loop.HandoffDriver.
func (r *Reactor) HandOff() {
	e := r.engine
	select {
	case e.spares <- r:
	default:
		go e.runLoop(r, r.loop.Drive().Adopt)
	}
}

// RunBeside runs f on a goroutine beside the loop: Task.Beside needs it.
func (r *Reactor) RunBeside(f func()) { go f() }

// Unflushed reports whether output waits for the next Flush. Only the goroutine
// that owns the loop, or has just taken it, may call it.
func (r *Reactor) Unflushed() bool { return len(r.dirty) > 0 }

// Pending reports whether the poller has an event. Any goroutine.
func (r *Reactor) Pending() bool {
	fds := [1]unix.PollFd{{Fd: int32(r.epollFD), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], 0)
	return n > 0 || err == unix.EINTR
}

// waitingMax limits the descriptors that Waiting polls.
const waitingMax = 4096

// Waiting returns the number of connections with unread input, plus the connections
// that wait to be accepted. It reads the descriptors from /proc and polls them,
// because asking the poller would take events from the loop. Any goroutine.
func (r *Reactor) Waiting() int {
	if !r.Pending() {
		return 0
	}
	list, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(r.epollFD))
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
		if err != nil || err2 != nil || events&unix.EPOLLET != 0 || fd == r.wakeFD || fd == r.timerFD {
			continue // the poller's own descriptor, or one that wakes the loop
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

// releasedStacks returns the stacks of the tasks that run beside the loops.
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

var _ loop.HandoffDriver = (*Reactor)(nil)
