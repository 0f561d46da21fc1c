// The wire of a Handler inside a net/http middleware (fromhttp.go). Its response is sent in pieces to the middleware's goroutine, which writes
// them to its ResponseWriter. Meanwhile the task serves that goroutine's calls, among them those that send the bytes.

package app

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

// diverted is the wire of one Handler. Its fields are for the task, except where noted.
type diverted struct {
	wire             // of the request
	m      *mounted  // of the middleware
	outer  *diverted // of a middleware around this one, or nil
	active bool      // c has the state of the Handler, and resp and stream are those of the request
	left   bool      // the Handler writes to the wire of the request; see leave
	resp   response
	stream Stream
	values context.Context // Context.outer before
	head   *piece          // begun, with a body that is on its way
	out    []byte
	acked  bool
	err    error // of writing to the middleware's ResponseWriter
	failed error // result of the Handler that ends the request

	pieces  chan piece    // for the goroutine; one at a time
	busy    atomic.Bool   // any goroutine
	request *http.Request // as the middleware got it; for the goroutine
	target  string        // its RequestURI
}

// piece is a part of a response for the goroutine to write. The goroutine has it until it reports.
type piece struct {
	status int // of a head; 0: none
	header http.Header
	body   []byte
	flush  bool
}

// write writes the piece. It runs on the goroutine of the middleware.
func (p *piece) write(w http.ResponseWriter) (err error) {
	if p.status != 0 {
		h := w.Header()
		before := maps.Clone(h)
		clear(h)
		maps.Copy(h, p.header)
		if w.WriteHeader(p.status); p.status < 200 {
			clear(h)
			maps.Copy(h, before)
		}
	}
	if len(p.body) > 0 {
		_, err = w.Write(p.body)
	}
	if p.flush && err == nil {
		if err = http.NewResponseController(w).Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	return err
}

// enter gives c the state of the Handler: an empty response with the headers that w has.
func (d *diverted) enter(c *Context, w http.ResponseWriter, values context.Context) {
	defer c.task.Leave(c.task.Enter())
	d.outer, d.wire, d.values = c.diverted, c.wire, c.outer
	d.resp, d.stream, d.err, d.head = response{}, Stream{}, nil, nil
	d.resp.begin(&c.req)
	d.resp.reserved = slices.Clone(c.resp.reserved)
	d.swap(c)
	c.diverted, c.wire, c.outer = d, d, values
	header := w.Header()
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			c.AddHeader(name, value)
		}
	}
}

// exit gives c the state of the request back.
func (d *diverted) exit(c *Context) {
	defer c.task.Leave(c.task.Enter())
	c.outer = d.values
	if d.active {
		d.swap(c)
	}
	if !d.left {
		c.diverted, c.wire = d.outer, d.wire
	}
}

// swap exchanges the state of the Handler and that of the request. Inside, so that no event of the loop sees half of it.
func (d *diverted) swap(c *Context) {
	c.resp, d.resp = d.resp, c.resp
	c.stream, d.stream = d.stream, c.stream
	d.active = !d.active
}

// hand passes a piece to the goroutine and waits until it is written. Inside.
func (d *diverted) hand(c *Context, p piece) error {
	if d.err != nil {
		return d.err
	}
	d.swap(c)
	c.diverted, c.wire = d.outer, d.wire
	defer func() {
		c.diverted, c.wire = d, d
		d.swap(c)
	}()
	d.acked = false
	d.pieces <- p
	for !d.acked {
		a, err := d.m.next(c, false)
		if err == nil {
			err = d.m.task.nested(a)
		}
		if err != nil {
			d.err = err
			break
		}
	}
	return d.err
}

// nested makes a call of the goroutine while the task is in another one. The error means that no more will come.
func (t *mountTask) nested(a *taskCall) error {
	a.err = errMountOver
	defer close(a.done) // also when the task is unwound
	if a.f == nil {
		a.err = errBodyBusy
		return nil
	}
	t.c.task.Outside(func() { a.err = a.f(t.c) })
	if a.last {
		t.ended, t.err = true, a.err
		return errMountOver
	}
	return nil
}

var errBodyBusy = errors.New("app: FromHTTP: the middleware reads the body while the handler writes the response")

// leave sends the head of an event stream through the middleware, and has the Handler write to the wire of the request from then on.
func (d *diverted) leave(c *Context) error {
	defer c.task.Leave(c.task.Enter())
	if err := d.hand(c, piece{flush: true}); err != nil {
		return err
	}
	if !d.stream.begun {
		return errors.New("app: FromHTTP: the middleware has not sent the head of the event stream")
	}
	d.swap(c)
	d.left = true
	c.diverted, c.wire = d.outer, d.wire
	d.m.release()
	return nil
}

// take implements wire: the Handler keeps its headers, and the middleware writes nothing more.
func (d *diverted) take(c *Context) (*reactor.Conn, error) {
	conn, err := d.wire.take(c)
	if err != nil {
		return nil, err
	}
	d.active, d.left = false, true
	d.resp = response{}
	c.diverted, c.wire = d.outer, d.wire
	d.m.release() // ConnMax bounds hijacked connections
	return conn, nil
}

// interim implements wire.
func (d *diverted) interim(c *Context, status int, fields []httpparse.Header) {
	header := http.Header{}
	for _, f := range fields {
		header.Add(string(f.Name), string(f.Value))
	}
	_ = d.hand(c, piece{status: status, header: header})
}

// begin implements wire. A head that is followed by a body waits for its first bytes.
func (d *diverted) begin(c *Context, status int, contentType string, length int64, bytes int) (out []byte, room int) {
	r := &c.resp
	r.status, r.sent = status, true
	header := http.Header{}
	for i := range r.fields {
		name, value := r.field(i)
		header.Add(strings.Clone(name), strings.Clone(value))
	}
	if contentType != "" && !r.hasType && status != http.StatusNotModified {
		header.Set("Content-Type", contentType)
	} else if !r.hasType {
		header["Content-Type"] = nil // no detection
	}
	if !r.keepAlive && d.resp.keepAlive {
		header.Set("Connection", "close")
	}
	switch {
	case !httpparse.BodyAllowed(status):
		r.framing = httpparse.FramingNone
	case length >= 0:
		r.framing = httpparse.FramingLength
		header.Set("Content-Length", strconv.FormatInt(length, 10))
	default:
		r.framing = httpparse.FramingChunked
	}
	p := piece{status: status, header: header}
	if bytes > 0 && r.framing == httpparse.FramingLength && !r.bodiless {
		d.head = &p
		return d.buffer(bytes)
	}
	_ = d.hand(c, p)
	return nil, 0
}

// buffer returns a buffer for the next bytes of the body.
func (d *diverted) buffer(bytes int) (out []byte, room int) {
	room = min(bytes, streamStep)
	d.out = slices.Grow(d.out[:0], room)
	return d.out, room
}

// more implements wire.
func (d *diverted) more(_ *Context, bytes int) (out []byte, room int) { return d.buffer(bytes) }

// commit implements wire. The error shows in the next backlog.
func (d *diverted) commit(c *Context, out []byte, _ int, last bool) {
	d.out = out
	p := piece{}
	if d.head != nil {
		p, d.head = *d.head, nil
	}
	p.body, p.flush = out, !last
	_ = d.hand(c, p)
}

// finish implements wire.
func (d *diverted) finish(*Context) {}

// backlog implements wire: hand has waited already.
func (d *diverted) backlog(c *Context) error {
	if d.err != nil {
		return d.err
	}
	return c.task.Err()
}

// direct implements wire.
func (d *diverted) direct(*Context) *reactor.Conn { return nil }

// endWatch cancels a request at the end of a context.
type endWatch struct {
	ended atomic.Bool
	off   func() bool
}

func watchEnd(c *Context, ctx context.Context) *endWatch {
	w, l, task := &endWatch{}, c.state.loop, c.task
	w.off = context.AfterFunc(ctx, func() {
		l.PostUnbounded(func() {
			if !w.ended.Load() {
				task.Cancel(ctx.Err())
			}
		})
	})
	return w
}

// stop ends the watch. In the task, so that the task is not another request's when it is cancelled.
func (w *endWatch) stop() {
	w.ended.Store(true)
	w.off()
}
