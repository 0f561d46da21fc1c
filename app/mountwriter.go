// The http.ResponseWriter of a mounted handler. Small responses are buffered and written at once; larger ones are streamed by the task.

package app

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"tafe/httpparse"
)

const mountedBuffer = 32 << 10 // bytes of a response that are buffered

// mountedBuffers are shared by all loops, because handlers end on goroutines of their own.
var mountedBuffers = sync.Pool{New: func() any { b := make([]byte, 0, mountedBuffer); return &b }}

// mountWriter is for the handler's goroutine, and for the task while the goroutine waits for a call.
type mountWriter struct {
	m         *mounted
	body      io.Closer
	header    http.Header
	preset    []string // names of headers set by middlewares
	committed http.Header
	status    int // 0: WriteHeader was not called
	length    int64
	written   int64
	buffer    *[]byte
	streaming bool
	head      bool
	hijacked  net.Conn
	err       error // first error of writing
}

func newMountWriter(m *mounted, c *Context, r *http.Request) *mountWriter {
	w := &mountWriter{m: m, body: r.Body, header: http.Header{}, length: -1, head: c.resp.bodiless}
	for _, f := range c.resp.fields {
		line := string(c.resp.text[f.start : f.end-len("\r\n")])
		name := line[:f.nameBytes]
		w.preset = append(w.preset, name)
		w.header.Add(name, line[f.nameBytes+len(": "):])
	}
	return w
}

// Header implements http.ResponseWriter.
func (w *mountWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Interim responses (1xx) are sent at once, except 101, which Hijack sends.
func (w *mountWriter) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	case w.hijacked != nil || w.status != 0:
		return
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.inform(status)
		return
	}
	w.status = status
	w.committed = w.header.Clone()
	if n, ok := parseLength(w.committed.Get("Content-Length")); ok {
		w.length = n
	}
}

// inform sends an interim response (RFC 9110 section 15.2).
func (w *mountWriter) inform(status int) {
	if w.err != nil {
		return
	}
	w.err = w.m.call(func(c *Context) error {
		var fields []httpparse.Header
		for _, name := range slices.Sorted(maps.Keys(w.header)) {
			for _, v := range w.header[name] {
				fields = append(fields, httpparse.Header{Name: []byte(name), Value: []byte(v)})
			}
		}
		return c.inform(status, fields)
	})
}

// Write implements io.Writer.
func (w *mountWriter) Write(p []byte) (int, error) { return writeMounted(w, p) }

// WriteString implements io.StringWriter.
func (w *mountWriter) WriteString(s string) (int, error) { return writeMounted(w, s) }

func writeMounted[T string | []byte](w *mountWriter, p T) (int, error) {
	if w.hijacked != nil {
		return 0, http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case !httpparse.BodyAllowed(w.status):
		return 0, http.ErrBodyNotAllowed
	case w.err != nil:
		return 0, w.err
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if w.buffer == nil {
		w.buffer = mountedBuffers.Get().(*[]byte)
	}
	b := *w.buffer
	if len(b)+len(p) > cap(b) {
		if err := w.send(b, false); err != nil {
			return 0, err
		}
		b = b[:0]
	}
	if len(p) > cap(b) {
		*w.buffer = b
		if err := w.send([]byte(p), false); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	*w.buffer = append(b, p...)
	return len(p), nil
}

// send streams b, and flushes it if flush is set.
func (w *mountWriter) send(b []byte, flush bool) error {
	if w.err != nil {
		return w.err
	}
	if len(b) == 0 && !flush {
		return nil
	}
	w.sniff(b)
	w.err = w.m.call(func(c *Context) error {
		s, err := w.stream(c)
		if err == nil && len(b) > 0 {
			_, err = s.Write(b)
		}
		if err == nil && flush {
			err = s.Flush()
		}
		return err
	})
	return w.err
}

// stream returns the Stream of the response, and begins it if necessary. It runs in the task.
func (w *mountWriter) stream(c *Context) (*Stream, error) {
	switch {
	case c.taken:
		return nil, http.ErrHijacked
	case w.streaming:
		return &c.stream, nil
	}
	w.streaming = true
	w.commit(c)
	return c.Stream(w.status, ""), nil
}

// sniff sets a Content-Type that the handler has not set, as net/http does.
func (w *mountWriter) sniff(b []byte) {
	_, set := w.committed["Content-Type"]
	if w.streaming || set || w.committed.Get("Content-Encoding") != "" || len(b) == 0 {
		return
	}
	w.committed.Set("Content-Type", http.DetectContentType(b))
}

// commit sets the headers of the response, by the rule of PassHeader: a header of a middleware is not duplicated, unless the handler has
// replaced it. It runs in the task.
func (w *mountWriter) commit(c *Context) {
	first := map[string]string{} // headers of middlewares, by canonical name
	for _, name := range w.preset {
		if c.resp.reserves(name) || strings.EqualFold(name, "Vary") {
			continue
		}
		if key := http.CanonicalHeaderKey(name); first[key] == "" {
			first[key] = c.ResponseHeader(name)
		}
	}
	for name := range first {
		c.DelHeader(name)
	}
	for _, name := range slices.Sorted(maps.Keys(w.committed)) {
		if name == "Trailer" || strings.HasPrefix(name, http.TrailerPrefix) || c.resp.reserves(name) {
			continue
		}
		for _, v := range w.committed[name] {
			if name == "Vary" {
				c.AddVary(v)
				continue
			}
			c.AddHeader(name, v)
			if set, ok := first[name]; ok && v == set && !accumulates(name) {
				break
			}
		}
	}
}

// Flush implements http.Flusher.
func (w *mountWriter) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *mountWriter) FlushError() error {
	if w.hijacked != nil {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	err := w.send(w.gathered(), true)
	w.drop()
	return err
}

// EnableFullDuplex is for http.ResponseController. Reading and writing are always independent.
func (w *mountWriter) EnableFullDuplex() error { return nil }

func (w *mountWriter) gathered() []byte {
	if w.buffer == nil {
		return nil
	}
	return *w.buffer
}

// drop empties the buffer after it was sent.
func (w *mountWriter) drop() {
	if w.buffer != nil {
		*w.buffer = (*w.buffer)[:0]
	}
}

// ReadFrom implements io.ReaderFrom, for io.Copy. A large file is sent by sendfile if Content-Length is set.
func (w *mountWriter) ReadFrom(r io.Reader) (n int64, err error) {
	if w.status == 0 && w.hijacked == nil {
		w.WriteHeader(http.StatusOK)
	}
	if f, _ := fileOf(r); f == nil || w.length < 0 || w.hijacked != nil || w.head || !httpparse.BodyAllowed(w.status) {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	return w.readFile(r)
}

func (w *mountWriter) readFile(r io.Reader) (n int64, err error) {
	f, limited := fileOf(r)
	if err := w.send(w.gathered(), false); err != nil {
		return 0, err
	}
	w.drop()
	left := w.length - w.written
	if limited != nil {
		left = min(left, limited.N)
	}
	if size, err := remaining(f); err != nil || size < left || left == 0 {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	if err := w.sniffFile(f); err != nil {
		return 0, err
	}
	w.err = w.m.call(func(c *Context) error {
		s, err := w.stream(c)
		if err == nil && left >= throughMin {
			n, err = s.ReadFrom(r)
		}
		return err
	})
	w.written += n
	if w.err == nil && n < left {
		more, err := io.Copy(struct{ io.Writer }{w}, r)
		return n + more, err
	}
	return n, w.err
}

// remaining returns the number of unread bytes of a regular file.
func remaining(f file) (int64, error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	at, err := f.Seek(0, io.SeekCurrent)
	return info.Size() - at, err
}

func (w *mountWriter) sniffFile(f file) error {
	if _, set := w.committed["Content-Type"]; set || w.streaming {
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	begin := make([]byte, 512)
	n, err := f.ReadAt(begin, at)
	if err == io.EOF {
		err = nil
	}
	w.sniff(begin[:n])
	return err
}

// Hijack implements http.Hijacker. A response that was begun, such as the head of WriteHeader(101), is sent first, as by net/http.
func (w *mountWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked != nil {
		return nil, nil, http.ErrHijacked
	}
	var conn net.Conn
	a := &taskCall{}
	head, err := w.hijackHead()
	if err != nil {
		return nil, nil, err
	}
	a.f = func(c *Context) (err error) {
		if w.status != 0 && !c.resp.sent {
			c.resp.status = w.status
		}
		if conn, err = c.Hijack(); err != nil {
			return err
		}
		a.last = true
		if len(head) > 0 {
			_, err = conn.Write(head)
		}
		return err
	}
	if err = w.m.submit(a); err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return nil, nil, err
	}
	w.hijacked = conn
	w.m.release() // ConnMax bounds hijacked connections
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}

// hijackHead returns the response that was begun before Hijack; nil if WriteHeader was not called.
func (w *mountWriter) hijackHead() ([]byte, error) {
	if w.status == 0 || w.streaming {
		return nil, nil // if streaming, Hijack fails
	}
	b, err := httpparse.AppendStatusLine(nil, w.status), error(nil)
	for _, name := range slices.Sorted(maps.Keys(w.committed)) {
		for _, v := range w.committed[name] {
			if b, err = httpparse.AppendHeader(b, name, v); err != nil {
				return nil, fmt.Errorf("app: header %q: %w", name, err)
			}
		}
	}
	if w.status != http.StatusSwitchingProtocols && w.committed.Get("Connection") == "" {
		b = append(b, closeLine...)
	}
	return append(httpparse.AppendHeadEnd(b), w.gathered()...), nil
}

// end ends the response. err is the panic of the handler, or nil.
func (w *mountWriter) end(err error) {
	if w.body != nil {
		_ = w.body.Close()
	}
	if w.hijacked != nil {
		if err != nil { // the task of the request has ended, so it is logged here
			w.m.log.Error("a mounted handler failed after Hijack", "error", err)
			_ = w.hijacked.Close()
		}
		return
	}
	if w.status == 0 && err == nil {
		w.WriteHeader(http.StatusOK)
	}
	b := w.gathered()
	w.sniff(b)
	_ = w.m.submit(&taskCall{last: true, f: func(c *Context) error { return w.conclude(c, b, err) }})
	if w.buffer != nil && cap(b) == mountedBuffer {
		w.drop()
		mountedBuffers.Put(w.buffer)
	}
}

// conclude writes the rest of the response. It runs in the task.
func (w *mountWriter) conclude(c *Context, b []byte, err error) error {
	switch {
	case err == http.ErrAbortHandler:
		defer c.task.Leave(c.task.Enter())
		c.wire.abort(err)
		return err
	case err != nil:
		return err
	case c.taken: // by a Handler within a middleware
		return nil
	case w.err != nil:
		return w.err
	case w.streaming:
		_, err := c.stream.Write(b)
		return err
	}
	w.commit(c)
	if w.length >= 0 && w.length != int64(len(b)) && !w.head && httpparse.BodyAllowed(w.status) {
		return ErrContentLength
	}
	return c.Bytes(w.status, "", b)
}
