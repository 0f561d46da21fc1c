// This file owns connections that stop being HTTP: a handler takes one over, and the server forgets it. What is spoken there
// is the handler's.

package app

import (
	"errors"
	"net/http"

	"tafe/loop"
)

// Upgrade is the protocol that the client asks for instead of HTTP, such as "websocket"; "" if none (RFC 9110 section 7.8).
func (c *Context) Upgrade() string {
	if !c.req.Upgrade {
		return ""
	}
	return c.Header("Upgrade")
}

// Hijack takes the connection from the server, off its loop, before anything was answered: for WebSocket and its like. What
// the client has sent behind the request's head, and was not read, the Bulk reads first. Nothing is written to the connection
// from now on but by its new owner, who must close it; it may outlive the handler, and be used by any one reader and one
// writer. It keeps its place among ServerConfig.ConnMax, and ends with the server: a drain does not wait for it. The error is
// ErrWritten, that of Err, or errors.ErrUnsupported where the connection has no socket.
func (c *Context) Hijack() (*loop.Bulk, error) {
	if c.resp.sent || c.lane.hijacked {
		return nil, ErrWritten
	}
	if c.body.upload != nil {
		return nil, errors.New("app: a body that is being read off the loop cannot be left")
	}
	c.body.wants100 = false
	ok, err := c.detach()
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errors.ErrUnsupported
	}
	c.lane.hijacked = true
	c.body.done = true
	r := &c.resp
	r.sent, r.keepAlive, r.framing = true, false, byNothing
	if r.status == 0 {
		r.status = http.StatusSwitchingProtocols
	}
	c.hub.counts.ByClass[r.status/100%len(c.hub.counts.ByClass)]++
	return c.lane.bulk, nil
}

// abandon forgets the connection, which its handler has taken.
func (y *cycle) abandon() {
	c := y.active
	y.active = nil
	y.conn.SetTimeout(0)
	if y.pinned {
		y.pinned = false
		y.conn.Unpin()
	}
	y.hub.put(c)
	if !y.conn.Closed() {
		y.forgotten = true
		y.hub.closed(y)
	}
	y.hub.checkDrained()
}
