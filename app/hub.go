// This file owns what the connections of one loop share: recycled Contexts, the Date line, request ids, counters, and the
// list of connections that a drain closes. It knows nothing of messages.

package app

import (
	"crypto/rand"
	"sync/atomic"
	"time"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

const (
	contextsKept      = 1024 // per loop, for reuse
	refusalLinesMax   = 20   // log lines about refusals and failed requests, per loop and second; the rest is counted in one line
	requestIDBytes    = 20   // of a generated one: 8 random ones, '-', 11 that count
	requestIDBytesMax = 64   // of one that a client may bring
)

// hub is for its loop's goroutine alone.
type hub struct {
	app      *App
	loop     *loop.Loop
	wall     func() time.Time
	free     []*Context
	cycles   []*cycle     // open connections
	active   int          // requests whose handler has not ended
	bridged  bool         // its connection is a request of net/http's
	lasting  bool         // every answer from now on ends its connection
	draining bool         // and idle connections are closed
	drained  func()       // called once, when a drain has nothing left to wait for
	waitFor  int          // connections opened before the drain began and still open
	taken    atomic.Int32 // handlers that run on after Hijack; other goroutines read it

	second  int64 // loop clock until which date holds
	dates   httpparse.DateCache
	date    []byte // the Date line
	ids     [requestIDBytes]byte
	counts  Counters // without Reasons, Routes and Queued, which are in reasons and traffic
	reasons reasons
	traffic traffic
	entry   Entry // of the request that is being logged
	refused int   // lines logged and suppressed in this second
}

// Counters count what an App's connections did. They only grow, but for the three gauges at the end.
type Counters struct {
	Requests  uint64            // that reached a handler
	ByClass   [6]uint64         // answers by the status's first digit
	Reasons   map[string]uint64 // refusals, panics and other failures by their reason's slug
	BytesBody uint64            // of answers

	Conns, Active, Draining int // open connections, requests in their handlers, loops that drain

	// Of one loop; sums leave them out.
	Routes []RouteStats   // those that were asked for, in no order
	Queued loop.Histogram // what requests waited behind others of their connection
}

func (s *Counters) add(o Counters) {
	s.Requests += o.Requests
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
}

func newHub(a *App, l *loop.Loop, wall func() time.Time) *hub {
	h := &hub{app: a, loop: l, wall: wall}
	text := rand.Text()
	copy(h.ids[:], text[:8])
	h.ids[8] = '-'
	for i := 9; i < len(h.ids); i++ {
		h.ids[i] = '0'
	}
	return h
}

// open is called for each new connection.
func (h *hub) open(conn *reactor.Conn) reactor.Handler {
	y := &cycle{hub: h, conn: conn, pos: len(h.cycles)}
	h.cycles = append(h.cycles, y)
	if !y.closeIfIdle() {
		conn.SetTimeout(h.app.options.IdleTimeout)
	}
	return y
}

// closed is called once for each connection that open was called for.
func (h *hub) closed(y *cycle) {
	last := len(h.cycles) - 1
	h.cycles[y.pos] = h.cycles[last]
	h.cycles[y.pos].pos = y.pos
	h.cycles[last] = nil
	h.cycles = h.cycles[:last]
	h.awaitNot(y)
}

// awaitNot has a drain that waits for y do so no longer.
func (h *hub) awaitNot(y *cycle) {
	if y.awaited {
		y.awaited = false
		h.waitFor--
		h.checkDrained()
	}
}

// take returns an empty Context.
func (h *hub) take() *Context {
	if n := len(h.free); n > 0 {
		c := h.free[n-1]
		h.free[n-1] = nil
		h.free = h.free[:n-1]
		c.app = h.app
		return c
	}
	return &Context{app: h.app, hub: h}
}

// put takes back a Context after its request. One that lives on as a context.Context of other goroutines is left to the
// garbage collector as it is.
func (h *hub) put(c *Context) {
	if c.retained.Load() || len(h.free) >= contextsKept {
		return
	}
	if c.body.own != nil {
		c.cycle.conn.RecycleBuffer(c.body.own)
		c.body.own = nil
	}
	c.reset()
	h.free = append(h.free, c)
}

// dateLine returns the Date line. The clock is read once a second.
func (h *hub) dateLine() []byte {
	if now := h.loop.Now(); now >= h.second || h.date == nil {
		wall := h.wall()
		h.second = now + int64(time.Second) - int64(wall.Nanosecond())
		h.date = httpparse.AppendDate(h.date[:0], h.dates.At(wall.Unix()))
		if h.refused > refusalLinesMax {
			h.app.options.Log.Warn("refusals and failures not logged", "loop", h.loop.ID(), "count", h.refused-refusalLinesMax)
		}
		h.refused = 0
	}
	return h.date
}

// nextID counts one up in the digits and letters of ids, as an odometer does.
func (h *hub) nextID() []byte {
	for i := len(h.ids) - 1; i > 8; i-- {
		switch h.ids[i] {
		case '9':
			h.ids[i] = 'a'
			return h.ids[:]
		case 'z':
			h.ids[i] = '0'
		default:
			h.ids[i]++
			return h.ids[:]
		}
	}
	return h.ids[:]
}

// refusal counts a refused message and logs it, unless a flood of them is being logged already.
func (h *hub) refusal(remote string, e *httpparse.Error) {
	h.reasons.count(e.Reason)
	if h.mayLog() {
		h.app.options.Log.Info("refused", "reason", e.Reason, "status", e.Status, "detail", e.Detail, "remote", remote)
	}
}

// mayLog takes one of the lines that refusals and failures have in a second.
func (h *hub) mayLog() bool {
	h.dateLine() // a new second may have begun
	h.refused++
	return h.refused <= refusalLinesMax
}

// snapshot copies the counters. Any goroutine: the loop is not asked, so that this works while it is held. It may be counting: each
// number is one that was right, but they need not be of the same moment.
//
//go:norace
func (h *hub) snapshot() Counters {
	s := h.counts
	s.Conns, s.Active = len(h.cycles), h.active
	if h.draining {
		s.Draining = 1
	}
	s.Queued = h.traffic.queued
	s.Reasons, s.Routes = h.reasons.snapshot(), h.traffic.snapshot()
	return s
}

// drain closes what is idle and has every answer from now on end its connection. drained is called when the connections
// that are open now are gone or taken by a handler (Hijack), and no other handler runs. It may be called again after that, for connections
// that have come since.
func (h *hub) drain(drained func()) {
	h.lasting, h.draining, h.drained = true, true, drained
	h.waitFor = 0
	for _, y := range h.cycles {
		if y.awaited = y.active == nil || y.active.hijacked == nil; y.awaited {
			h.waitFor++
		}
	}
	for _, y := range h.cycles {
		y.closeIfIdle()
	}
	h.checkDrained()
}

func (h *hub) checkDrained() {
	if h.drained != nil && h.waitFor == 0 && h.active <= int(h.taken.Load()) {
		h.drained()
		h.drained = nil
	}
}
