// This file owns answers in pieces: the body leaves as it is made, no faster than the client reads. Its framing was
// chosen with the head, in response.go.

package app

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

const streamStep = 64 << 10 // a larger Write is cut into such pieces, so that the output stays bounded

// Stream writes an answer's body in pieces. It is its handler's alone, like the Context it came from.
type Stream struct {
	c           *Context
	open        bool // until the handler has ended
	begun       bool // the head is written
	coding      bool // the task uses the Coder, and what that has coded
	held        bool // the Coder may hold something back; see push.go
	status      int
	contentType string
}

// Stream begins an answer whose body is written in pieces. The head leaves with Begin, the first piece or Flush: until then headers
// may be set, and an error that the handler returns is answered as usual; after that it breaks the connection off. A piece leaves
// when the handler waits, or a moment after it was written; Flush sends it at once.
//
// The body is framed by the Content-Length header if the handler has set it, else in chunks, else, for an HTTP/1.0 client,
// by the connection's end. Status 0 means that of Status, or 200.
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

// Begin writes the head, unless it is written: it leaves when the handler waits. It is for a body whose first piece may be late.
func (s *Stream) Begin() error { return s.begin() }

// begin writes the head unless it is written.
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
	if err := c.task.Err(); err != nil { // what cancelled the request can still be answered
		return err
	}
	if c.resp.choose != nil && c.coderFor(s.status, s.contentType, c.resp.length) != nil {
		c.resp.length = -1
	}
	defer c.task.Leave(c.task.Enter())
	s.begun = true
	conn := c.http1.conn
	conn.SetOutput(c.appendHead(conn.Output(headRoom+len(c.resp.text)), s.status, s.contentType, c.resp.length))
	return nil
}

// Write appends p to the body, as one chunk or more where it is chunked: wrap it in a bufio.Writer for small pieces. It
// waits while the client has reactor.Limits.OutboundMax bytes to read. The error is ErrContentLength, or that of Err.
// To a HEAD request nothing is sent, and nothing where the status allows no body.
func (s *Stream) Write(p []byte) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	r := &s.c.resp
	switch {
	case r.framing == byNothing || r.headless:
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

// WriteThrough is Write for large pieces in the heap, such as a relay's buffer: what the client's socket takes at once is not
// copied. (A variable that is passed here cannot live on its goroutine's stack; hence two methods.)
func (s *Stream) WriteThrough(p []byte) (written int, err error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	r := &s.c.resp
	if len(p) < throughMin || r.headless || r.coder != nil || r.framing == byNothing || r.framing == byChunks {
		return s.Write(p)
	}
	defer s.c.task.Leave(s.c.task.Enter())
	for written < len(p) {
		n, err := s.admit(len(p) - written)
		if err != nil {
			return written, err
		}
		s.c.http1.conn.WriteThrough(p[written : written+n])
		written += n
	}
	return written, nil
}

// send appends p to the body as it is.
func (s *Stream) send(p []byte) (written int, err error) {
	defer s.c.task.Leave(s.c.task.Enter())
	for written < len(p) {
		n, err := s.admit(len(p) - written)
		if err != nil {
			return written, err
		}
		piece, conn := p[written:written+n], s.c.http1.conn
		if s.c.resp.framing == byChunks {
			conn.SetOutput(httpparse.AppendChunk(conn.Output(n+32), piece))
		} else {
			conn.Write(piece)
		}
		written += n
	}
	return written, nil
}

// admit counts the next of n bytes and waits until there is room for them.
func (s *Stream) admit(n int) (int, error) {
	r := &s.c.resp
	n = min(n, streamStep)
	if r.framing == byLength && r.bytes+int64(n) > r.length {
		return 0, ErrContentLength
	}
	if err := s.room(); err != nil {
		return 0, err
	}
	r.bytes += int64(n)
	return n, nil
}

// room waits until the client has read enough.
func (s *Stream) room() error {
	task, conn := s.c.task, s.c.http1.conn
	if conn.Closed() {
		return s.c.gone()
	}
	if conn.Unsent() < conn.Limits().OutboundMax {
		return task.Err()
	}
	err := reactor.Drain(task, conn)
	if errors.Is(err, loop.ErrClosed) {
		return s.c.gone()
	}
	return err
}

// Flush sends what was written: it gives the loop back once.
func (s *Stream) Flush() error {
	if err := s.begin(); err != nil {
		return err
	}
	if s.c.resp.coder != nil && !s.c.resp.headless {
		if err := s.code(nil, CodeFlush); err != nil {
			return err
		}
	}
	return s.c.task.Yield()
}

// ReadFrom appends what r yields to its end, for io.Copy. Of a file, or an io.LimitedReader of one, whose length the Content-Length
// header has announced, what is in the page cache is sent by the kernel. Other readers are read by the task.
func (s *Stream) ReadFrom(r io.Reader) (int64, error) {
	f, limited := fileOf(r)
	if f != nil {
		s.c.resp.choose = nil // to be coded it would have to be read, here
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	resp := &s.c.resp
	if f == nil || resp.framing != byLength || resp.headless {
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
	fileStep = 4 << 20   // bytes of a file that are looked up in the page cache, and sent, at a time
	readStep = 256 << 10 // bytes that are read beside the loop where they cannot be sent by the kernel
)

// sendFile sends n bytes of f from at, where it stands, and moves it on.
func (s *Stream) sendFile(f file, at, n int64) (sent int64, err error) {
	defer func() { _, _ = f.Seek(at+sent, io.SeekStart) }()
	for sent < n && err == nil {
		var k int64
		step := min(n-sent, fileStep)
		if s.c.http1.conn.Secure() || !reactor.Cached(f, at+sent, step) {
			k, err = s.readFile(f, at+sent, min(step, readStep))
		} else {
			k, err = s.sendCached(f, at+sent, step)
		}
		sent += k
		if err == nil && k == 0 {
			break // the file has become shorter
		}
	}
	return sent, err
}

// sendCached has the kernel send a piece that is in the page cache.
func (s *Stream) sendCached(f file, at, n int64) (int64, error) {
	c := s.c
	k, err := reactor.SendFile(c.task, c.http1.conn, f, at, n)
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

// readFile reads a piece beside the loop, since the disk may have to be waited for, and sends it.
func (s *Stream) readFile(f file, at, n int64) (int64, error) {
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

// fileOf finds the file that r reads, and the bound on it.
func fileOf(r io.Reader) (file, *io.LimitedReader) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		r = limited.R
	}
	f, _ := r.(file)
	return f, limited
}

// file is an *os.File, also in the disguise that its WriteTo gives it.
type file interface {
	fs.File
	io.ReaderAt
	io.Seeker
	syscall.Conn
}

// streamWriter is a Stream without ReadFrom.
type streamWriter struct{ s *Stream }

func (w streamWriter) Write(p []byte) (int, error) { return w.s.Write(p) }

// finish ends the body after the handler.
func (s *Stream) finish(c *Context) error {
	if !s.open {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	r := &c.resp
	switch {
	case r.headless || r.framing == byNothing:
	case r.framing == byLength && r.bytes < r.length:
		return ErrContentLength
	case r.framing == byChunks:
		conn := c.http1.conn
		conn.SetOutput(httpparse.AppendLastChunk(conn.Output(8)))
	}
	s.open = false
	return nil
}
