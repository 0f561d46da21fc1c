// Response heads, and bodies that are written at once. They are appended to the connection's output, which is sent when the task's slice
// ends; pipelined requests that run one after the other are sent together. stream.go has streamed bodies.

package app

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tafe/httpparse"
)

const (
	headRoom       = 512      // bytes of a head, without the handler's headers
	throughMin     = 32 << 10 // bytes from which a body is sent without copying it to the output
	headKeptMax    = 8 << 10  // capacity of the head buffers that a recycled Context keeps, each
	scratchKeptMax = 64 << 10 // capacity of its other buffers
	textType       = "text/plain; charset=utf-8"
	jsonType       = "application/json"
)

// response is the state of a response.
type response struct {
	status int
	fields []field
	text   []byte // header lines
	bad    error  // of the first invalid header

	reserved []string // see ReserveHeaders

	hasType, hasDate, hasServer, hasUpgrade bool
	choose                                  func(c *Context, status int, contentType string, length int64) Coder
	coder                                   Coder // of the stream
	length                                  int64 // Content-Length set by the handler; -1: none

	keepAlive bool
	bodiless  bool // the request is HEAD: a head and no body is sent
	sent      bool // the head was written to the output
	framing   httpparse.Framing
	bytes     int64 // of the body

	trailers      []byte // trailer lines
	trailerFields []field
	closes        bool // the handler has set Connection: close
}

// field is a header line in response.text.
type field struct {
	start, end, nameBytes int
	passed                bool // set by PassHeader
}

func (r *response) reset() {
	text := r.text[:0]
	if cap(text) > scratchKeptMax {
		text = nil
	}
	*r = response{fields: r.fields[:0], text: text, reserved: r.reserved[:0], trailers: r.trailers[:0], trailerFields: r.trailerFields[:0]}
}

// begin initializes the response to a parsed request.
func (r *response) begin(req *httpparse.Request) {
	r.length = -1
	r.keepAlive = req.KeepAlive
	r.bodiless = string(req.Method) == "HEAD"
}

// Status sets the status used when the handler writes no response, or calls Stream with status 0.
func (c *Context) Status(code int) { c.resp.status = code }

// StatusCode returns the status of the response; 0 if none was set or written.
func (c *Context) StatusCode() int { return c.resp.status }

// Written reports whether the response head was written. Headers and status cannot change afterwards.
func (c *Context) Written() bool { return c.resp.sent }

// SetHeader sets a header of the response and replaces others with that name. If the name is not a token, or the value has control characters
// such as CR and LF, the response becomes a 500 and the error is logged.
//
// Some headers are special. Content-Type overrides the type given to a response method. Content-Length sets the length of a Stream.
// Connection: close ends the connection after the response. Other values of Connection, Transfer-Encoding, and Options.RequestIDHeader are
// set by the server and ignored here.
func (c *Context) SetHeader(name, value string) {
	c.DelHeader(name)
	c.AddHeader(name, value)
}

// AddHeader adds a header to the response and keeps others with that name. Otherwise it is like SetHeader.
func (c *Context) AddHeader(name, value string) {
	r := &c.resp
	if id := c.app.options.RequestIDHeader; r.own(name, value) || len(id) == len(name) && strings.EqualFold(id, name) {
		return
	}
	start := len(r.text)
	text, err := httpparse.AppendHeader(r.text, name, value)
	if err != nil {
		if r.bad == nil {
			r.bad = fmt.Errorf("app: header %q: %w", name, err)
		}
		return
	}
	r.text = text
	r.fields = append(r.fields, field{start: start, end: len(text), nameBytes: len(name)})
}

// DelHeader removes the headers of the response with that name, except those that the server sets.
func (c *Context) DelHeader(name string) {
	r := &c.resp
	for i := 0; i < len(r.fields); {
		f := r.fields[i]
		if f.nameBytes != len(name) || !strings.EqualFold(httpparse.ViewString(r.text[f.start:f.start+f.nameBytes]), name) {
			i++
			continue
		}
		cut := f.end - f.start
		r.text = append(r.text[:f.start], r.text[f.end:]...)
		r.fields = append(r.fields[:i], r.fields[i+1:]...)
		for j := i; j < len(r.fields); j++ {
			r.fields[j].start -= cut
			r.fields[j].end -= cut
		}
	}
	r.known(name, false)
}

// ResponseHeader returns the first header of that name set on the response; "" if there is none.
func (c *Context) ResponseHeader(name string) string {
	return strings.Clone(c.ResponseHeaderView(name))
}

// own handles headers that are not copied to the head. It reports whether this is one of them.
func (r *response) own(name, value string) bool {
	switch len(name) {
	case len("Connection"):
		if strings.EqualFold(name, "Connection") {
			r.closes = r.closes || strings.EqualFold(value, "close")
			r.keepAlive = r.keepAlive && !r.closes
			return true
		}
	case len("Content-Length"):
		if strings.EqualFold(name, "Content-Length") {
			if n, ok := parseLength(value); ok {
				r.length = n
			} else if r.bad == nil {
				r.bad = fmt.Errorf("app: header Content-Length: %q is not a length", value)
			}
			return true
		}
	case len("Transfer-Encoding"):
		if strings.EqualFold(name, "Transfer-Encoding") {
			return true
		}
	}
	r.known(name, true)
	return false
}

// known records whether a header is set that the server would write otherwise.
func (r *response) known(name string, set bool) {
	switch {
	case len(name) == len("Content-Type") && strings.EqualFold(name, "Content-Type"):
		r.hasType = set
	case len(name) == len("Date") && strings.EqualFold(name, "Date"):
		r.hasDate = set
	case len(name) == len("Server") && strings.EqualFold(name, "Server"):
		r.hasServer = set
	case len(name) == len("Upgrade") && strings.EqualFold(name, "Upgrade"):
		r.hasUpgrade = set
	case !set && len(name) == len("Content-Length") && strings.EqualFold(name, "Content-Length"):
		r.length = -1
	}
}

func parseLength(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || n > 1<<53 {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, s != ""
}

// String writes a text/plain response. Like the other response methods, it returns ErrWritten if a response was written already.
func (c *Context) String(status int, s string) error {
	return answer(c, status, textType, s)
}

// Bytes writes a response with the given content type; "" omits the header. b may be reused when Bytes returns.
func (c *Context) Bytes(status int, contentType string, b []byte) error {
	if !httpparse.ValidFieldValue(contentType) {
		return errContentType
	}
	if len(b) >= throughMin && c.resp.choose == nil {
		return c.answerThrough(status, contentType, b)
	}
	return answer(c, status, contentType, b)
}

// JSON writes v as a JSON response. If v cannot be encoded, nothing is written, and the error of encoding/json is returned.
func (c *Context) JSON(status int, v any) error {
	c.scratch.Reset()
	if err := json.NewEncoder(&c.scratch).Encode(v); err != nil {
		return fmt.Errorf("app: JSON: %w", err)
	}
	b := c.scratch.Bytes()
	return answer(c, status, jsonType, b[:len(b)-1]) // without Encode's newline
}

// NotModified writes a 304. contentType and length (-1 if unknown) describe the body that the client has. They are not sent, but passed to
// the function of CodeBody.
func (c *Context) NotModified(contentType string, length int64) error {
	c.resp.length = length
	return answer(c, 304, contentType, "")
}

// NoContent writes a response without a body.
func (c *Context) NoContent(status int) error { return answer(c, status, "", "") }

// Redirect writes a redirect with a status of 3xx. The URL is not modified.
func (c *Context) Redirect(status int, url string) error {
	if status < 300 || status > 399 {
		return fmt.Errorf("app: %d is not a redirect status", status)
	}
	c.SetHeader("Location", url)
	return c.NoContent(status)
}

// answer writes a response, coded if there is a Coder.
func answer[T string | []byte](c *Context, status int, contentType string, body T) error {
	if r := &c.resp; r.choose != nil && (len(body) > 0 || r.bodiless || status == 304) {
		if err := c.mayWrite(status); err != nil {
			return err
		}
		length := int64(len(body))
		if length == 0 { // HEAD and 304 describe a body that is not sent
			length = r.length
		}
		if coder := c.coderFor(status, contentType, length); coder != nil && (len(body) > 0 || r.bodiless) {
			return c.answerCoded(coder, status, contentType, uncoded(c, body))
		}
	}
	return answerPlain(c, status, contentType, body)
}

func answerPlain[T string | []byte](c *Context, status int, contentType string, body T) error {
	defer c.task.Leave(c.task.Enter())
	out, n, err := c.beginAnswer(status, contentType, len(body), len(body))
	for at := 0; n > 0; {
		out = append(out, body[at:at+n]...)
		at += n
		c.wire.commit(c, out, n, at == len(body))
		if at == len(body) {
			break
		}
		out, n = c.wire.more(c, len(body)-at)
	}
	return err
}

// answerThrough is answerPlain for a large body. It is sent without copying it first, where the wire can; otherwise it waits for the
// client, so that it is not held twice.
func (c *Context) answerThrough(status int, contentType string, body []byte) error {
	defer c.task.Leave(c.task.Enter())
	if _, _, err := c.beginAnswer(status, contentType, len(body), 0); err != nil || c.resp.framing != httpparse.FramingLength || c.resp.bodiless {
		return err
	}
	if conn := c.wire.direct(c); conn != nil {
		conn.WriteThrough(body)
		return nil
	}
	for len(body) > 0 {
		if err := c.wire.backlog(c); err != nil {
			return err
		}
		out, n := c.wire.more(c, min(len(body), streamStep))
		c.wire.commit(c, append(out, body[:n]...), n, n == len(body))
		body = body[n:]
	}
	return nil
}

// beginAnswer sends the head of a response with a body of the given length, and returns the buffer for the first room bytes of it; room
// is 0 if there is no body to append.
func (c *Context) beginAnswer(status int, contentType string, length, bytes int) (out []byte, room int, err error) {
	r := &c.resp
	if err := c.mayWrite(status); err != nil {
		return nil, 0, err
	}
	whole := int64(length)
	if r.bodiless && r.length >= 0 { // HEAD with a Content-Length set by the handler
		whole = r.length
	}
	out, room = c.wire.begin(c, status, contentType, whole, bytes)
	if r.framing == httpparse.FramingLength && !r.bodiless {
		r.bytes = int64(length)
	}
	return out, room, nil
}

// Interim sends an interim response before the final one, such as 103 with Link fields (RFC 9110 section 15.2). The status is 102 to 199.
// HTTP/1.0 clients are sent nothing. The error is ErrWritten, or that of an invalid status or field.
func (c *Context) Interim(status int, fields []httpparse.Header) error {
	switch {
	case c.resp.sent:
		return ErrWritten
	case status < 102 || status > 199:
		return fmt.Errorf("app: %d is not the status of an interim response", status)
	}
	return c.inform(status, fields)
}

// inform is Interim for every interim status.
func (c *Context) inform(status int, fields []httpparse.Header) error {
	for _, f := range fields {
		if !httpparse.ValidToken(f.Name) || !httpparse.ValidFieldValue(f.Value) {
			return fmt.Errorf("app: the field %q of an interim response is not valid", f.Name)
		}
	}
	defer c.task.Leave(c.task.Enter())
	c.wire.interim(c, status, fields)
	return nil
}

// mayWrite returns an error if a response with this status cannot be written.
func (c *Context) mayWrite(status int) error {
	switch r := &c.resp; {
	case r.sent:
		return ErrWritten
	case r.bad != nil:
		return r.bad
	case status < 200 || status > 999:
		return fmt.Errorf("app: %d is not the status of a final response", status)
	}
	return nil
}

// appendOwn appends the headers that the server adds to every response over HTTP/1.
func (c *Context) appendOwn(b []byte) []byte {
	r := &c.resp
	if !r.hasServer {
		b = append(b, c.app.serverLine...)
	}
	if !r.hasDate {
		b = append(b, c.state.dateLine()...)
	}
	if c.app.options.ServerTiming && c.task != nil {
		b = append(appendTiming(append(b, "Server-Timing: "...), c.Timing()), "\r\n"...)
	}
	if name := c.app.options.RequestIDHeader; name != "" {
		b = append(append(append(append(b, name...), ": "...), c.id[:c.idBytes]...), "\r\n"...)
	}
	return b
}

// appendTiming appends the value of the Server-Timing header.
func appendTiming(b []byte, t Timing) []byte {
	for i, part := range [...]struct {
		name string
		d    time.Duration
	}{{"queue", t.Queued}, {"slice", t.Slices}, {"backend", t.Backend}} {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, part.name...), ";dur="...)
		b = strconv.AppendFloat(b, float64(part.d.Microseconds())/1000, 'f', -1, 64)
	}
	return b
}
