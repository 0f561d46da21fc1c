package reactor

// Files sent by the kernel's own copying, from the page cache to the socket.

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"tafe/loop"
)

// sendStep bounds what one call of sendfile copies, which takes some 0.35 ms; it is
// nginx's sendfile_max_chunk. Steps of 256 KiB cost 1.4 times the CPU.
const sendStep = 2 << 20

// errSending: a connection sends one file at a time.
var errSending = errors.New("reactor: a file is being sent on this connection already")

// fileSend is a SendFile under way.
type fileSend struct {
	unsent  int  // bytes not handed to the kernel; counted by Conn.Unsent
	blocked bool // the task waits until the socket takes more
	waker   loop.Waker
}

// wake ends the wait of the task, where it waits.
func (s *fileSend) wake() {
	s.waker.Wake()
	s.waker = loop.Waker{}
}

// sendFile is SendFile.
func sendFile(t *loop.Task, c *Conn, f File, offset, n int64) (sent int64, err error) {
	defer t.Leave(t.Enter())
	s, ok := c.transport.(*socket)
	switch {
	case !ok:
		return 0, errors.ErrUnsupported
	case c.file != nil:
		return 0, errSending
	case n <= 0 || c.Closed():
		return 0, sendError(t, c)
	}
	if err := c.sendHead(t, s); err != nil {
		return 0, err
	}
	c.file = &fileSend{unsent: int(n)}
	sent, err = c.sendSteps(t, s, f, offset, n)
	c.file = nil
	if c.state != connEnded {
		if sent < n && err == nil {
			s.push()
		}
		c.watchStall(c.Unsent(), 0)
		c.updateWant()
		if c.state != connOpen || len(c.drainWaits) > 0 {
			c.markDirty()
		}
	}
	return sent, err
}

// closedOr returns the error of a task that cannot send to c, if any.
func sendError(t *loop.Task, c *Conn) error {
	if err := t.Err(); err != nil || !c.Closed() {
		return err
	}
	return loop.ErrClosed
}

// sendHead sends the output that is before a file. If the socket takes it at
// once, it leaves in one segment with the file's first bytes.
func (c *Conn) sendHead(t *loop.Task, s *socket) error {
	if head := c.out[c.sent:]; len(head) > 0 && !c.wantWrite {
		n := s.writeMore(head)
		c.r.stats.BytesOut += uint64(n)
		if c.sent += n; c.sent == len(c.out) {
			c.dropOutput()
		}
	}
	for c.Unsent() > 0 {
		c.whenDrained(0, t.Prepare().Wake)
		if err := t.Park(); err != nil {
			return err
		}
	}
	return sendError(t, c)
}

// sendSteps sends the file step by step: after each step other tasks and
// connections have their turn.
func (c *Conn) sendSteps(t *loop.Task, s *socket, f File, offset, n int64) (sent int64, err error) {
	file, err := f.SyscallConn() // keeps the descriptor from being closed and reused meanwhile
	if err != nil {
		return 0, err
	}
	for sent < n {
		step := int(min(n-sent, sendStep))
		k := 0
		if failed := file.Control(func(fd uintptr) { k, err = sendfile(s.fd, int(fd), offset+sent, step) }); failed != nil {
			return sent, failed
		}
		switch {
		case err == unix.EAGAIN:
			err = c.awaitWritable(t, false)
		case err != nil:
			return sent, c.sendFailed(err, sent)
		case k == 0:
			return sent, nil // the file is shorter
		default:
			sent += int64(k)
			c.file.unsent -= k
			c.r.stats.BytesOut += uint64(k)
			c.watchStall(c.Unsent(), k)
			if k == step && sent < n {
				err = c.awaitWritable(t, true)
			}
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// sendFailed returns the error of SendFile for that of the system call.
func (c *Conn) sendFailed(err error, sent int64) error {
	failed := os.NewSyscallError("sendfile", err)
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EOVERFLOW, unix.ESPIPE:
		if sent == 0 {
			return errors.ErrUnsupported
		}
	case unix.EIO, unix.ENOMEM: // of the file
	default: // of the socket
		c.Abort(failed)
		return loop.ErrClosed
	}
	return failed
}

// awaitWritable waits for the socket to take more. With again it does so although
// the socket has not refused anything: as a turn for the others.
func (c *Conn) awaitWritable(t *loop.Task, again bool) error {
	f := c.file
	f.blocked = true
	if again {
		c.rearm()
	}
	f.waker = t.Prepare()
	c.updateWant()
	if err := t.Park(); err != nil {
		return err
	}
	return sendError(t, c)
}

func sendfile(to, from int, offset int64, n int) (int, error) {
	for {
		k, err := unix.Sendfile(to, from, &offset, n)
		if err != unix.EINTR {
			return max(k, 0), err
		}
	}
}

// Cached tells whether n bytes of f from offset on are in the page cache, so that
// SendFile would not wait for the disk. It does not wait itself; where the kernel
// does not tell (before Linux 6.5, or a file of somebody else's) it looks at one
// byte in 64 KiB. It reports false beyond the end of the file. Any goroutine.
func Cached(f File, offset, n int64) bool {
	if n <= 0 {
		return true
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	all := false
	err = conn.Control(func(fd uintptr) {
		page := int64(os.Getpagesize())
		first, last := offset/page, (offset+n-1)/page
		var stat unix.Cachestat_t
		span := unix.CachestatRange{Off: uint64(first * page), Len: uint64((last - first + 1) * page)}
		if err := unix.Cachestat(uint(fd), &span, &stat, 0); err == nil {
			all = stat.Cache >= uint64(last-first+1)
			return
		}
		all = probeCached(int(fd), offset, n)
	})
	return err == nil && all
}

// probeCached reads one byte in 64 KiB, and the last one, where that needs no
// disk.
func probeCached(fd int, offset, n int64) bool {
	var b [1]byte
	into := [][]byte{b[:]}
	for at := offset; ; at += 64 << 10 {
		at = min(at, offset+n-1)
		if k, err := unix.Preadv2(fd, into, at, unix.RWF_NOWAIT); err != nil || k != 1 {
			return false
		}
		if at == offset+n-1 {
			return true
		}
	}
}

// File is an *os.File, or what stands for one.
type File interface{ syscall.Conn }
