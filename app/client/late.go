package client

// This file owns answers that come when nobody waits for them any more: they
// are read to their end, for a bounded time, so that the connection need not be
// made anew. It refuses to know who gave up, and why.

import (
	"io"
	"time"

	"tafe/loop"
)

const lateBytesMax = 64 << 10 // of a body: more costs more than a connection

// keeper is a net.Conn, such as loop's, that can stay open when the task that
// waits in its Read is cancelled.
type keeper interface{ KeepOnCancel(keep bool) }

// late is the task that reads an answer nobody waits for. Its exchange is its
// own: the request's belongs to a caller who has gone on.
type late struct {
	x    *exchange
	host *host
	kept bool
}

// lateName is what a watchdog calls such a task.
var lateName = "client: late answer"

// leave ends x's use of its connection. reason is why: if it is that x does not
// wait any longer, the answer is read for nobody, provided that all of it is
// still to come.
func (x *exchange) leave(reason error) {
	if x.conn == nil {
		return
	}
	p, h := x.pool, x.host
	may := x.mayComeLate(reason)
	c, intact := x.disown()
	if !may || !intact {
		p.retire(c)
		return
	}
	l := &late{x: p.newExchange(nil), host: h}
	l.x.host, l.x.method, l.x.closing = h, x.method, false
	l.x.restart(time.Now().Add(l.x.options().LateTimeout))
	l.x.own(c)
	h.late++
	h.users++
	t, err := p.loop.Start(l)
	if err != nil {
		l.Done(nil, err)
		return
	}
	t.SetBackground()
}

func (x *exchange) mayComeLate(err error) bool {
	e, ok := err.(*Error)
	switch o := x.options(); {
	case o.LateTimeout <= 0 || x.pool.loop == nil:
		return false
	case !ok || e.Stage != StageHead || e.Kind != KindTimeout && e.Kind != KindCancelled:
		return false
	default:
		return !x.gotBytes && !x.cut && !x.closing && x.upgrade == "" && x.host.late < o.LateMax && !x.pool.client.closed.Load()
	}
}

// Run implements loop.Runner.
func (l *late) Run(t *loop.Task) {
	t.Observe().Describe(&lateName, nil, nil, nil, nil, nil)
	x := l.x
	x.task = t
	if x.conn.SetDeadline(x.deadline) != nil || x.receiveHead() != nil || x.startBody() != nil {
		return
	}
	if x.body == byLength && x.left > lateBytesMax {
		return
	}
	for total := 0; x.end == nil && total < lateBytesMax; total += x.w {
		x.fillBody()
	}
	l.kept = x.conn == nil && x.end == io.EOF
}

// Done implements loop.Runner.
func (l *late) Done(*loop.Task, error) {
	if l.kept {
		l.x.pool.count.late.Add(1)
	}
	l.host.late--
	l.x.discard()
}
