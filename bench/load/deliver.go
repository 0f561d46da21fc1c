package load

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"tafe/bench/epoll"
)

// LastClient is the class of Result for when the last client has a message.
const LastClient = "the last client"

// Deliver calls publish, which makes the server send one message to each of the connections, and reads until all have it. The byte mark
// ends the message and occurs nowhere else. The first class of the result has the times since the call for each connection, the second
// the longest of them.
func (h *Held) Deliver(mark byte, publish func() error, limit time.Duration) (*Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	each, last := newHistogram(), newHistogram()
	got := make([]bool, len(h.conns))
	cpu, start := threadCPU(), time.Now()
	if err := publish(); err != nil {
		return nil, fmt.Errorf("load: publish: %w", err)
	}
	res := &Result{}
	for left := len(got); left > 0; {
		if time.Since(start) > limit {
			return nil, fmt.Errorf("load: %d of %d connections have no message after %s", left, len(got), limit)
		}
		events, err := h.poller.Wait(turnMax)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			n, errno := epoll.Read(h.conns[e.Token].fd, h.buf)
			if errno == unix.EAGAIN {
				continue
			}
			if errno != 0 || n == 0 {
				return nil, errors.New("load: the server closed a connection")
			}
			res.BytesRead += int64(n)
			if got[e.Token] || bytes.IndexByte(h.buf[:n], mark) < 0 {
				continue
			}
			got[e.Token] = true
			left--
			_ = each.RecordValue(int64(time.Since(start)))
		}
	}
	res.Window = time.Since(start)
	res.CPU = threadCPU() - cpu
	res.Answered = int64(len(got))
	_ = last.RecordValue(int64(res.Window))
	res.Classes = []Class{{Name: "each client", Latency: each}, {Name: LastClient, Latency: last}}
	return res, nil
}

// Join adds what another run with the same classes measured.
func (r *Result) Join(other *Result) {
	r.Window += other.Window
	r.Answered += other.Answered
	r.BytesRead += other.BytesRead
	r.CPU += other.CPU
	for i := range r.Classes {
		r.Classes[i].Latency.Merge(other.Classes[i].Latency)
	}
}
