// WebSocket: the opening handshake, and what package websocket needs of this one. Package websocket has the connection.

package app

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"tafe/app/websocket"
	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// WebSocket answers the request with 101, or 200 over HTTP/2 (RFC 8441), and returns its connection. Headers that were set before are part of the response.
//
// If the handler returns while the connection is open, it is closed: with code 1000, after an error or a panic with 1011. With
// websocket.Conn.Serve it stays open. The limits on the time of a handler do not apply from here on. A *websocket.CloseError as the error
// of the handler is not a failure. A drain closes the connection with code 1001.
//
// The error is an HTTPError if the request is not a valid handshake: 426 without an upgrade to websocket or with another version than 13, 403
// for a page of another origin, 503 while the server drains, otherwise 400. It is ErrWritten after a response, and errors.ErrUnsupported under
// App.ServeHTTP.
func (c *Context) WebSocket(o websocket.Options) (*websocket.Conn, error) {
	if c.state.bridged {
		return nil, errors.ErrUnsupported
	}
	o = o.WithDefaults()
	if err := c.checkHandshake(&o); err != nil {
		return nil, err
	}
	defer c.task.Leave(c.task.Enter())
	switch {
	case c.resp.sent:
		return nil, ErrWritten
	case c.resp.bad != nil:
		return nil, c.resp.bad
	case c.state.draining:
		return nil, errShuttingDown
	}
	conn, err := c.takeConn()
	if err != nil {
		return nil, err
	}
	protocol := websocket.ChooseProtocol(o.Protocols, c.HeaderListView("Sec-WebSocket-Protocol"))
	extension := ""
	if o.Compress {
		extension = websocket.NegotiateDeflate(c.HeaderListView("Sec-WebSocket-Extensions"))
	}
	c.switchProtocol(conn, protocol, extension)
	c.unlimitTime()
	c.socket = c.state.webSockets().Accept(websocket.Accepted{
		Conn: conn, Task: c.task, Route: c.state.messageRoute(c.route), Options: o, Protocol: protocol, Deflate: extension != "",
	})
	return c.socket, nil
}

// checkHandshake returns an HTTPError if the request is not an opening handshake (RFC 6455 section 4.2.1).
func (c *Context) checkHandshake(o *websocket.Options) error {
	upgrade := false
	for name := range httpparse.Members(c.Upgrade()) {
		upgrade = upgrade || strings.EqualFold(name, "websocket")
	}
	switch {
	case !upgrade:
		c.SetHeader("Upgrade", "websocket")
		return &HTTPError{Status: http.StatusUpgradeRequired, Message: "this is a WebSocket"}
	case c.HeaderView("Sec-WebSocket-Version") != "13":
		c.SetHeader("Upgrade", "websocket")
		c.SetHeader("Sec-WebSocket-Version", "13")
		return &HTTPError{Status: http.StatusUpgradeRequired, Message: "the version of WebSocket must be 13"}
	case c.Method() != http.MethodGet || c.Proto() == "HTTP/1.0":
		return Error(http.StatusBadRequest, "a WebSocket is opened by GET and HTTP/1.1")
	case c.ContentLength() != 0:
		return Error(http.StatusBadRequest, "a request for a WebSocket has no body")
	case !websocket.ValidKey(c.HeaderView("Sec-WebSocket-Key")):
		return Error(http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64")
	case !websocket.OriginAllowed(c.HeaderView("Origin"), c.HostView(), o.Origins):
		return &HTTPError{Status: http.StatusForbidden, Message: "pages of this origin may not connect", Reason: "websocket-origin"}
	}
	return nil
}

// switchProtocol writes the response that opens the WebSocket. HTTP/2 translates it. On the loop.
func (c *Context) switchProtocol(conn *reactor.Conn, protocol, extension string) {
	r := &c.resp
	r.status, r.sent, r.keepAlive, r.framing = http.StatusSwitchingProtocols, true, false, httpparse.FramingNone
	c.state.counts.ByClass[1]++
	b := httpparse.AppendStatusLine(conn.Output(headRoom+len(r.text)), r.status)
	b = c.appendOwn(b)
	b = append(b, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = append(append(b, websocket.AcceptKey(c.HeaderView("Sec-WebSocket-Key"))...), "\r\n"...)
	if protocol != "" {
		b = append(append(append(b, "Sec-WebSocket-Protocol: "...), protocol...), "\r\n"...)
	}
	if extension != "" {
		b = append(append(append(b, "Sec-WebSocket-Extensions: "...), extension...), "\r\n"...)
	}
	conn.SetOutput(httpparse.AppendHeadEnd(append(b, r.text...)))
}

// unlimitTime removes the deadline of the request, for a connection that stays open.
func (c *Context) unlimitTime() {
	c.timeout, c.deadline = 0, 0
	c.task.SetDeadline(0)
}

// webSockets returns the WebSockets of the loop.
func (ls *loopState) webSockets() *websocket.Set {
	if ls.sockets.Load() == nil {
		ls.sockets.Store(websocket.NewSet(websocket.SetConfig{Loop: ls.loop, Count: ls.reasons.count, Failed: ls.messageFailed}))
	}
	return ls.sockets.Load()
}

// messageFailed counts and logs a failure of a function of websocket.Conn.Serve.
func (ls *loopState) messageFailed(conn *websocket.Conn, err error) {
	reason := "handler-error"
	attrs := []any{"reason", reason, "error", err.Error(), "remote", conn.RemoteAddr()}
	if fault, ok := err.(*loop.PanicError); ok {
		reason = "panic"
		attrs[1] = reason
		attrs = append(attrs, "stack", string(fault.Stack))
	}
	ls.reasons.count(reason)
	ls.app.options.Log.Error("request failed", attrs...)
}

// messageRoute describes the tasks of messages of one route on one loop.
type messageRoute struct {
	route *Route
	state *loopState
}

// messageMethod is shown for the task of a message, in place of the method of a request.
var messageMethod = "MESSAGE"

// messageRoute returns the description of the route's messages; nil without a route.
func (ls *loopState) messageRoute(r *Route) websocket.Route {
	if r == nil {
		return nil
	}
	m := ls.messages[r]
	if m == nil {
		if ls.messages == nil {
			ls.messages = map[*Route]*messageRoute{}
		}
		m = &messageRoute{r, ls}
		ls.messages[r] = m
	}
	return m
}

// BeginMessage implements websocket.Route.
func (m *messageRoute) BeginMessage(t *loop.Task, conn *loop.ConnLabel) (blocking bool) {
	r := m.route
	t.Describe(&r.Name, &messageMethod, nil, nil, nil, conn)
	if r.Budget > 0 {
		t.SetBudget(r.Budget)
	}
	if r.Handoff != 0 {
		t.SetHandoff(r.Handoff)
	}
	return (r.Blocking || r.placement.beside.Load()) && r.placement.starts(r, time.Now())
}

// EndMessage implements websocket.Route.
func (m *messageRoute) EndMessage(t *loop.Task) { m.state.app.placeTask(m.route, t) }
