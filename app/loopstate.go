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
type loopState struct {
	app        *App
	loop       *loop.Loop
	wall       func() time.Time
	free       []*Context
	conns      []*http1Conn // open connections
	active     int          // requests whose handler has not ended
	bridged    bool         // its connection is a request of net/http's
	closeAfter bool         // every answer from now on ends its connection
	draining   bool         // and idle connections are closed
	drained    func()       // called once, when a drain has nothing left to wait for
	waitFor    int          // connections opened before the drain began and still open
	taken      atomic.Int32 // handlers that run on after Hijack; other goroutines read it

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

func newLoopState(a *App, l *loop.Loop, wall func() time.Time) *loopState {
	ls := &loopState{app: a, loop: l, wall: wall}
	text := rand.Text()
	copy(ls.ids[:], text[:8])
	ls.ids[8] = '-'
	for i := 9; i < len(ls.ids); i++ {
		ls.ids[i] = '0'
	}
	return ls
}

// open is called for each new connection.
func (ls *loopState) open(conn *reactor.Conn) reactor.Handler {
	hc := &http1Conn{state: ls, conn: conn, pos: len(ls.conns)}
	ls.conns = append(ls.conns, hc)
	if !hc.closeIfIdle() {
		conn.SetTimeout(ls.app.options.IdleTimeout)
	}
	return hc
}

// closed is called once for each connection that open was called for.
func (ls *loopState) closed(hc *http1Conn) {
	last := len(ls.conns) - 1
	ls.conns[hc.pos] = ls.conns[last]
	ls.conns[hc.pos].pos = hc.pos
	ls.conns[last] = nil
	ls.conns = ls.conns[:last]
	ls.stopAwaiting(hc)
}

// stopAwaiting has a drain that waits for hc do so no longer.
func (ls *loopState) stopAwaiting(hc *http1Conn) {
	if hc.awaited {
		hc.awaited = false
		ls.waitFor--
		ls.checkDrained()
	}
}

// take returns an empty Context.
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

// put takes back a Context after its request. One that lives on as a context.Context of other goroutines is left to the
// garbage collector as it is.
func (ls *loopState) putContext(c *Context) {
	if c.retained.Load() || len(ls.free) >= contextsKept {
		return
	}
	if c.body.own != nil {
		c.http1.conn.RecycleBuffer(c.body.own)
		c.body.own = nil
	}
	c.reset()
	ls.free = append(ls.free, c)
}

// dateLine returns the Date line. The clock is read once a second.
func (ls *loopState) dateLine() []byte {
	if now := ls.loop.Now(); now >= ls.second || ls.date == nil {
		wall := ls.wall()
		ls.second = now + int64(time.Second) - int64(wall.Nanosecond())
		ls.date = httpparse.AppendDate(ls.date[:0], ls.dates.At(wall.Unix()))
		if ls.refused > refusalLinesMax {
			ls.app.options.Log.Warn("refusals and failures not logged", "loop", ls.loop.ID(), "count", ls.refused-refusalLinesMax)
		}
		ls.refused = 0
	}
	return ls.date
}

// nextID counts one up in the digits and letters of ids, as an odometer does.
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

// refusal counts a refused message and logs it, unless a flood of them is being logged already.
func (ls *loopState) refusal(remote string, e *httpparse.Error) {
	ls.reasons.count(e.Reason)
	if ls.mayLog() {
		ls.app.options.Log.Info("refused", "reason", e.Reason, "status", e.Status, "detail", e.Detail, "remote", remote)
	}
}

// mayLog takes one of the lines that refusals and failures have in a second.
func (ls *loopState) mayLog() bool {
	ls.dateLine() // a new second may have begun
	ls.refused++
	return ls.refused <= refusalLinesMax
}

// snapshot copies the counters. Any goroutine: the loop is not asked, so that this works while it is held. It may be counting: each
// number is one that was right, but they need not be of the same moment.
//
//go:norace
func (ls *loopState) snapshot() Counters {
	s := ls.counts
	s.Conns, s.Active = len(ls.conns), ls.active
	if ls.draining {
		s.Draining = 1
	}
	s.Queued = ls.traffic.queued
	s.Reasons, s.Routes = ls.reasons.snapshot(), ls.traffic.snapshot()
	return s
}

// drain closes what is idle and has every answer from now on end its connection. drained is called when the connections
// that are open now are gone or taken by a handler (Hijack), and no other handler runs. It may be called again after that, for connections
// that have come since.
func (ls *loopState) drain(drained func()) {
	ls.closeAfter, ls.draining, ls.drained = true, true, drained
	ls.waitFor = 0
	for _, hc := range ls.conns {
		if hc.awaited = hc.active == nil || hc.active.hijacked == nil; hc.awaited {
			ls.waitFor++
		}
	}
	for _, hc := range ls.conns {
		hc.closeIfIdle()
	}
	ls.checkDrained()
}

func (ls *loopState) checkDrained() {
	if ls.drained != nil && ls.waitFor == 0 && ls.active <= int(ls.taken.Load()) {
		ls.drained()
		ls.drained = nil
	}
}
