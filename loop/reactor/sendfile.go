// This file sends files from the page cache to a socket with sendfile(2).

package reactor

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"tafe/loop"
)

// sendStep is how much one call of sendfile copies, which takes about 0.35 ms. It
// is nginx's default of sendfile_max_chunk. Steps of 256 KiB cost 1.4 times the
// CPU.
const sendStep = 2 << 20

// errSending: a connection sends one file at a time.
var errSending = errors.New("reactor: SendFile is already in progress on this connection")

// fileSend is a SendFile in progress.
type fileSend struct {
	unsent  int  // bytes not in the kernel; counted by Conn.Unsent
	blocked bool // the task waits for the socket
	waker   loop.Waker
}

// wake wakes the task if it waits.
func (s *fileSend) wake() {
	s.waker.Wake()
	s.waker = loop.Waker{}
}

// SendFile sends n bytes of f from offset on, after the output that was written
// before, by sendfile(2), without copying them into this process. t is the calling
// task, of the loop of c; it waits until the socket has taken all bytes. Until
// SendFile returns, nothing else may be written to c.
//
// The bytes must be in the page cache (see Cached), or reading the disk holds the
// loop. Each system call copies at most 2 MiB. sent is less than n without an error
// if the file ends before. The error is errors.ErrUnsupported if c is not a plain
// socket or the file cannot be sent this way, loop.ErrClosed, or the cause of the
// task's cancellation.
func SendFile(t *loop.Task, c *Conn, f File, offset, n int64) (sent int64, err error) {
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

// sendError returns why a task cannot send to c, or nil.
func sendError(t *loop.Task, c *Conn) error {
	if err := t.Err(); err != nil || !c.Closed() {
		return err
	}
	return loop.ErrClosed
}

// sendHead sends the queued output before a file. If the socket takes it at once,
// it shares a segment with the first bytes of the file.
func (c *Conn) sendHead(t *loop.Task, s *socket) error {
	if head := c.out[c.sent:]; len(head) > 0 && !c.wantWrite {
		n := s.writeMore(head)
		c.r.stats.BytesOut += uint64(n)
		if c.sent += n; c.sent == len(c.out) {
			c.dropOutput()
		}
	}
	for c.Unsent() > 0 {
		c.WhenDrained(0, t.Prepare().Wake)
		if err := t.Park(); err != nil {
			return err
		}
	}
	return sendError(t, c)
}

// sendSteps sends the file in steps. After each step other tasks and connections
// get their turn.
func (c *Conn) sendSteps(t *loop.Task, s *socket, f File, offset, n int64) (sent int64, err error) {
	file, err := f.SyscallConn() // Control keeps the descriptor open
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
			return sent, nil // end of the file
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

// sendFailed returns SendFile's error for a failed sendfile(2), and ends the
// connection if the socket failed.
func (c *Conn) sendFailed(err error, sent int64) error {
	failed := os.NewSyscallError("sendfile", err)
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EOVERFLOW, unix.ESPIPE:
		if sent == 0 {
			return errors.ErrUnsupported
		}
	case unix.EIO, unix.ENOMEM: // errors of the file
	default: // errors of the socket
		c.Abort(failed)
		return loop.ErrClosed
	}
	return failed
}

// awaitWritable waits for the socket to accept more. With again, the socket has not
// refused anything: the wait gives others their turn.
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

// Cached reports whether n bytes of f from offset on are in the page cache, so that
// SendFile does not wait for the disk. It does not read the disk itself. Where
// cachestat(2) is not available (before Linux 6.5, or for files of another user),
// it checks one byte in 64 KiB. Beyond the end of the file the result is false. Any
// goroutine.
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

// probeCached reports whether one byte in 64 KiB, and the last one, can be read
// without the disk.
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

// ReadCached reads bytes of f from offset on into p, as far as they are in the page
// cache, and returns their number. It does not wait for the disk: 0 means that the
// first byte is not in the page cache or not there at all. Any goroutine.
func ReadCached(f File, p []byte, offset int64) (n int) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	into := [][]byte{p}
	err = conn.Control(func(fd uintptr) {
		n, _ = unix.Preadv2(int(fd), into, offset, unix.RWF_NOWAIT)
	})
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// File is an *os.File or a type that wraps one.
type File interface{ syscall.Conn }
