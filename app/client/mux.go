// Connections of HTTP/2 in the pool of a loop. A connection carries the calls of several tasks, and is in host.muxes from its dial until it
// takes no more of them. While it carries none, it is also in the pool's list of idle connections.

package client

import (
	"context"
	"errors"
	"net"
	"time"

	"tafe/app/internal/http2"
	"tafe/loop"
	"tafe/loop/reactor"
)

// mux is the part of a conn that carries HTTP/2, and the http2.Handler of its connection.
type mux struct {
	pool   *pool
	conn   *http2.Conn
	calls  int  // that use it, or were granted it
	idle   bool // in the list of idle connections
	leaves bool // it takes no more calls
	ceded  bool // its slot belongs to another connection
}

var (
	// ErrNotHTTP2 means that a server has not selected HTTP/2.
	ErrNotHTTP2 = errors.New("the server does not speak HTTP/2")
	// ErrForeignConn means that Options.Dial has returned a connection that does not belong to the loop of the task.
	ErrForeignConn = errors.New("HTTP/2 in a task needs a connection of a reactor.Dialer")
)

// http2Limits returns the bounds of a pool's connections. Idle connections are closed by the pool.
func http2Limits(o *Options) *http2.Limits {
	l := http2.DefaultLimits()
	l.HeadBytesMax, l.TrailerBytesMax, l.FieldsMax = o.Limits.HeadBytesMax, o.Limits.TrailerBytesMax, o.Limits.HeaderCountMax
	l.IdleTimeout, l.HeadTimeout, l.WriteTimeout = 0, o.HeadTimeout, o.BodyTimeout
	return &l
}

// connectMux returns a connection with room for a call, which counts as one of mux.calls.
func (x *call) connectMux() (*conn, error) {
	p := x.pool
	for {
		c, slot, err := p.acquireMux(x)
		if err != nil {
			kind := KindBusy
			if err == ErrClosed {
				kind = KindCancelled
			}
			return nil, &Error{Kind: kind, Stage: StagePool, Addr: x.host.addr, Err: err}
		}
		for c == nil {
			if slot {
				if err := p.checkFruitless(x.host); err != nil {
					return nil, err
				}
				if err := p.dialFor(x); err != nil {
					return nil, err
				}
			}
			if c, slot, err = x.awaitConn(x.host.coming() > 0); err != nil {
				return nil, err
			}
			if slot {
				x.host.promised--
			}
		}
		if !c.mux.leaves {
			return c, nil
		}
		p.releaseMux(c) // it was granted, and began to leave before x ran
	}
}

// checkFruitless ends the waits for h, and frees a slot of it, if its server has accepted fruitlessMax connections since its last response
// without taking a request.
func (p *pool) checkFruitless(h *host) error {
	if h.fruitless < fruitlessMax {
		return nil
	}
	h.fruitless = 0
	err := &Error{Kind: KindLost, Stage: StagePool, Addr: h.addr, Unprocessed: true, Err: http2.ErrNotProcessed}
	p.failWaiters(h, err)
	p.freeSlot(h)
	return err
}

// acquireMux returns a connection with room, or a slot for a new one. If there is neither, it adds x to the wait queue.
func (p *pool) acquireMux(x *call) (c *conn, slot bool, err error) {
	h, o := x.host, &p.client.options
	if p.client.closed.Load() {
		return nil, false, ErrClosed
	}
	if c := p.roomyMux(h); c != nil {
		p.takeMux(c)
		return c, false, nil
	}
	switch {
	case p.needsMux(h) && p.acquireSlot():
		h.open++
		return nil, true, nil
	case len(h.waiters) >= o.WaitersMax:
		return nil, false, ErrQueueFull
	}
	p.enqueue(x)
	return nil, false, nil
}

// coming returns how many connections are being opened, or are about to be.
func (h *host) coming() int { return h.dialing + h.promised }

// needsMux reports whether another call in the wait queue of h needs another connection.
func (p *pool) needsMux(h *host) bool {
	return len(h.waiters) >= h.coming()*h.streams && h.open < p.client.options.ConnsPerHostMax
}

// roomyMux returns the oldest connection of h that takes another call, so that the newer ones become idle; nil if there is none.
func (p *pool) roomyMux(h *host) *conn {
	for _, c := range h.muxes {
		m := c.mux
		used := max(m.calls, m.conn.Streams())
		if used < p.client.options.StreamsMax && m.conn.Capacity() > m.calls-m.conn.Streams() && !m.leaves {
			return c
		}
	}
	return nil
}

func (p *pool) takeMux(c *conn) {
	c.mux.calls++
	if c.mux.idle {
		c.mux.idle = false
		p.removeIdle(c)
	}
}

// releaseMux ends the use of c by one call.
func (p *pool) releaseMux(c *conn) {
	c.mux.calls--
	p.settleMux(c)
	p.grantMuxes(c.host)
}

// settleMux makes a connection idle that carries no call, or closes it.
func (p *pool) settleMux(c *conn) {
	m, h := c.mux, c.host
	switch {
	case m.calls > 0 || m.idle || m.conn.Ended():
	case m.leaves:
	case p.client.closed.Load() || len(h.idle) >= p.client.options.IdlePerHostMax || p.client.slots.waiting.Load() > 0 && len(h.waiters) == 0:
		m.leave(c)
	default:
		m.idle = true
		p.addIdle(c)
	}
}

// grantMuxes gives connections with room to the calls in the wait queue of h, and lets the first of the others open one.
func (p *pool) grantMuxes(h *host) {
	for len(h.waiters) > 0 {
		c := p.roomyMux(h)
		if c == nil {
			break
		}
		p.takeMux(c)
		p.grant(h, c)
	}
	if len(h.waiters) > h.coming()*h.streams && p.needsMux(h) && !p.client.closed.Load() && p.acquireSlot() {
		h.open++
		p.grant(h, nil)
	}
}

// leave takes c out of use. Its streams are still completed; then it is closed.
func (m *mux) leave(c *conn) {
	m.drop(c)
	m.conn.Shutdown()
}

// drop removes c from the connections that take calls.
func (m *mux) drop(c *conn) {
	if m.leaves {
		return
	}
	m.leaves = true
	if m.idle {
		m.idle = false
		m.pool.removeIdle(c)
	}
	h := c.host
	for i := range h.muxes {
		if h.muxes[i] == c {
			h.muxes = append(h.muxes[:i], h.muxes[i+1:]...)
			break
		}
	}
}

// dialMux opens a connection for HTTP/2, without sending anything on it but a TLS handshake.
func (p *pool) dialMux(ctx context.Context, t *loop.Task, h *host, deadline time.Time) (*reactor.Conn, *Error) {
	raw, err := p.dial(ctx, t, true, h.network, h.addr)
	if err != nil {
		return nil, dialError(StageDial, h, err)
	}
	rc := reactor.ConnOf(raw)
	if rc == nil || rc.Loop() != p.loop {
		_ = raw.Close()
		return nil, dialError(StageDial, h, ErrForeignConn)
	}
	if h.tls == nil {
		return rc, nil
	}
	if err := reactor.ClientTLS(t, rc, h.tls, time.Until(deadline)); err != nil {
		f := dialError(StageTLS, h, err)
		if errors.Is(err, reactor.ErrHandshakeTimeout) {
			f.Kind = KindTimeout
		}
		return nil, f
	}
	if state := rc.TLS(); state == nil || state.NegotiatedProtocol != string(HTTP2) {
		rc.Abort(nil)
		return nil, dialError(StageTLS, h, ErrNotHTTP2)
	}
	return rc, nil
}

// addMux begins HTTP/2 on a new connection, outside of tasks.
func (p *pool) addMux(h *host, rc *reactor.Conn) {
	c := &conn{host: h, pristine: true}
	c.mux = &mux{pool: p}
	rc.NoLinger()
	c.mux.conn = http2.NewClient(rc, &p.shared, (*muxEvents)(c))
	c.mux.conn.AssumePeerStreams(h.streams)
	h.muxes = append(h.muxes, c)
	if rc.Closed() { // since the end of the dial
		c.mux.conn.Closed(rc, net.ErrClosed)
		return
	}
	c.mux.conn.Data(rc)
	p.grantMuxes(h)
	p.settleMux(c)
}

// failWaiters ends the waits for connections to h that cannot be opened.
func (p *pool) failWaiters(h *host, err error) {
	if len(h.muxes) > 0 || h.coming() > 0 {
		return
	}
	for len(h.waiters) > 0 {
		x := h.waiters[0]
		p.unqueue(x)
		x.failed = err
		x.wake(true)
	}
}

// muxEvents is a conn as an http2.Handler.
type muxEvents conn

// Begin implements http2.Handler. Servers open no streams, because push is disabled.
func (e *muxEvents) Begin(s *http2.Stream, _ http2.Section) { s.Release() }

// Progress implements http2.Handler: the connection may have room.
func (e *muxEvents) Progress(c *http2.Conn) {
	p := e.mux.pool
	e.host.streams = min(max(c.PeerStreams(), 1), p.client.options.StreamsMax)
	p.grantMuxes(e.host)
}

// Failed implements http2.Handler. The calls receive the error.
func (e *muxEvents) Failed(*http2.Conn, *http2.Error) {}

// GoingAway implements http2.Handler.
func (e *muxEvents) GoingAway(*http2.Conn) { e.mux.drop((*conn)(e)) }

// Closed implements http2.Handler: the slot is free.
func (e *muxEvents) Closed(*http2.Conn, error) {
	m, h := e.mux, e.host
	m.drop((*conn)(e))
	if e.pristine && (m.calls > 0 || len(h.waiters) > 0) {
		h.fruitless++
	}
	if !m.ceded {
		m.pool.freeSlot(h)
	}
}
