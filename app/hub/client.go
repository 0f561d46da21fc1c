// The kinds of clients: event streams and WebSockets driven by events of the loop, and event streams that the task of their handler writes,
// which have a queue.

package hub

import (
	"tafe/app"
	"tafe/app/websocket"
	"tafe/loop"
)

// client is one connection. Its methods are called on its loop and do not wait.
type client interface {
	send(m *message)
	unsent() int // bytes
	whenDrained(below int, f func())
	closeSlow() // disconnects a client that does not read
	end()       // ends the stream after what was sent
}

type eventClient struct{ stream *app.EventClient }

func (c eventClient) send(m *message) {
	if m.event != nil {
		c.stream.Send(m.event)
	}
}

func (c eventClient) unsent() int                     { return c.stream.Unsent() }
func (c eventClient) whenDrained(below int, f func()) { c.stream.WhenDrained(below, f) }
func (c eventClient) closeSlow()                      { c.stream.CloseSlow() }
func (c eventClient) end()                            { c.stream.End() }

type socketClient struct{ ws *websocket.Conn }

func (c socketClient) send(m *message)                 { c.ws.Send(m.socket) }
func (c socketClient) unsent() int                     { return c.ws.Unsent() }
func (c socketClient) whenDrained(below int, f func()) { c.ws.WhenDrained(below, f) }
func (c socketClient) closeSlow()                      { c.ws.CloseSlow() }
func (c socketClient) end()                            { c.ws.Close(websocket.Normal, "") }

// taskClient queues messages for the task that writes them.
type taskClient struct {
	stream  *app.SSE
	task    *loop.Task
	waker   loop.Waker
	queue   []*message
	queued  int // bytes
	drained func()
	below   int
	err     error
	ended   bool
}

func (c *taskClient) send(m *message) {
	if m.event != nil {
		c.queue = append(c.queue, m)
		c.queued += m.bytes
		c.waker.Wake()
	}
}

func (c *taskClient) unsent() int { return c.queued }

func (c *taskClient) whenDrained(below int, f func()) { c.below, c.drained = below, f }

func (c *taskClient) closeSlow() {
	c.err = app.ErrSlowClient
	c.end()
}

func (c *taskClient) end() {
	c.ended = true
	c.waker.Wake()
}

// gone calls the function of whenDrained after the end.
func (c *taskClient) gone() {
	if f := c.drained; f != nil {
		c.drained = nil
		f()
	}
}

// run writes messages until the stream ends. The task is on the loop.
func (c *taskClient) run() error {
	for {
		switch {
		case c.err != nil:
			return c.err
		case len(c.queue) > 0:
			m := c.queue[0]
			c.queue = c.queue[1:]
			if err := c.stream.SendEncoded(m.event); err != nil {
				return err
			}
			if c.queued -= m.bytes; c.queued <= c.below {
				c.gone()
			}
			continue
		case c.ended:
			return nil
		}
		c.waker = c.task.Prepare()
		if err := c.task.Park(); err != nil {
			return err
		}
	}
}
