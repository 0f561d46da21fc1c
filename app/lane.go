// This file owns the bulk lane of a request: when its connection leaves the loop, what is moved there, and its way back.
// Which bytes those are is body.go's and stream.go's; how they move is loop's.

package app

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"tafe/httpparse"
	"tafe/loop"
)

const (
	laneStep    = 64 << 10 // bytes that are read ahead of a chunked body's decoder
	laneEarning = 16 << 10 // bytes that earn a slow reader another WriteTimeout, as on the loop
)

// lane is the connection of one request while it is off its loop.
type lane struct {
	bulk     *loop.Bulk // nil: on the loop
	refused  bool       // there is no way off it: a test's memory, or no file descriptor left
	streams  bool       // an answer is sent there: no way back before its end
	hijacked bool       // for good
}

// detach takes the connection off its loop, unless it is. It reports false where that cannot be: the bytes go over the
// loop then. The error is that of Err.
func (c *Context) detach() (bool, error) {
	l := &c.lane
	if l.bulk != nil || l.refused {
		return l.bulk != nil, nil
	}
	bulk, err := c.task.Detach(c.cycle.conn)
	switch {
	case err == nil:
		l.bulk = bulk
		c.hub.counts.Detached++
		return true, nil
	case c.task.Err() != nil:
		return false, c.task.Err()
	case errors.Is(err, loop.ErrClosed):
		return false, ErrClientGone
	}
	l.refused = true
	return false, nil
}

// attach gives the connection back to its loop, with what was read beyond the body. For the task.
func (c *Context) attach() {
	bulk, conn := c.lane.bulk, c.cycle.conn
	if bulk == nil || c.lane.hijacked {
		return
	}
	ahead := c.endUpload()
	c.lane.bulk, c.lane.streams = nil, false
	if conn.Closed() {
		return
	}
	if len(ahead) > 0 {
		conn.Deliver(ahead) // before what the lane has not read
	}
	_ = bulk.Attach() // after an error the connection is closed, and the handler was told
}

// pushOutput sends what was written to a connection that is off its loop. After an error the connection is broken off:
// how much of the answer has left is unknown.
func (c *Context) pushOutput() error {
	conn := c.cycle.conn
	if conn.Unsent() == 0 {
		return c.task.Err()
	}
	out := conn.Output(0)
	conn.SetOutput(nil) // it is ours until it is sent
	n, err := pacedWriter{c.lane.bulk, c.hub.loop.Limits().WriteTimeout}.Write(out)
	c.hub.counts.LaneOut += uint64(n)
	if err != nil {
		return c.breakOff(err)
	}
	if !conn.Closed() {
		conn.SetOutput(out[:0])
	}
	return nil
}

// sendFile sends n bytes of f by the kernel's own copying.
func (c *Context) sendFile(f file, n int64) (sent int64, err error) {
	timeout := c.hub.loop.Limits().WriteTimeout
	err = c.lane.bulk.Do(func(stream net.Conn) error {
		for sent < n {
			if err := stream.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
				return err
			}
			k, err := io.CopyN(stream, f, n-sent)
			sent += k
			if err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || k < laneEarning) {
				return err
			}
		}
		return nil
	})
	c.hub.counts.LaneOut += uint64(sent)
	switch {
	case err == nil:
		return sent, nil
	case errors.Is(err, io.EOF) && c.task.Err() == nil: // the file is shorter than its length was
		return sent, ErrContentLength
	}
	return sent, c.breakOff(err)
}

// breakOff ends the connection after an error of writing.
func (c *Context) breakOff(err error) error {
	if cause := c.task.Err(); cause != nil {
		c.cycle.conn.Abort(cause)
		return cause
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = loop.ErrWriteTimeout
	}
	c.cycle.conn.Abort(err)
	return ErrClientGone
}

// pacedWriter writes as long as the reader takes laneEarning bytes within the timeout.
type pacedWriter struct {
	stream  net.Conn
	timeout time.Duration
}

func (w pacedWriter) Write(p []byte) (written int, err error) {
	for {
		_ = w.stream.SetWriteDeadline(time.Now().Add(w.timeout))
		n, err := w.stream.Write(p[written:])
		written += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || n < laneEarning {
			return written, err
		}
	}
}

// upload is a request body that is read off the loop. It has all it needs for itself: a mounted handler's goroutine reads
// from it, and may do so when the request is over.
type upload struct {
	bulk      *loop.Bulk
	timeout   time.Duration
	left      int64 // unless it is chunked
	isChunked bool
	chunked   httpparse.Chunked
	decoded   int64
	max       int64
	space     []byte
	ahead     []byte // of space: read and not decoded
	received  uint64 // bytes
	done      bool
	err       error // what the body came to, for good
}

// beginUpload moves the rest of the body to the lane.
func (c *Context) beginUpload() *upload {
	b := &c.body
	u := &upload{
		bulk: c.lane.bulk, timeout: c.app.options.BodyTimeout, left: b.left,
		isChunked: b.isChunked, chunked: b.chunked, decoded: b.decoded, max: c.bodyMax,
	}
	b.chunked = httpparse.Chunked{} // its trailers are the upload's now
	if u.isChunked {
		u.space = make([]byte, min(laneStep, c.hub.loop.Limits().InboundMax))
	}
	b.upload = u
	return u
}

// endUpload takes the rest of the body back, and what was received beyond the piece that was asked for.
func (c *Context) endUpload() (ahead []byte) {
	b := &c.body
	u := b.upload
	if u == nil {
		return nil
	}
	b.upload = nil
	b.left, b.chunked, b.decoded, b.done, b.err = u.left, u.chunked, u.decoded, u.done, u.err
	c.hub.counts.LaneIn += u.received
	return u.ahead
}

// Read waits for the next bytes of the body: parked as a task, or as any other goroutine.
func (u *upload) Read(p []byte) (int, error) {
	for {
		switch {
		case u.err != nil:
			return 0, u.err
		case u.done:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		case !u.isChunked:
			n, err := u.receive(p[:min(int64(len(p)), u.left)])
			u.left -= int64(n)
			u.done = u.left == 0
			return n, err
		}
		if len(u.ahead) == 0 {
			n, err := u.receive(u.space)
			if n == 0 {
				return 0, err
			}
			u.ahead = u.space[:n]
		}
		if n := u.decode(p); n > 0 {
			return n, nil
		}
	}
}

// decode decodes what was read ahead into p.
func (u *upload) decode(p []byte) int {
	out, used, done, err := u.chunked.Decode(p[:0:len(p)], u.ahead[:min(len(u.ahead), len(p))])
	u.ahead = u.ahead[used:]
	u.done = done
	u.decoded += int64(len(out))
	if err == nil && u.decoded > u.max {
		err = refusedBody
	}
	if err != nil {
		u.err, out = err, nil
	}
	return len(out)
}

// receive reads from the connection. What it is told by the connection is the body's error for good; a cancelled task's
// cause is not.
func (u *upload) receive(p []byte) (int, error) {
	_ = u.bulk.SetReadDeadline(time.Now().Add(u.timeout))
	n, err := u.bulk.Read(p)
	u.received += uint64(n)
	var socket *net.OpError
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		u.err = ErrBodyTimeout
	case errors.Is(err, context.Canceled), err == nil:
		return 0, err
	case errors.Is(err, io.EOF), errors.As(err, &socket):
		u.err = ErrClientGone
	default:
		return 0, err
	}
	return 0, u.err
}
