// How clients join and leave a Hub.

package hub

import (
	"errors"
	"net/http"

	"tafe/app"
	"tafe/app/websocket"
	"tafe/loop"
)

// ServeSSE answers the request with a stream of the hub's events, from now on, or from the one after Last-Event-ID if that is kept. It is the
// last call of a handler:
//
//	return h.ServeSSE(c)
//
// On a server, ServeSSE returns at once, and the stream goes on without the handler: an idle client has no task. Where that is not possible, as
// under App.ServeHTTP, it returns when the stream has ended. The stream ends when the client leaves, by Close, and when the server drains.
func (h *Hub) ServeSSE(c *app.Context) error {
	o := app.SSEOptions{Heartbeat: h.options.Heartbeat, Retry: h.options.Retry}
	after := app.LastEventID(c)
	defer c.Task().Leave(c.Task().Enter()) // the stream does not end before it is added
	m := &member{}
	stream, err := app.DetachEvents(c, o, func() { m.leave() })
	if errors.Is(err, errors.ErrUnsupported) {
		return h.serveTask(c, o, after)
	}
	if err != nil {
		return err
	}
	m.client = eventClient{stream}
	if !h.add(m, c.Loop(), after) {
		stream.End()
	}
	return nil
}

// serveTask is ServeSSE with the task of the handler.
func (h *Hub) serveTask(c *app.Context, o app.SSEOptions, after string) error {
	s, err := c.SSE(o)
	if err != nil || c.Method() == http.MethodHead {
		return err
	}
	t := c.Task()
	defer t.Leave(t.Enter())
	client := &taskClient{stream: s, task: t}
	m := &member{client: client}
	if !h.add(m, c.Loop(), after) {
		return nil
	}
	defer func() {
		t.Enter()
		m.leave()
		client.gone()
	}()
	return client.run()
}

// Member is the membership of a WebSocket in a Hub.
type Member struct{ m *member }

// Join makes a WebSocket get the messages of the hub from now on, until it is closed or Leave is called. One WebSocket may join several
// hubs. Only tasks of the WebSocket's loop may call Join. The error is ErrClosed.
func (h *Hub) Join(ws *websocket.Conn) (*Member, error) {
	t := ws.Loop().Current()
	defer t.Leave(t.Enter())
	m := &member{client: socketClient{ws}}
	if !h.add(m, ws.Loop(), "") {
		return nil, ErrClosed
	}
	ws.WhenClosed(m.leave)
	return &Member{m}, nil
}

// Leave ends the membership. Messages that were published before may be lost. Any goroutine may call it, more than once.
func (m *Member) Leave() {
	l := m.m.shard.loop
	t := l.Current()
	defer t.Leave(t.Enter())
	if l.Drive().Owned() {
		m.m.leave()
		return
	}
	l.PostUnbounded(m.m.leave)
}

// add adds m to the shard of l. It reports false if the hub is closed. On the loop.
func (h *Hub) add(m *member, l *loop.Loop, after string) bool {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		m.left = true
		return false
	}
	s := h.shards[l]
	if s == nil {
		s = &shard{hub: h, loop: l}
		h.shards[l] = s
	}
	m.shard, m.position = s, h.last
	number, behind := h.after(after)
	if behind {
		m.position = number
	}
	if s.last != h.last {
		s.wake()
	}
	s.kept, s.last = h.kept, h.last
	h.mu.Unlock()
	m.pos = len(s.members)
	s.members = append(s.members, m)
	h.clients.Add(1)
	if behind {
		m.feed()
	}
	return true
}
