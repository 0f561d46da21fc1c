// The wire of HTTP/1: heads and bodies of responses in the output of the connection. http1.go has the state machine.

package app

import (
	"errors"
	"strconv"
	"time"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// chunkRoom is the room for the size and the ends of a chunk.
const chunkRoom = 32

func (hc *http1Conn) reactorConn() *reactor.Conn { return hc.conn }
func (hc *http1Conn) listener() *Listener        { return hc.terms }
func (hc *http1Conn) tlsName() **tlsName         { return &hc.tls }
func (hc *http1Conn) closed() bool               { return hc.conn.Closed() }
func (hc *http1Conn) abort(err error)            { hc.conn.Abort(err) }
func (hc *http1Conn) input() []byte              { return hc.conn.Input() }
func (hc *http1Conn) consume(n int)              { hc.conn.Consume(n) }
func (hc *http1Conn) inputEnded() bool           { return hc.conn.InputEnded() }
func (hc *http1Conn) setTimeout(d time.Duration) { hc.conn.SetTimeout(d) }

// breakOff sends the output and then resets the connection.
func (hc *http1Conn) breakOff(err error) {
	hc.state.loop.Drive().Driver().Flush()
	hc.conn.Abort(err)
}

// take returns the connection.
func (hc *http1Conn) take(*Context) (*reactor.Conn, error) {
	hc.conn.SetTimeout(0)
	hc.state.stopAwaiting(&hc.place)
	return hc.conn, nil
}

func (hc *http1Conn) unsent() int { return hc.conn.Unsent() }

// interim sends an interim response. HTTP/1.0 has none.
func (hc *http1Conn) interim(c *Context, status int, fields []httpparse.Header) {
	if c.req.Minor == 0 {
		return
	}
	b := httpparse.AppendStatusLine(hc.conn.Output(headRoom), status)
	for _, f := range fields {
		b, _ = httpparse.AppendHeaderBytes(b, f.Name, f.Value) // they are valid
	}
	hc.conn.SetOutput(httpparse.AppendHeadEnd(b))
}

// begin appends the head, and leaves the output to the caller if a body follows.
func (hc *http1Conn) begin(c *Context, status int, contentType string, length int64, bytes int) (out []byte, room int) {
	r := &c.resp
	c.headed(status)
	r.keepAlive = r.keepAlive && !c.state.closeAfter && c.worthDiscarding() && !hc.lastRequest()
	out = httpparse.AppendStatusLine(hc.conn.Output(headRoom+len(r.text)+bytes), status)
	out = c.appendOwn(out)
	if contentType != "" && !r.hasType && status != 304 {
		out = append(append(append(out, "Content-Type: "...), contentType...), "\r\n"...)
	}
	switch {
	case !httpparse.BodyAllowed(status):
		r.framing = httpparse.FramingNone
	case length >= 0:
		r.framing = httpparse.FramingLength
		out = httpparse.AppendContentLength(out, length)
	case c.req.Minor > 0:
		r.framing = httpparse.FramingChunked
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	default: // HTTP/1.0 has no chunked coding
		r.framing, r.keepAlive = httpparse.FramingClose, false
	}
	out = append(out, r.text...)
	if r.hasUpgrade { // RFC 9110 section 7.8
		out = append(out, "Connection: upgrade\r\n"...)
	}
	switch {
	case !r.keepAlive:
		out = append(out, "Connection: close\r\n"...)
	case c.req.Minor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	out = httpparse.AppendHeadEnd(out)
	if bytes > 0 && r.framing == httpparse.FramingLength && !r.bodiless {
		return out, bytes
	}
	hc.conn.SetOutput(out)
	return nil, 0
}

// lastRequest reports whether no request follows, because the client has closed its sending side.
func (hc *http1Conn) lastRequest() bool { return hc.conn.InputEnded() && len(hc.conn.Input()) == 0 }

// more begins a chunk in a chunked body.
func (hc *http1Conn) more(c *Context, bytes int) (out []byte, room int) {
	out = hc.conn.Output(bytes + chunkRoom)
	if c.resp.framing == httpparse.FramingChunked {
		out = append(strconv.AppendUint(out, uint64(bytes), 16), "\r\n"...)
	}
	return out, bytes
}

// commit ends the chunk.
func (hc *http1Conn) commit(c *Context, out []byte, _ int, _ bool) {
	if c.resp.framing == httpparse.FramingChunked {
		out = append(out, "\r\n"...)
	}
	hc.conn.SetOutput(out)
}

// finish sends the last chunk of a chunked body, with the trailers.
func (hc *http1Conn) finish(c *Context) {
	if c.resp.framing != httpparse.FramingChunked {
		return
	}
	trailers := c.resp.trailers
	if len(trailers) > 0 && !httpparse.HasMember(c.HeaderListView("TE"), "trailers") {
		trailers = nil
	}
	out := append(hc.conn.Output(len("0\r\n\r\n")+len(trailers)), "0\r\n"...)
	hc.conn.SetOutput(httpparse.AppendHeadEnd(append(out, trailers...)))
}

// backlog waits until the client has read enough of the output.
func (hc *http1Conn) backlog(c *Context) error {
	if hc.conn.Closed() {
		return c.gone()
	}
	if hc.conn.Unsent() < hc.conn.Limits().OutboundMax {
		return c.task.Err()
	}
	err := reactor.Drain(c.task, hc.conn)
	if errors.Is(err, loop.ErrClosed) {
		return c.gone()
	}
	return err
}

// direct returns the connection, unless the body is chunked.
func (hc *http1Conn) direct(c *Context) *reactor.Conn {
	if c.resp.framing == httpparse.FramingChunked {
		return nil
	}
	return hc.conn
}
