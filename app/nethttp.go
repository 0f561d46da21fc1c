// App as an http.Handler: for HTTP/2, for http.ServeMux, and for httptest. Each request has a loop of its own, driven by the goroutine of
// net/http, with one in-memory connection. This costs tens of microseconds per request (BenchmarkServeHTTP).

package app

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// ServeHTTP implements http.Handler. The first request ends registration.
//
// Each request has a loop of its own, so handlers gain nothing by waiting cooperatively. While a handler waits for the request body, no other
// task of its loop runs. Package app/client uses the connections that it keeps for goroutines. middleware.Shed has no effect, Hijack and
// the DialTask method of reactor.Dialer are not supported. If the response is incomplete, ServeHTTP panics with http.ErrAbortHandler.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.freeze()
	head, err := headOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b := &bridge{w: w, r: r, base: time.Now().Add(-time.Second), woken: make(chan struct{}, 1)}
	b.loop = loop.New(0, b, loop.Limits{}, a.options.Log)
	b.reactor = reactor.Memory(b.loop, reactor.Limits{})
	ls := newLoopState(a, b.loop, time.Now)
	ls.bridged = true
	b.turn(func() {
		b.conn = b.reactor.Open(b, nil)
		b.http1 = ls.open(b.conn).(*http1Conn)
		b.conn.SetHandler(b.http1)
	})
	b.serve(head)
	if !b.complete() {
		panic(http.ErrAbortHandler) // tells the client that the response is incomplete
	}
}

// hopByHop are the headers for a single connection (RFC 9110 section 7.6.1), and those that frame the body.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Host",
}

// headOf returns the head of r as an HTTP/1.1 client would send it.
func headOf(r *http.Request) (b []byte, err error) {
	if b, err = httpparse.AppendRequestLine(nil, r.Method, r.URL.RequestURI()); err != nil {
		return nil, err
	}
	if b, err = httpparse.AppendHeader(b, "Host", r.Host); err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		if slices.Contains(hopByHop, name) {
			continue
		}
		for _, v := range values {
			if b, err = httpparse.AppendHeader(b, name, v); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case r.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.ContentLength > 0:
		b = httpparse.AppendContentLength(b, r.ContentLength)
	}
	return append(b, closeLine+"\r\n"...), nil
}

const closeLine = "Connection: close\r\n"

// bridge is the loop.Driver of one request's loop, and the reactor.Transport of its connection.
type bridge struct {
	w       http.ResponseWriter
	r       *http.Request
	loop    *loop.Loop
	reactor *reactor.Reactor
	conn    *reactor.Conn
	http1   *http1Conn
	base    time.Time
	woken   chan struct{}
	alarm   *time.Timer

	input   []byte // for the connection, not yet read
	piece   []byte // of the request body
	sent    bool   // the whole body was delivered
	pending []byte // incomplete response head
	head    httpparse.Response
	body    httpparse.Body // of the response
	started bool
	ended   bool // the response has ended
}

// serve runs the loop until the response has ended and the handler has returned.
func (b *bridge) serve(head []byte) {
	defer b.end()
	b.deliver(head)
	for !b.ended || b.http1.state.active > 0 {
		if c := b.http1.active; c != nil && c.body.waiting && !b.sent && !b.ended {
			b.feed()
			continue
		}
		b.await()
	}
}

// turn runs f in a turn of the loop.
func (b *bridge) turn(f func()) {
	b.loop.Drive().BeginTurn()
	f()
	b.loop.Drive().EndTurn()
}

// deliver passes p to the connection as input.
func (b *bridge) deliver(p []byte) {
	b.input = p
	for len(b.input) > 0 && !b.ended {
		b.turn(b.conn.Readable)
	}
}

// await waits for an event of the loop, or for the client to disconnect, and handles it.
func (b *bridge) await() {
	var due <-chan time.Time
	if b.alarm != nil {
		due = b.alarm.C
	}
	gone := b.r.Context().Done()
	if b.ended {
		gone = nil
	}
	select {
	case <-b.woken:
		b.loop.Drive().Turn()
	case <-due:
		b.loop.Drive().Turn()
	case <-gone:
		b.abort(ErrClientGone)
	}
}

// feed reads the next piece of the request body, which the handler waits for, and delivers it.
func (b *bridge) feed() {
	if b.piece == nil {
		b.piece = make([]byte, bodyStep)
	}
	n, err := b.r.Body.Read(b.piece)
	chunked := b.r.ContentLength < 0
	if n > 0 {
		if chunked {
			b.deliver(httpparse.AppendChunk(nil, b.piece[:n]))
		} else {
			b.deliver(b.piece[:n])
		}
	}
	switch {
	case err == io.EOF:
		b.sent = true
		if chunked {
			b.deliver(httpparse.AppendLastChunk(nil))
		}
	case err != nil:
		b.abort(err)
	}
}

func (b *bridge) abort(err error) {
	if !b.ended {
		b.turn(func() { b.conn.Abort(err) })
	}
}

// end closes the loop, and cancels the tasks that the handler has left.
func (b *bridge) end() {
	b.turn(func() {
		b.conn.Abort(nil)
		b.loop.Drive().Shutdown()
		b.loop.Drive().Close()
	})
	if b.alarm != nil {
		b.alarm.Stop()
	}
}

// Context implements loop.RequestDriver.
func (b *bridge) Context() context.Context { return b.r.Context() }

// Now implements loop.Driver.
func (b *bridge) Now() int64 { return int64(time.Since(b.base)) }

// Wake implements loop.Driver.
func (b *bridge) Wake() {
	select {
	case b.woken <- struct{}{}:
	default:
	}
}

// WakeAt implements loop.Driver.
func (b *bridge) WakeAt(at int64) {
	d := time.Duration(max(at-b.Now(), 1))
	if b.alarm == nil {
		b.alarm = time.NewTimer(d)
		return
	}
	b.alarm.Reset(d)
}

// Flush implements loop.Driver.
func (b *bridge) Flush() { b.reactor.Flush() }

// Read implements reactor.Transport.
func (b *bridge) Read(first, then []byte) (int, error) {
	n := copy(first, b.input)
	k := copy(then, b.input[n:])
	b.input = b.input[n+k:]
	return n + k, nil
}

// Write implements reactor.Transport. It passes the response to net/http.
func (b *bridge) Write(p []byte) (int, error) {
	if err := b.relay(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// relay parses the response and passes head and body to net/http, which frames the body itself.
func (b *bridge) relay(p []byte) error {
	if b.started {
		return b.relayBody(p)
	}
	b.pending = append(b.pending, p...)
	for !b.started {
		_, end, _, err := httpparse.FindResponseHead(b.pending, 0, unlimited)
		if err != nil || end == 0 {
			return err
		}
		if err := b.begin(b.pending[:end]); err != nil {
			return err
		}
		b.pending = b.pending[end:]
	}
	return b.relayBody(b.pending)
}

// unlimited are the limits for heads from this process.
var unlimited = &httpparse.Limits{
	HeadBytesMax: 1 << 30, HeaderCountMax: 1 << 20, TargetBytesMax: 1 << 30, BodyBytesMax: 1<<63 - 1,
	ChunkOverheadMax: 1 << 30, TrailerBytesMax: 1 << 30,
}

// begin relays a head. An interim response is followed by another head.
func (b *bridge) begin(head []byte) error {
	if err := b.head.Parse(head, b.r.Method, unlimited); err != nil {
		return err
	}
	header := b.w.Header()
	if b.head.Status < 200 && b.head.Status != http.StatusSwitchingProtocols {
		if b.r.ProtoAtLeast(1, 1) {
			before := header.Clone()
			b.addFields(header)
			b.w.WriteHeader(b.head.Status)
			clear(header)
			maps.Copy(header, before)
		}
		return nil
	}
	b.started = true
	b.addFields(header)
	if header.Get("Content-Type") == "" {
		header["Content-Type"] = nil // no detection by net/http
	}
	b.body.BeginResponse(&b.head, unlimited)
	b.w.WriteHeader(b.head.Status)
	return nil
}

// addFields adds the fields of the head to header.
func (b *bridge) addFields(header http.Header) {
	for _, f := range b.head.Headers {
		name := http.CanonicalHeaderKey(string(f.Name))
		if name == "Content-Length" || !slices.Contains(hopByHop, name) {
			header.Add(name, string(f.Value))
		}
	}
}

// complete reports whether the whole response was relayed.
func (b *bridge) complete() bool { return b.started && b.body.Done() }

// relayBody passes a part of the body on. A streamed body is flushed, also its head alone: the next part may be late.
func (b *bridge) relayBody(p []byte) error {
	if b.body.Done() {
		return nil
	}
	for len(p) > 0 && !b.body.Done() {
		data, n, err := b.body.Next(p)
		if err == nil && len(data) > 0 {
			_, err = b.w.Write(data)
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	if b.head.Framing != httpparse.FramingChunked {
		return nil
	}
	if err := http.NewResponseController(b.w).Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// The following methods implement reactor.Transport. There is never unsent output, because net/http's Write waits for the client.
func (b *bridge) Unsent() int           { return 0 }
func (b *bridge) Want(read, write bool) {}
func (b *bridge) CloseWrite() error     { b.ended = true; return nil }
func (b *bridge) Close(abort bool)      { b.ended = true }
func (b *bridge) RemoteAddr() net.Addr  { return address(b.r.RemoteAddr) }
func (b *bridge) LocalAddr() net.Addr {
	if addr, ok := b.r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return addr
	}
	return address("")
}
func (b *bridge) FD() int { return -1 }

// address is a net.Addr from a string.
type address string

func (address) Network() string  { return "tcp" }
func (s address) String() string { return string(s) }
