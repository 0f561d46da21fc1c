// Streamed responses. The body is sent as it is written, with backpressure from the client. response.go chooses its framing.

package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

const streamStep = 64 << 10 // bytes into which a larger Write is split, to bound the output

// Stream writes the body of a response in pieces. Like its Context, it is for the goroutine of the handler.
type Stream struct {
	c           *Context
	open        bool // the body is not finished
	begun       bool // the head was written
	coding      bool // the task is using the Coder and its output
	held        bool // the Coder may hold data back; see push.go
	status      int
	contentType string
}

// Stream returns a writer for a response body of several pieces. The head is written by Begin, the first Write or Flush. Until then headers
// may be set, and an error of the handler is answered as usual; afterwards an error resets the connection. A piece is sent when the handler
// waits, or 2 ms after it was written; Flush sends it at once.
//
// The body is framed by the Content-Length header if that is set, otherwise by chunks, and for HTTP/1.0 clients by the end of the
// connection. Status 0 stands for the status set by Context.Status, or 200.
func (c *Context) Stream(status int, contentType string) *Stream {
	if status == 0 {
		status = c.resp.status
	}
	if status == 0 {
		status = 200
	}
	c.stream = Stream{c: c, open: true, status: status, contentType: contentType}
	return &c.stream
}

// Begin writes the head if it was not written yet. The head is sent when the handler waits. Use it if the first piece of the body may be late.
func (s *Stream) Begin() error { return s.begin() }

// Coded reports whether a Coder changes the body; see CodeBody. It is known after Begin.
func (s *Stream) Coded() bool { return s.c.resp.coder != nil }

func (s *Stream) begin() error {
	c := s.c
	if s.begun {
		return nil
	}
	if !httpparse.ValidFieldValue(s.contentType) {
		return errContentType
	}
	if err := c.mayWrite(s.status); err != nil {
		return err
	}
	if err := c.task.Err(); err != nil { // before the head, so that the cancellation can be answered
		return err
	}
	if c.resp.choose != nil && c.coderFor(s.status, s.contentType, c.resp.length) != nil {
		c.resp.length = -1
	}
	defer c.task.Leave(c.task.Enter())
	s.begun = true
	c.wire.begin(c, s.status, s.contentType, c.resp.length, 0)
	return nil
}

// Write appends p to the body. In a chunked body each call makes a chunk; use a bufio.Writer for small writes. Write waits while
// reactor.Limits.OutboundMax bytes are unsent. The error is ErrContentLength, ErrWritten, or that of Err. For HEAD, and for a status that
// allows no body, p is not sent.
func (s *Stream) Write(p []byte) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	r := &s.c.resp
	switch {
	case r.framing == httpparse.FramingNone || r.bodiless:
		return len(p), nil
	case r.coder != nil:
		for rest := p; len(rest) > 0; {
			piece := rest[:min(len(rest), streamStep)]
			if err := s.code(piece, CodeMore); err != nil {
				return len(p) - len(rest), err
			}
			rest = rest[len(piece):]
		}
		return len(p), nil
	}
	defer s.c.task.Leave(s.c.task.Enter())
	s.pushSoon()
	return s.send(p)
}

// WriteThrough is like Write, but sends large buffers without copying the part that the socket accepts at once. Its argument escapes to the
// heap.
func (s *Stream) WriteThrough(p []byte) (written int, err error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	r := &s.c.resp
	if len(p) < throughMin || r.bodiless || r.coder != nil || r.framing == httpparse.FramingNone {
		return s.Write(p)
	}
	defer s.c.task.Leave(s.c.task.Enter())
	conn := s.c.wire.direct(s.c)
	if conn == nil {
		return s.Write(p)
	}
	for written < len(p) {
		n, err := s.admit(len(p) - written)
		if err != nil {
			return written, err
		}
		conn.WriteThrough(p[written : written+n])
		r.bytes += int64(n)
		written += n
	}
	return written, nil
}

// send appends p to the body without coding.
func (s *Stream) send(p []byte) (written int, err error) {
	defer s.c.task.Leave(s.c.task.Enter())
	for written < len(p) {
		n, err := s.admit(len(p) - written)
		if err != nil {
			return written, err
		}
		out, n := s.c.wire.more(s.c, n)
		s.c.wire.commit(s.c, append(out, p[written:written+n]...), n, false)
		s.c.resp.bytes += int64(n)
		written += n
	}
	return written, nil
}

// admit waits for room in the output, and returns how many of the next n bytes may be written.
func (s *Stream) admit(n int) (int, error) {
	r := &s.c.resp
	n = min(n, streamStep)
	if r.framing == httpparse.FramingLength && r.bytes+int64(n) > r.length {
		return 0, ErrContentLength
	}
	if err := s.c.wire.backlog(s.c); err != nil {
		return 0, err
	}
	return n, nil
}

// Flush sends what was written. It yields the loop once.
func (s *Stream) Flush() error {
	if err := s.begin(); err != nil {
		return err
	}
	if s.c.resp.coder != nil && !s.c.resp.bodiless {
		if err := s.code(nil, CodeFlush); err != nil {
			return err
		}
	}
	return s.c.task.Yield()
}

// ReadFrom implements io.ReaderFrom, for io.Copy. If r is a file, or an io.LimitedReader of one, and Content-Length is set, the parts in the
// page cache are sent by sendfile, and the others are read by the worker pool. Other readers are read by the task.
func (s *Stream) ReadFrom(r io.Reader) (int64, error) {
	f, limited := fileOf(r)
	if f != nil {
		s.c.resp.choose = nil // a coded file could not be sent by sendfile
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	resp := &s.c.resp
	if f == nil || resp.framing != httpparse.FramingLength || resp.bodiless {
		return io.Copy(streamWriter{s}, r)
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil { // a pipe, or a device
		return io.Copy(streamWriter{s}, r)
	}
	n := resp.length - resp.bytes
	if limited != nil {
		n = min(n, limited.N)
	}
	sent, err := s.sendFile(f, at, n)
	if limited != nil {
		limited.N -= sent
	}
	return sent, err
}

const (
	fileStep = 4 << 20   // bytes of a file that are checked in the page cache and sent at a time
	copyStep = 64 << 10  // bytes of a file that are copied from the page cache at a time, to be encrypted
	readStep = 128 << 10 // bytes of a file that the worker pool reads at a time
)

// sendFile sends n bytes of f from its current offset at, and advances the offset.
func (s *Stream) sendFile(f file, at, n int64) (sent int64, err error) {
	defer func() { _, _ = f.Seek(at+sent, io.SeekStart) }()
	for sent < n && err == nil {
		var k int64
		step := min(n-sent, fileStep)
		conn := s.c.wire.direct(s.c)
		copied := conn == nil || conn.Secure()
		if copied {
			step = min(step, copyStep)
		}
		switch {
		case !reactor.Cached(f, at+sent, step):
		case copied:
			k, err = s.copyCached(f, at+sent, step)
		default:
			k, err = s.sendCached(conn, f, at+sent, step)
		}
		if k == 0 && err == nil { // not in the page cache
			k, err = s.readFile(f, at+sent, min(n-sent, readStep))
		}
		sent += k
		if err == nil && k == 0 {
			break // the file has become shorter
		}
	}
	return sent, err
}

// sendCached sends a piece that is in the page cache by sendfile.
func (s *Stream) sendCached(conn *reactor.Conn, f file, at, n int64) (int64, error) {
	c := s.c
	k, err := reactor.SendFile(c.task, conn, f, at, n)
	c.resp.bytes += k
	switch {
	case err == nil:
	case errors.Is(err, errors.ErrUnsupported):
		return s.readFile(f, at, min(n, readStep))
	case errors.Is(err, loop.ErrClosed):
		err = c.gone()
	}
	return k, err
}

// copyCached writes a piece that is in the page cache. It returns 0 if the piece is not there.
func (s *Stream) copyCached(f file, at, n int64) (int64, error) {
	c := s.c
	defer c.task.Leave(c.task.Enter())
	if err := c.wire.backlog(c); err != nil {
		return 0, err
	}
	out, room := c.wire.more(c, int(n))
	k := reactor.ReadCached(f, out[len(out):len(out)+room], at)
	c.wire.commit(c, out[:len(out)+k], k, false)
	c.resp.bytes += int64(k)
	return int64(k), nil
}

// readFile reads a piece in the worker pool, because the disk may block, and sends it. It waits for room first: a client that does not read
// holds the output alone.
func (s *Stream) readFile(f file, at, n int64) (int64, error) {
	if err := s.awaitRoom(); err != nil {
		return 0, err
	}
	piece, err := Offload(s.c, func() ([]byte, error) {
		p := make([]byte, n)
		k, err := f.ReadAt(p, at)
		if err == io.EOF {
			err = nil
		}
		return p[:k], err
	})
	if err != nil {
		return 0, err
	}
	k, err := s.WriteThrough(piece)
	return int64(k), err
}

// awaitRoom waits until the client has read enough of the output.
func (s *Stream) awaitRoom() error {
	defer s.c.task.Leave(s.c.task.Enter())
	return s.c.wire.backlog(s.c)
}

// fileOf returns the file that r reads, and its limit; nil if r is something else.
func fileOf(r io.Reader) (file, *io.LimitedReader) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		r = limited.R
	}
	f, _ := r.(file)
	return f, limited
}

// file is an *os.File, or the wrapper that its WriteTo passes to ReadFrom.
type file interface {
	fs.File
	io.ReaderAt
	io.Seeker
	syscall.Conn
}

// streamWriter hides ReadFrom.
type streamWriter struct{ s *Stream }

func (w streamWriter) Write(p []byte) (int, error) { return w.s.Write(p) }

// AddTrailer adds a field to the trailers, which are sent after the body (RFC 9110 section 6.5). It may be called until the handler returns.
// Over HTTP/1 trailers are sent only in a chunked body, to a client that accepts them (TE: trailers). An invalid field is an error, and so is
// one that frames or routes a message.
func (s *Stream) AddTrailer(name, value string) error {
	c := s.c
	r := &c.resp
	if httpparse.ForbiddenInTrailer(name) {
		return fmt.Errorf("app: %q must not be a trailer", name)
	}
	start := len(r.trailers)
	text, err := httpparse.AppendHeader(r.trailers, name, value)
	if err != nil {
		return fmt.Errorf("app: trailer %q: %w", name, err)
	}
	r.trailers = text
	r.trailerFields = append(r.trailerFields, field{start: start, end: len(text), nameBytes: len(name)})
	return nil
}

// finish ends the body after the handler has returned.
func (s *Stream) finish(c *Context) error {
	if !s.open {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	r := &c.resp
	switch {
	case r.bodiless || r.framing == httpparse.FramingNone:
	case r.framing == httpparse.FramingLength && r.bytes < r.length:
		return ErrContentLength
	default:
		c.wire.finish(c)
	}
	s.open = false
	return nil
}
