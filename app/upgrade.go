// This file owns connections that stop being HTTP: a handler takes one over, and the server forgets it. What is spoken there
// is the handler's.

package app

import (
	"errors"
	"net"
	"net/http"

	"tafe/loop/reactor"
)

// Upgrade is the protocol that the client calls for instead of HTTP, such as "websocket"; "" if none (RFC 9110 section 7.8).
func (c *Context) Upgrade() string {
	if !c.req.Upgrade {
		return ""
	}
	return c.HeaderList("Upgrade")
}

// Hijack takes the connection from the server before anything was answered: for WebSocket and its like. What the client has sent
// behind the request's head, and was not read, is read first. Nothing is written to the connection from now on but by its new owner,
// who must close it; it may outlive the handler. Tasks that read or write it give their loop back while they wait, other goroutines
// block. Each direction ends by itself: CloseWrite, a method of the result, ends the own one. The connection keeps its place among
// ServerConfig.ConnMax, and ends with the server: a drain waits for it, and for the handler, but when its time is over both end like the server
// and are no failure of the drain. The error is ErrWritten, that of Err, or errors.ErrUnsupported under App.ServeHTTP.
func (c *Context) Hijack() (net.Conn, error) {
	defer c.task.Leave(c.task.Enter())
	switch {
	case c.resp.sent || c.hijacked != nil:
		return nil, ErrWritten
	case c.state.bridged:
		return nil, errors.ErrUnsupported
	case c.http1.conn.Closed():
		return nil, c.gone()
	case c.task.Err() != nil:
		return nil, c.task.Err()
	}
	c.body.wants100 = false
	c.body.done = true
	c.http1.conn.SetTimeout(0)
	c.hijacked = reactor.NewNetConn(c.http1.conn)
	r := &c.resp
	r.sent, r.keepAlive, r.framing = true, false, byNothing
	if r.status == 0 {
		r.status = http.StatusSwitchingProtocols
	}
	c.state.counts.ByClass[r.status/100%len(c.state.counts.ByClass)]++
	c.state.taken.Add(1)
	c.state.stopAwaiting(c.http1)
	return c.hijacked, nil
}

// abandon forgets the connection, which its handler has taken.
func (hc *http1Conn) detach() {
	c := hc.active
	hc.active = nil
	if hc.pinned {
		hc.pinned = false
		hc.conn.Unpin()
	}
	hc.state.taken.Add(-1)
	hc.state.putContext(c)
	hc.state.closed(hc) // the connection's events go to its new owner
	hc.state.checkDrained()
}
