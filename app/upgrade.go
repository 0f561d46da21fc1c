// Hijack: a handler takes over its connection, for protocols other than HTTP. websocket.go and sseclient.go
// detach it to protocols that run on loop events.

package app

import (
	"errors"
	"net"
	"net/http"

	"tafe/httpparse"
	"tafe/loop/reactor"
)

// Upgrade returns the protocol that the client wants to switch to, such as "websocket"; "" if none (RFC 9110 section 7.8).
func (c *Context) Upgrade() string {
	if !c.req.Upgrade {
		return ""
	}
	return c.HeaderList("Upgrade")
}

// Hijack takes the connection over from the server, before a response was written. It is for protocols such as WebSocket. The first reads
// return the input behind the request head that was not read before. The server writes nothing more; the caller must close the connection,
// which may outlive the handler.
//
// Tasks that read or write the connection give their loop back while they wait; other goroutines block. The result has a method CloseWrite
// that closes the sending side only. The connection still counts towards ServerConfig.ConnMax. Server.Drain waits for it and for the handler;
// when the drain's time is over it is closed, which is not an error of the drain.
//
// A WebSocket over HTTP/2 is an extended CONNECT (RFC 8441). It is shown as the GET with Upgrade that it stands for, and Hijack returns a
// net.Conn of its stream. The response head that is written to it first, "HTTP/1.1 101 ..." and fields, is sent as that of HTTP/2.
//
// The error is ErrWritten, that of Err, or errors.ErrUnsupported: under App.ServeHTTP, and over HTTP/2 except for WebSockets.
func (c *Context) Hijack() (net.Conn, error) {
	defer c.task.Leave(c.task.Enter())
	if c.resp.sent {
		return nil, ErrWritten
	}
	conn, err := c.takeConn()
	if err != nil {
		return nil, err
	}
	c.hijacked = reactor.NewNetConn(conn)
	r := &c.resp
	r.sent, r.keepAlive, r.framing = true, false, httpparse.FramingNone
	if r.status == 0 {
		r.status = http.StatusSwitchingProtocols
	}
	c.state.counts.ByClass[r.status/100%len(c.state.counts.ByClass)]++
	return c.hijacked, nil
}

// takeConn ends the request's use of its connection, whether or not a response head was written. The caller makes something else the
// Handler of the result, before it leaves the loop. The errors are those of Hijack. On the loop.
func (c *Context) takeConn() (*reactor.Conn, error) {
	switch {
	case c.taken:
		return nil, ErrWritten
	case c.state.bridged:
		return nil, errors.ErrUnsupported
	case c.wire.closed():
		return nil, c.gone()
	case c.task.Err() != nil:
		return nil, c.task.Err()
	}
	conn, err := c.wire.take(c)
	if err != nil {
		return nil, err
	}
	c.body.wants100 = false
	c.body.done = true
	c.taken = true
	c.state.taken.Add(1)
	return conn, nil
}

// detach releases the request of a hijacked connection, after its handler has returned.
func (hc *http1Conn) detach() {
	c := hc.active
	hc.active = nil
	hc.unpin()
	hc.state.taken.Add(-1)
	hc.state.putContext(c)
	hc.state.closed(&hc.place) // the hijacked connection has its own reactor.Handler
	hc.state.checkDrained()
}
