// This file owns serving an App under net/http: for HTTP/2, for a mux of other handlers, for httptest. Each request gets a
// loop, driven by the goroutine that net/http gives it, and one connection on that loop in memory: the same cycle,
// limits and answers as anywhere, for some tens of microseconds more (BenchmarkServeHTTP).

package app

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// ServeHTTP makes an App an http.Handler; registration has ended with the first request. Handlers may wait as usual, but each
// request has a loop of its own: nothing is gained by it. app/client works, with the connections that it has for goroutines;
// load is not shed, and a reactor.Dialer's DialTask is not supported. While the handler waits for the request body, its loop
// stands still.
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
	h := newHub(a, b.loop, time.Now)
	h.bridged = true
	b.turn(func() {
		b.conn = b.reactor.Open(b, nil)
		b.cycle = h.open(b.conn).(*cycle)
		b.conn.SetHandler(b.cycle)
	})
	b.serve(head)
	if !b.complete {
		panic(http.ErrAbortHandler) // so that the client sees that the answer is not complete
	}
}

// hopByHop are the fields of one connection alone (RFC 9110 section 7.6.1), and those that frame the body.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Host",
}

// headOf writes r's head as a client of HTTP/1.1 would.
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

// bridge is the driver of one request's loop and the transport of its connection.
type bridge struct {
	w       http.ResponseWriter
	r       *http.Request
	loop    *loop.Loop
	reactor *reactor.Reactor
	conn    *reactor.Conn
	cycle   *cycle
	base    time.Time
	woken   chan struct{}
	alarm   *time.Timer

	input    []byte // for the connection, not yet read
	piece    []byte // of the request body
	sent     bool   // all of it
	pending  []byte // of the answer's head
	head     httpparse.Response
	chunks   httpparse.Chunked
	out      []byte
	started  bool
	left     int64 // of the answer's body
	complete bool
	ended    bool // nothing more will be written
}

// serve turns the loop until the answer is complete or broken off.
func (b *bridge) serve(head []byte) {
	defer b.end()
	b.deliver(head)
	for !b.ended || b.cycle.hub.active > 0 {
		if c := b.cycle.active; c != nil && c.body.waiting && !b.sent && !b.ended {
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

// deliver has the connection receive p.
func (b *bridge) deliver(p []byte) {
	b.input = p
	for len(b.input) > 0 && !b.ended {
		b.turn(b.conn.Readable)
	}
}

// await waits for something to do, and does it.
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

// feed hands on the next piece of the request body. The handler waits for it and nothing else.
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

// end takes the loop down, with what the handler has left running on it.
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

// Now, Wake, WakeAt and Flush are the loop.Driver.
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

// Write hands the answer to net/http.
func (b *bridge) Write(p []byte) (int, error) {
	if err := b.relay(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// relay takes the answer apart again: net/http has its own framing.
func (b *bridge) relay(p []byte) error {
	if b.started {
		return b.body(p)
	}
	b.pending = append(b.pending, p...)
	_, end, _, err := httpparse.FindResponseHead(b.pending, 0, unlimited)
	if err != nil || end == 0 {
		return err
	}
	if err := b.begin(b.pending[:end]); err != nil {
		return err
	}
	return b.body(b.pending[end:])
}

// unlimited are bounds for heads that this process has made itself.
var unlimited = &httpparse.Limits{
	HeadBytesMax: 1 << 30, HeaderCountMax: 1 << 20, TargetBytesMax: 1 << 30, BodyBytesMax: 1<<63 - 1,
	ChunkOverheadMax: 1 << 30, TrailerBytesMax: 1 << 30,
}

func (b *bridge) begin(head []byte) error {
	if err := b.head.Parse(head, b.r.Method, unlimited); err != nil {
		return err
	}
	b.started = true
	header := b.w.Header()
	for _, f := range b.head.Headers {
		name := http.CanonicalHeaderKey(string(f.Name))
		if name == "Content-Length" || !slices.Contains(hopByHop, name) {
			header.Add(name, string(f.Value))
		}
	}
	if header.Get("Content-Type") == "" {
		header["Content-Type"] = nil // not to be guessed
	}
	b.left = max(b.head.ContentLength, 0)
	if b.head.NoBody {
		b.left = 0
	}
	b.chunks.Reset(unlimited)
	b.w.WriteHeader(b.head.Status)
	b.complete = b.head.NoBody || !b.head.Chunked && b.left == 0
	return nil
}

func (b *bridge) body(p []byte) (err error) {
	if b.head.NoBody || len(p) == 0 {
		return nil
	}
	if b.head.Chunked {
		if p, _, b.complete, err = b.chunks.Decode(b.out[:0], p); err != nil {
			return err
		}
		b.out = p
	} else {
		b.left -= int64(len(p))
		b.complete = b.left <= 0
	}
	if _, err = b.w.Write(p); err != nil || !b.head.Chunked {
		return err
	}
	if err = http.NewResponseController(b.w).Flush(); errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	return err
}

// Unsent, Want, CloseWrite, Close and the addresses are the rest of the Transport. net/http's Write waits for the client.
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

// address is an address that is known as text.
type address string

func (address) Network() string  { return "tcp" }
func (s address) String() string { return string(s) }
