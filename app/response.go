// This file owns the answer: its head, and bodies that are known as a whole. They are written straight into the
// connection's output, in one pass, and sent when the loop's turn ends. Bodies in pieces are stream.go's.

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
	headRoom       = 512      // bytes of a head beside the handler's own fields
	throughMin     = 32 << 10 // bytes of a body that is not copied to gather with what else the slice writes
	headKeptMax    = 8 << 10  // of a recycled Context's copies of a head and its parts, each
	scratchKeptMax = 64 << 10
	textType       = "text/plain; charset=utf-8"
	jsonType       = "application/json"
)

// response is the answer of one exchange, so far.
type response struct {
	status int
	fields []field
	text   []byte // the fields' lines
	bad    error  // the first header that was refused

	reserved []string // names of headers that are not passed on from an upstream

	hasType, hasDate, hasServer, hasUpgrade bool
	choose                                  func(c *Context, status int, contentType string, length int64) Coder
	coder                                   Coder // of a stream
	length                                  int64 // of a Content-Length that the handler set; -1: none

	keepAlive bool
	headless  bool // of its body: the request was HEAD
	sent      bool // the head is in the output
	framing   framing
	bytes     int64 // of the body
}

// framing is how the client will know where the body ends.
type framing uint8

const (
	byNothing framing = iota // it has none
	byLength
	byChunks
	byClose
)

// field is one header line in response.text.
type field struct {
	start, end, nameBytes int
	passed                bool // from an upstream
}

func (r *response) reset() {
	text := r.text[:0]
	if cap(text) > scratchKeptMax {
		text = nil
	}
	*r = response{fields: r.fields[:0], text: text, reserved: r.reserved[:0]}
}

// begin prepares the answer to the parsed request.
func (r *response) begin(req *httpparse.Request) {
	r.length = -1
	r.keepAlive = req.KeepAlive
	r.headless = string(req.Method) == "HEAD"
}

// Status sets the status of the answer for a handler that returns without writing one, and for Stream(0, …).
func (c *Context) Status(code int) { c.resp.status = code }

// StatusCode is the status of the answer; 0 as long as none was set or written.
func (c *Context) StatusCode() int { return c.resp.status }

// Written tells whether the answer's head is on its way: no header and no status can change any more.
func (c *Context) Written() bool { return c.resp.sent }

// SetHeader sets a header of the answer in place of any with that name. A name that is no token and a value with control
// characters, CR and LF first of all, are dropped: the answer then becomes a 500, and the log says why.
//
// Options.RequestIDHeader is set by the server alone. Content-Type overrules the type that an answering method is given, Content-Length announces the length of a Stream,
// Connection: close ends the connection after the answer; other values of Connection, and Transfer-Encoding, are the
// server's own and dropped.
func (c *Context) SetHeader(name, value string) {
	c.DelHeader(name)
	c.AddHeader(name, value)
}

// AddHeader adds a header of the answer beside those with the same name; otherwise it is like SetHeader.
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

// DelHeader removes every header of the answer with that name that the handler has set.
func (c *Context) DelHeader(name string) {
	r := &c.resp
	for i := 0; i < len(r.fields); {
		f := r.fields[i]
		if f.nameBytes != len(name) || !strings.EqualFold(view(r.text[f.start:f.start+f.nameBytes]), name) {
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

// ResponseHeader is the first header of the answer with that name that the handler has set, as a view that the next change
// of headers ends; "" if there is none.
func (c *Context) ResponseHeader(name string) string {
	for i := range c.resp.fields {
		if n, value := c.resp.field(i); len(n) == len(name) && strings.EqualFold(n, name) {
			return value
		}
	}
	return ""
}

// own takes headers that are not simply copied. It reports whether the header is dealt with.
func (r *response) own(name, value string) bool {
	switch len(name) {
	case len("Connection"):
		if strings.EqualFold(name, "Connection") {
			r.keepAlive = r.keepAlive && !strings.EqualFold(value, "close")
			return true
		}
	case len("Content-Length"):
		if strings.EqualFold(name, "Content-Length") {
			if n, ok := parseLength(value); ok {
				r.length = n
			} else if r.bad == nil {
				r.bad = fmt.Errorf("app: header Content-Length: %q is no length", value)
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

// known notes that a header which is otherwise written by the server is set, or no longer.
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

// String answers with text.
func (c *Context) String(status int, s string) error {
	return answer(c, status, textType, s)
}

// Bytes answers with a body of the given type; "" names none. b is not needed any more when Bytes returns.
func (c *Context) Bytes(status int, contentType string, b []byte) error {
	if !httpparse.ValidFieldValue(contentType) {
		return errContentType
	}
	if len(b) >= throughMin && c.resp.choose == nil {
		return c.answerThrough(status, contentType, b)
	}
	return answer(c, status, contentType, b)
}

// JSON answers with v as JSON. Where v cannot be encoded nothing is written, and the error is the encoder's.
func (c *Context) JSON(status int, v any) error {
	c.scratch.Reset()
	if err := json.NewEncoder(&c.scratch).Encode(v); err != nil {
		return fmt.Errorf("app: JSON: %w", err)
	}
	b := c.scratch.Bytes()
	return answer(c, status, jsonType, b[:len(b)-1]) // without Encode's newline
}

// NotModified answers 304. contentType and length (-1 if unknown) describe the body that the client has. They are not sent, but passed to
// the function of Hooks.CodeBody.
func (c *Context) NotModified(contentType string, length int64) error {
	c.resp.length = length
	return answer(c, 304, contentType, "")
}

// NoContent answers without a body.
func (c *Context) NoContent(status int) error { return answer(c, status, "", "") }

// Redirect answers with a Location: 301, 302, 303, 307 or 308. The URL is sent as it is.
func (c *Context) Redirect(status int, url string) error {
	if status < 300 || status > 399 {
		return fmt.Errorf("app: redirect with status %d", status)
	}
	c.SetHeader("Location", url)
	return c.NoContent(status)
}

// answer writes a whole answer.
func answer[T string | []byte](c *Context, status int, contentType string, body T) error {
	if r := &c.resp; r.choose != nil && (len(body) > 0 || r.headless || status == 304) {
		if err := c.mayWrite(status); err != nil {
			return err
		}
		length := int64(len(body))
		if length == 0 { // a HEAD and a 304 are about a body that they do not have
			length = r.length
		}
		if coder := c.coderFor(status, contentType, length); coder != nil && (len(body) > 0 || r.headless) {
			return c.answerCoded(coder, status, contentType, uncoded(c, body))
		}
	}
	return answerPlain(c, status, contentType, body)
}

func answerPlain[T string | []byte](c *Context, status int, contentType string, body T) error {
	defer c.task.Leave(c.task.Enter())
	out, hasBody, err := c.beginAnswer(status, contentType, len(body), len(body))
	if err != nil {
		return err
	}
	if hasBody {
		out = append(out, body...)
	}
	c.http1.conn.SetOutput(out)
	return nil
}

// answerThrough is answerPlain for a large body, which is sent from where it is.
func (c *Context) answerThrough(status int, contentType string, body []byte) error {
	defer c.task.Leave(c.task.Enter())
	out, hasBody, err := c.beginAnswer(status, contentType, len(body), 0)
	if err != nil {
		return err
	}
	conn := c.http1.conn
	conn.SetOutput(out)
	if hasBody {
		conn.WriteThrough(body)
	}
	return nil
}

// beginAnswer returns the output with the head of an answer whose body has so many bytes, and with room for more; hasBody
// tells whether the body is to follow.
func (c *Context) beginAnswer(status int, contentType string, bytes, room int) (out []byte, hasBody bool, err error) {
	r := &c.resp
	if err := c.mayWrite(status); err != nil {
		return nil, false, err
	}
	length := int64(bytes)
	if r.headless && r.length >= 0 { // a HEAD may know what it does not make
		length = r.length
	}
	out = c.appendHead(c.http1.conn.Output(headRoom+len(r.text)+room), status, contentType, length)
	if r.framing != byLength || r.headless {
		return out, false, nil
	}
	r.bytes = int64(bytes)
	return out, true, nil
}

// Interim sends an interim answer before the answer, such as 103 with Link fields (RFC 9110 section 15.2): a status from 102
// to 199. Clients of HTTP/1.0 know none, and are sent nothing. The error is ErrWritten, or that of a field that no head can hold.
func (c *Context) Interim(status int, fields []httpparse.Header) error {
	switch {
	case c.resp.sent:
		return ErrWritten
	case status < 102 || status > 199:
		return fmt.Errorf("app: %d is not the status of an interim answer", status)
	case c.req.Minor == 0:
		return nil
	}
	defer c.task.Leave(c.task.Enter())
	conn := c.http1.conn
	b := httpparse.AppendStatusLine(conn.Output(headRoom), status)
	for _, f := range fields {
		var err error
		if b, err = httpparse.AppendHeaderBytes(b, f.Name, f.Value); err != nil {
			return fmt.Errorf("app: interim header: %w", err)
		}
	}
	conn.SetOutput(httpparse.AppendHeadEnd(b))
	return nil
}

// mayWrite tells whether an answer can be begun.
func (c *Context) mayWrite(status int) error {
	switch r := &c.resp; {
	case r.sent:
		return ErrWritten
	case r.bad != nil:
		return r.bad
	case status < 200 || status > 999:
		return fmt.Errorf("app: %d is not the status of an answer", status)
	}
	return nil
}

// appendHead appends the answer's head: from here on it is written. length is that of the body, -1 if unknown.
func (c *Context) appendHead(b []byte, status int, contentType string, length int64) []byte {
	r := &c.resp
	r.status, r.sent = status, true
	c.state.counts.ByClass[status/100%len(c.state.counts.ByClass)]++
	r.keepAlive = r.keepAlive && !c.state.closeAfter && c.worthDiscarding() && !c.lastOf()
	b = httpparse.AppendStatusLine(b, status)
	b = c.appendOwn(b)
	if contentType != "" && !r.hasType && status != 304 {
		b = append(append(append(b, "Content-Type: "...), contentType...), "\r\n"...)
	}
	switch {
	case !httpparse.BodyAllowed(status):
		r.framing = byNothing
	case length >= 0:
		r.framing = byLength
		b = httpparse.AppendContentLength(b, length)
	case c.req.Minor > 0:
		r.framing = byChunks
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	default: // HTTP/1.0 knows no chunks
		r.framing, r.keepAlive = byClose, false
	}
	b = append(b, r.text...)
	if r.hasUpgrade { // RFC 9110 section 7.8
		b = append(b, "Connection: upgrade\r\n"...)
	}
	switch {
	case !r.keepAlive:
		b = append(b, "Connection: close\r\n"...)
	case c.req.Minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return httpparse.AppendHeadEnd(b)
}

// lastOf tells whether no request follows: the client has ended its direction of the stream.
func (c *Context) lastOf() bool {
	conn := c.http1.conn
	return conn.InputEnded() && len(conn.Input()) == 0
}

// appendOwn appends what the server adds to every answer.
func (c *Context) appendOwn(b []byte) []byte {
	r := &c.resp
	if !r.hasServer {
		b = append(b, c.app.serverLine...)
	}
	if !r.hasDate {
		b = append(b, c.state.dateLine()...)
	}
	if c.app.options.ServerTiming && c.task != nil {
		b = appendServerTiming(b, c.Timing())
	}
	if name := c.app.options.RequestIDHeader; name != "" {
		b = append(append(append(append(b, name...), ": "...), c.id[:c.idBytes]...), "\r\n"...)
	}
	return b
}

// appendServerTiming appends the field of the same name.
func appendServerTiming(b []byte, t Timing) []byte {
	b = append(b, "Server-Timing: "...)
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
	return append(b, "\r\n"...)
}
