// Serve: each message starts a task, and a client that sends nothing has none.

package websocket

import (
	"context"
	"errors"
	"time"

	"tafe/loop"
)

// Message is a received message, for the function of Serve. It is a context.Context that is cancelled when the connection breaks; a close
// frame of the client does not cancel the messages that it has sent before. A Message and its Data are valid until the function returns.
type Message struct {
	Kind Kind
	Data []byte
	conn *Conn
	task *loop.Task
}

// Conn returns the connection of the message.
func (m *Message) Conn() *Conn { return m.conn }

// Task returns the task that runs the function.
func (m *Message) Task() *loop.Task { return m.task }

// Deadline implements context.Context. There is none.
func (m *Message) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

// Done implements context.Context.
func (m *Message) Done() <-chan struct{} { return m.task.Done() }

// Err implements context.Context.
func (m *Message) Err() error { return m.task.Err() }

// AfterFunc is for package context, as app.Context.AfterFunc.
func (m *Message) AfterFunc(f func()) (stop func() bool) { return m.task.AfterFunc(f) }

// Value implements context.Context. It returns nil.
func (m *Message) Value(any) any { return nil }

var _ context.Context = (*Message)(nil)

// Route gives the tasks of messages the description and the limits of requests on the same route.
type Route interface {
	// BeginMessage describes a task of conn to the watchdog and sets its limits. blocking says that the task runs beside the loop from
	// the beginning. On the loop.
	BeginMessage(t *loop.Task, conn *loop.ConnLabel) (blocking bool)
	// EndMessage records the handoffs of a task at its end. On the loop.
	EndMessage(t *loop.Task)
}

// Serve lets the handler return while the connection stays open:
//
//	return ws.Serve(onMessage, nil)
//
// onMessage is called for each message, in order, one at a time, in a task of its own, which may wait. A client that sends nothing costs
// no task and no buffer. An error closes the connection with code 1011 and is logged, unless it is a *CloseError. onClosed, if it is not
// nil, is called once in a task after the connection was closed and the last onMessage has returned. Serve does not wait; it returns nil,
// so that it can end a handler.
func (c *Conn) Serve(onMessage func(*Message) error, onClosed func(c *Conn, err error)) error {
	t := c.set.config.Loop.Current()
	defer t.Leave(t.Enter())
	c.release()
	c.onMessage, c.onClosed = onMessage, onClosed
	return nil
}

// deliver wakes Read, or starts the task of Serve, if a message is ready. On the loop.
func (c *Conn) deliver() {
	switch {
	case c.onMessage == nil:
		if c.ready {
			c.reader.Wake()
		}
	case c.messaging || c.task != nil: // Done, or HandlerDone, calls again
	case c.ended:
		c.ending()
	case c.ready && !c.sentClose:
		c.start((*messageTask)(c))
	case c.goingAway:
		c.closeGoingAway()
	}
}

// start starts a task of Serve.
func (c *Conn) start(r loop.Runner) {
	c.messaging = true
	t, err := c.set.config.Loop.Start(r)
	if err != nil {
		c.messaging = false
		c.close(TryAgainLater, "too many tasks")
		return
	}
	c.task, c.cancels = t, true
}

// ending starts onClosed, once, after the connection has ended. It tries again later if the loop has too many tasks.
func (c *Conn) ending() {
	if !c.ended || c.onClosed == nil || c.messaging || c.task != nil {
		return
	}
	l := c.set.config.Loop
	switch t, err := l.StartReserved((*closedTask)(c)); err {
	case nil:
		c.task, c.messaging = t, true
	case loop.ErrTooManyTasks:
		l.AfterFunc(&loop.Timer{Owner: c}, closedRetry, func(t *loop.Timer) { t.Owner.(*Conn).ending() })
	}
}

// closedRetry is the time between two tries to start onClosed.
const closedRetry = 100 * time.Millisecond

// messageTask is the loop.Runner of one message.
type messageTask Conn

// Run calls onMessage.
func (r *messageTask) Run(t *loop.Task) {
	c := (*Conn)(r)
	m := Message{conn: c, task: t}
	var compressed bool
	m.Kind, m.Data, compressed = c.take()
	c.outside(t)
	var err error
	if m.Data, err = c.content(t, m.Kind, m.Data, compressed); err == nil {
		err = c.onMessage(&m)
	}
	t.Enter()
	if closed := (*CloseError)(nil); err != nil && !errors.As(err, &closed) {
		c.failed(err)
	}
}

// outside begins user code.
func (c *Conn) outside(t *loop.Task) {
	if c.route != nil && c.route.BeginMessage(t, c.conn.Label()) {
		t.Beside()
		return
	}
	t.Leave(true)
}

// failed reports an error of user code and closes the connection.
func (c *Conn) failed(err error) {
	if c.set.config.Failed != nil && !errors.Is(err, loop.ErrShutdown) {
		c.set.config.Failed(c, err)
	}
	c.close(InternalError, "")
}

// Done continues with the next message.
func (r *messageTask) Done(t *loop.Task, err error) {
	c := (*Conn)(r)
	if c.route != nil {
		c.route.EndMessage(t)
	}
	c.task, c.cancels, c.messaging = nil, false, false
	if err != nil {
		c.failed(err)
	}
	c.release()
	c.deliver()
}

// closedTask is the loop.Runner of onClosed.
type closedTask Conn

// Run calls onClosed.
func (r *closedTask) Run(t *loop.Task) {
	c := (*Conn)(r)
	f := c.onClosed
	c.onClosed = nil
	c.outside(t)
	f(c, c.err)
	t.Enter()
}

// Done reports a panic.
func (r *closedTask) Done(_ *loop.Task, err error) {
	c := (*Conn)(r)
	c.task, c.messaging, c.onClosed = nil, false, nil
	if err != nil {
		c.failed(err)
	}
}
