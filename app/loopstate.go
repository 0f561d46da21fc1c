// The state that the connections of one loop share: recycled Contexts, the Date header, request IDs, counters, and the list of open
// connections, which a drain closes.

package app

import (
	"crypto/rand"
	"sync/atomic"
	"time"

	"tafe/app/internal/http2"
	"tafe/app/internal/poison"
	"tafe/app/websocket"
	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

const (
	contextsKept      = 1024 // Contexts kept for reuse, per loop
	refusalLinesMax   = 20   // log lines about refusals and failed requests, per loop and second; one line counts the rest
	requestIDBytes    = 20   // of a generated ID: 8 random characters, '-', a counter of 11 characters
	requestIDBytesMax = 64   // of a client's ID
)

// loopState is for the goroutine of its loop, except where noted.
type loopState struct {
	app        *App
	loop       *loop.Loop
	wall       func() time.Time
	free       []*Context
	conns      []*place     // of open connections
	active     int          // requests whose handler has not returned
	bridged    bool         // the loop serves one request of App.ServeHTTP
	closeAfter bool         // responses close their connections
	draining   bool         // idle connections are closed too
	drained    func()       // called once, when the drain is complete
	waitFor    int          // connections that the drain waits for
	taken      atomic.Int32 // hijacked connections whose handler has not returned; read by other goroutines

	second  int64 // loop time until which date is valid
	dates   httpparse.DateCache
	date    []byte // the Date header line
	date2   []byte // the same for HTTP/2, encoded
	ids     [requestIDBytes]byte
	counts  Counters // Reasons, Routes and Queued are in reasons and traffic
	reasons reasons
	traffic traffic
	entry   Entry // scratch for the access log
	http2   http2.Shared
	refused int // log lines in this second, written or suppressed

	sockets  atomic.Pointer[websocket.Set] // nil before the first WebSocket; read by other goroutines
	messages map[*Route]*messageRoute
	streams  []openStream // event streams
}

// Counters are the counters of an App's connections. They never decrease, except for the gauges: Conns, Active, Draining, ConnsHTTP2,
// EventStreams and WebSockets.Open.
type Counters struct {
	Requests  uint64              // requests that reached a handler
	Protos    [protosCount]uint64 // of Requests, by the version of HTTP: 1.0, 1.1, 2
	ByClass   [6]uint64           // responses by the first digit of their status
	GRPC      [17]uint64          // requests of gRPC by their status; see GRPCCodes
	Reasons   map[string]uint64   // refusals, panics and other failures by their reason
	BytesBody uint64              // bytes of response bodies

	Conns, Active, Draining int // open connections, running handlers, draining loops
	EventStreams            int // open streams of server-sent events
	WebSockets              websocket.Stats
	ConnsHTTP2              int // of Conns those that use HTTP/2

	// Per loop only; Stats.Counters leaves them empty.
	Routes []RouteStats   // routes that have had requests, in no order
	Queued loop.Histogram // time that requests waited behind earlier ones of their connection
}

func (s *Counters) add(o Counters) {
	s.Requests += o.Requests
	for i, n := range o.Protos {
		s.Protos[i] += n
	}
	for i, n := range o.GRPC {
		s.GRPC[i] += n
	}
	s.ConnsHTTP2 += o.ConnsHTTP2
	for i, n := range o.ByClass {
		s.ByClass[i] += n
	}
	for reason, n := range o.Reasons {
		s.Reasons[reason] += n
	}
	s.BytesBody += o.BytesBody
	s.Conns += o.Conns
	s.Active += o.Active
	s.Draining += o.Draining
	s.EventStreams += o.EventStreams
	s.WebSockets.Add(o.WebSockets)
}

func newLoopState(a *App, l *loop.Loop, wall func() time.Time) *loopState {
	ls := &loopState{app: a, loop: l, wall: wall}
	ls.http2.Limits = &a.http2Limits
	text := rand.Text()
	copy(ls.ids[:], text[:8])
	ls.ids[8] = '-'
	for i := 9; i < len(ls.ids); i++ {
		ls.ids[i] = '0'
	}
	return ls
}

// place is the place of a client's connection among those of its loop.
type place struct {
	pos     int
	awaited bool // counted in loopState.waitFor
	conn    clientConn
}

// clientConn is an HTTP/1 or HTTP/2 connection.
type clientConn interface {
	// closeIfIdle closes an idle connection while its loop drains, and reports whether it did. HTTP/2 connections are shut down in any
	// case.
	closeIfIdle() bool
	// detached reports whether the connection serves no requests any more, but those that were hijacked.
	detached() bool
}

// add adds a connection.
func (ls *loopState) add(p *place, conn clientConn) {
	*p = place{pos: len(ls.conns), conn: conn}
	ls.conns = append(ls.conns, p)
}

// open returns the handler of a new connection.
func (ls *loopState) open(conn *reactor.Conn) reactor.Handler { return ls.openHTTP1(conn, nil) }

// openFor returns the handler of a new connection of a listener.
func (ls *loopState) openFor(conn *reactor.Conn, l *Listener) reactor.Handler {
	if conn.Protocol() == protocolHTTP2 {
		return ls.openHTTP2(conn, l)
	}
	return ls.openHTTP1(conn, l)
}

func (ls *loopState) openHTTP1(conn *reactor.Conn, l *Listener) *http1Conn {
	hc := &http1Conn{state: ls, conn: conn, terms: l}
	ls.add(&hc.place, hc)
	if !hc.closeIfIdle() {
		conn.SetTimeout(ls.app.options.IdleTimeout)
	}
	return hc
}

// closed removes a connection. It is called once for each.
func (ls *loopState) closed(p *place) {
	last := len(ls.conns) - 1
	ls.conns[p.pos] = ls.conns[last]
	ls.conns[p.pos].pos = p.pos
	ls.conns[last] = nil
	ls.conns = ls.conns[:last]
	ls.stopAwaiting(p)
}

// stopAwaiting removes a connection from those that a drain waits for.
func (ls *loopState) stopAwaiting(p *place) {
	if p.awaited {
		p.awaited = false
		ls.waitFor--
		ls.checkDrained()
	}
}

// takeContext returns an empty Context.
func (ls *loopState) takeContext() *Context {
	if n := len(ls.free); n > 0 {
		c := ls.free[n-1]
		ls.free[n-1] = nil
		ls.free = ls.free[:n-1]
		c.app = ls.app
		return c
	}
	return &Context{app: ls.app, state: ls}
}

// putContext recycles a Context after its request, unless other goroutines may still use it as a context.Context.
func (ls *loopState) putContext(c *Context) {
	if poison.On() {
		c.poison()
	}
	if c.retained.Load() || len(ls.free) >= contextsKept {
		return
	}
	if c.body.own != nil {
		c.wire.reactorConn().RecycleBuffer(c.body.own)
		c.body.own = nil
	}
	c.reset()
	ls.free = append(ls.free, c)
}

// dateLine returns the Date header line. It reads the wall clock once per second.
func (ls *loopState) dateLine() []byte {
	if now := ls.loop.Now(); now >= ls.second || ls.date == nil {
		wall := ls.wall()
		ls.second = now + int64(time.Second) - int64(wall.Nanosecond())
		date := ls.dates.At(wall.Unix())
		ls.date = httpparse.AppendDate(ls.date[:0], date)
		ls.date2 = http2.AppendHuffman(ls.date2[:0], "date", httpparse.ViewString(date))
		if ls.refused > refusalLinesMax {
			ls.app.options.Log.Warn("log lines about refusals and failures suppressed", "loop", ls.loop.ID(), "count", ls.refused-refusalLinesMax)
		}
		ls.refused = 0
	}
	return ls.date
}

// encodedDate is dateLine for HTTP/2.
func (ls *loopState) encodedDate() []byte {
	ls.dateLine()
	return ls.date2
}

// nextID increments the counter in ids, in base 36, and returns ids.
func (ls *loopState) nextID() []byte {
	for i := len(ls.ids) - 1; i > 8; i-- {
		switch ls.ids[i] {
		case '9':
			ls.ids[i] = 'a'
			return ls.ids[:]
		case 'z':
			ls.ids[i] = '0'
		default:
			ls.ids[i]++
			return ls.ids[:]
		}
	}
	return ls.ids[:]
}

// refusal counts a refused request and logs it, within the limit of refusalLinesMax.
func (ls *loopState) refusal(remote string, e *httpparse.Error) {
	ls.reasons.count(e.Reason)
	if ls.mayLog() {
		ls.app.options.Log.Info("request refused", "reason", e.Reason, "status", e.Status, "detail", e.Detail, "remote", remote)
	}
}

// mayLog counts a log line about a refusal or failure, and reports whether it is within refusalLinesMax.
func (ls *loopState) mayLog() bool {
	ls.dateLine() // resets refused when a second has passed
	ls.refused++
	return ls.refused <= refusalLinesMax
}

// snapshot copies the counters. It may be called by any goroutine, while the loop writes them; see Server.Stats.
//
//go:norace
func (ls *loopState) snapshot() Counters {
	s := ls.counts
	s.Conns, s.Active = len(ls.conns), ls.active
	if ls.draining {
		s.Draining = 1
	}
	s.EventStreams = len(ls.streams)
	if sockets := ls.sockets.Load(); sockets != nil {
		s.WebSockets = sockets.Stats()
	}
	s.Queued = ls.traffic.queued
	s.Reasons, s.Routes = ls.reasons.snapshot(), ls.traffic.snapshot()
	return s
}

// drain closes idle connections, ends event streams and WebSockets, and has every further response close its connection. It calls drained when the connections that are open
// now are closed or hijacked and no other handler runs. It may be called again then, for connections that were opened meanwhile.
func (ls *loopState) drain(drained func()) {
	ls.closeAfter, ls.draining, ls.drained = true, true, drained
	ls.waitFor = 0
	for _, p := range ls.conns {
		if p.awaited = !p.conn.detached(); p.awaited {
			ls.waitFor++
		}
	}
	for _, p := range ls.conns {
		p.conn.closeIfIdle()
	}
	ls.endStreams()
	ls.checkDrained()
}

func (ls *loopState) checkDrained() {
	if ls.drained != nil && ls.waitFor == 0 && ls.active <= int(ls.taken.Load()) {
		ls.drained()
		ls.drained = nil
	}
}
