// The wire of HTTP/2: heads, bodies and trailers of responses on a stream. http2.go has the connection.

package app

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"time"

	"tafe/app/internal/http2"
	"tafe/httpparse"
	"tafe/loop/reactor"
)

// http2Wire is the wire of a request over HTTP/2, and the http2.StreamHandler of its stream.
type http2Wire struct {
	conn     *http2Conn
	stream   *http2.Stream
	c        *Context
	trailers []httpparse.Header
	tunnel   bool // hijacked
}

// reset keeps the array of trailers.
func (w *http2Wire) reset() {
	if w.conn != nil {
		clear(w.trailers)
		*w = http2Wire{trailers: w.trailers[:0]}
	}
}

func (w *http2Wire) reactorConn() *reactor.Conn           { return w.conn.conn }
func (w *http2Wire) listener() *Listener                  { return w.conn.terms }
func (w *http2Wire) tlsName() **tlsName                   { return &w.conn.tls }
func (w *http2Wire) closed() bool                         { return !w.tunnel && w.stream.Broken() }
func (w *http2Wire) input() []byte                        { return w.stream.Input() }
func (w *http2Wire) consume(n int)                        { w.stream.Consume(n) }
func (w *http2Wire) inputEnded() bool                     { return w.stream.InputEnded() }
func (w *http2Wire) unsent() int                          { return w.stream.Queued() }
func (w *http2Wire) setTimeout(d time.Duration)           { w.stream.SetTimeout(d) }
func (w *http2Wire) direct(*Context) *reactor.Conn        { return nil }
func (w *http2Wire) abort(error)                          { w.stream.Abort() }
func (w *http2Wire) breakOff(err error)                   { w.abort(err) }
func (w *http2Wire) Room(*http2.Stream)                   {}
func (w *http2Wire) Arrived(*http2.Stream)                { w.c.bodyArrived() }
func (w *http2Wire) TimedOut(*http2.Stream)               { w.c.body.timeOut() }
func (w *http2Wire) more(_ *Context, n int) ([]byte, int) { return w.stream.Room(n) }

// commit implements wire.
func (w *http2Wire) commit(_ *Context, out []byte, n int, last bool) { w.stream.Commit(out, n, last) }

// Section implements http2.StreamHandler: it keeps the trailers of the request.
func (w *http2Wire) Section(_ *http2.Stream, head http2.Section) {
	for _, f := range head.Fields {
		if !httpparse.ForbiddenInTrailer(f.Name) {
			w.trailers = append(w.trailers, f)
		}
	}
	w.c.bodyArrived()
}

// Broken implements http2.StreamHandler: the client has cancelled the request, or is gone.
func (w *http2Wire) Broken(*http2.Stream, error) {
	c := w.c
	if w.conn.drop(c) {
		w.release()
		return
	}
	if c.task != nil {
		c.task.Cancel(ErrClientGone)
	}
}

// release ends the use of the stream and recycles the Context.
func (w *http2Wire) release() {
	hc, c := w.conn, w.c
	if !w.tunnel {
		w.stream.Finish()
		w.stream.Release()
	}
	hc.state.putContext(c)
}

// answered implements wire.
func (w *http2Wire) answered(c *Context) {
	hc := w.conn
	ls := hc.state
	closes := c.resp.closes || ls.closeAfter
	hc.running--
	if w.tunnel {
		ls.taken.Add(-1)
	}
	w.release()
	if closes {
		hc.http2.Shutdown()
	}
	hc.Progress(hc.http2)
	hc.checkDetached()
	ls.checkDrained()
}

// refuse answers a request that has no handler. A malformed one is reset (RFC 9113 section 8.1.1).
func (w *http2Wire) refuse(e *httpparse.Error) {
	hc, c, s := w.conn, w.c, w.stream
	hc.state.logRefused(hc.conn.Remote(), c, e)
	if e.Status == http.StatusBadRequest {
		s.Refuse(http2.ErrMalformed)
		w.release()
		return
	}
	text := http.StatusText(e.Status) + ": " + e.Detail + "\n"
	b, at := s.OpenSection(0)
	b = append(append(http2.AppendStatus(b, e.Status), hc.state.app.server2...), hc.state.encodedDate()...)
	b = http2.AppendContentLength(http2.AppendContentType(b, textType), int64(len(text)))
	s.CloseSection(b, at, c.resp.bodiless)
	if !c.resp.bodiless {
		http2.Write(s, text, true)
	}
	w.release()
}

// interim implements wire.
func (w *http2Wire) interim(_ *Context, status int, fields []httpparse.Header) {
	b, at := w.stream.OpenSection(0)
	b = http2.AppendStatus(b, status)
	for _, f := range fields {
		if !ofConnection(httpparse.ViewString(f.Name)) {
			b = http2.AppendField(b, f.Name, f.Value)
		}
	}
	w.stream.CloseSection(b, at, false)
}

// begin implements wire.
func (w *http2Wire) begin(c *Context, status int, contentType string, length int64, bytes int) (out []byte, room int) {
	r := &c.resp
	c.headed(status)
	b, at := w.stream.OpenSection(headRoom + len(r.text))
	b = w.appendOwn(http2.AppendStatus(b, status), c)
	if contentType != "" && !r.hasType && status != 304 {
		b = http2.AppendContentType(b, contentType)
	}
	switch {
	case !httpparse.BodyAllowed(status):
		r.framing = httpparse.FramingNone
	case length >= 0:
		r.framing = httpparse.FramingLength
		b = http2.AppendContentLength(b, length)
	default:
		r.framing = httpparse.FramingClose
	}
	for i := range r.fields {
		if name, value := r.field(i); !ofConnection(name) {
			b = http2.AppendField(b, name, value)
		}
	}
	empty := r.framing == httpparse.FramingNone || r.bodiless || length == 0 && len(r.trailers) == 0
	w.stream.CloseSection(b, at, empty)
	if empty || bytes == 0 {
		return nil, 0
	}
	return w.stream.Room(bytes)
}

// appendOwn appends the fields that the server adds to every response.
func (w *http2Wire) appendOwn(b []byte, c *Context) []byte {
	r := &c.resp
	if !r.hasServer {
		b = append(b, c.app.server2...)
	}
	if !r.hasDate {
		b = append(b, c.state.encodedDate()...)
	}
	if c.app.options.ServerTiming && c.task != nil {
		var space [96]byte
		b = http2.AppendField(b, "server-timing", appendTiming(space[:0], c.Timing()))
	}
	if name := c.app.options.RequestIDHeader; name != "" {
		b = http2.AppendField(b, name, c.id[:c.idBytes])
	}
	return b
}

// ofConnection reports whether a field is one that HTTP/2 does not have (RFC 9113 section 8.2.2).
func ofConnection(name string) bool {
	switch len(name) {
	case len("Upgrade"):
		return strings.EqualFold(name, "Upgrade")
	case len("Connection"):
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case len("Proxy-Connection"):
		return strings.EqualFold(name, "Proxy-Connection")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// finish implements wire.
func (w *http2Wire) finish(c *Context) {
	r := &c.resp
	if len(r.trailerFields) == 0 {
		http2.Write(w.stream, "", true)
		return
	}
	b, at := w.stream.OpenSection(len(r.trailers))
	for _, f := range r.trailerFields {
		name, value := lineOf(r.trailers, f)
		b = http2.AppendField(b, name, value)
	}
	w.stream.CloseSection(b, at, true)
}

// backlog implements wire.
func (w *http2Wire) backlog(c *Context) error {
	err := w.stream.Drain(c.task)
	if errors.Is(err, http2.ErrClosed) {
		return c.gone()
	}
	return err
}

// take makes a connection of the stream, of an extended CONNECT or after the head of a response.
func (w *http2Wire) take(c *Context) (*reactor.Conn, error) {
	if !c.req.Extended && !c.resp.sent {
		return nil, errors.ErrUnsupported
	}
	hc, s := w.conn, w.stream
	w.tunnel = true
	hc.tunnels++
	open := func(p []byte) (int, error) { return switchProtocols(s, p) }
	if c.resp.sent {
		open = nil
	}
	conn := s.Tunnel(open, func() {
		hc.tunnels--
		hc.checkDetached()
	})
	hc.checkDetached()
	return conn, nil
}

// switchHeadMax bounds the response head that a handler writes to a hijacked stream.
const switchHeadMax = 16 << 10

var errSwitch = errors.New("app: what was written to the hijacked stream does not begin with the head of a response")

// switchProtocols sends the head at the start of p, which is one of HTTP/1, as that of the stream. 101 becomes 200 (RFC 8441 section 5). It
// returns the bytes of the head; 0 if it is not complete.
func switchProtocols(s *http2.Stream, p []byte) (int, error) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		if len(p) > switchHeadMax {
			return 0, errSwitch
		}
		return 0, nil
	}
	end += len("\r\n\r\n")
	var head httpparse.Response
	if err := head.Parse(p[:end], http.MethodGet, nil); err != nil {
		return 0, errors.Join(errSwitch, err)
	}
	status := head.Status
	if status == http.StatusSwitchingProtocols {
		status = http.StatusOK
	}
	b, at := s.OpenSection(end)
	b = http2.AppendStatus(b, status)
	for _, f := range head.Headers {
		if name := httpparse.ViewString(f.Name); !ofConnection(name) && !strings.EqualFold(name, "Sec-WebSocket-Accept") {
			b = http2.AppendField(b, f.Name, f.Value)
		}
	}
	s.CloseSection(b, at, false)
	return end, nil
}
