// Late responses: a response to an abandoned request is read and discarded for a bounded time, so that its connection
// can be reused.

package client

import (
	"io"
	"time"

	"tafe/loop"
)

const lateBytesMax = 64 << 10 // of a body: reading more costs more than a new connection

// cancelKeeper is a net.Conn, such as the reactor's, that can stay open when the task in its Read is cancelled.
type cancelKeeper interface{ KeepOnCancel(keep bool) }

// lateReader is the task that reads a late response. It uses its own call, because the request's call belongs to a
// caller that has continued.
type lateReader struct {
	x    *call
	host *host
	kept bool
}

// lateName is the name of such a task in reports of the watchdog.
var lateName = "client: late response"

// abandonConn detaches the connection after a failed try. If reason is that x no longer waits, and no byte of the
// response has arrived, a lateReader reads the response; otherwise the connection is closed.
func (x *call) abandonConn(reason error) {
	if x.conn == nil {
		return
	}
	p, h := x.pool, x.host
	may := x.keepsLate(reason)
	c, intact := x.detach()
	if !may || !intact {
		p.retire(c)
		return
	}
	l := &lateReader{x: p.newCall(nil), host: h}
	l.x.host, l.x.method, l.x.closing, l.x.bodyTimeout = h, x.method, false, x.bodyTimeout
	l.x.restart(time.Now().Add(l.x.options().LateTimeout))
	l.x.attach(c)
	h.late++
	h.users++
	t, err := p.loop.Start(l)
	if err != nil {
		l.Done(nil, err)
		return
	}
	t.SetBackground()
}

// keepsLate reports whether a lateReader may take the connection of x after err.
func (x *call) keepsLate(err error) bool {
	e, ok := err.(*Error)
	switch o := x.options(); {
	case o.LateTimeout <= 0 || x.pool.loop == nil:
		return false
	case !ok || e.Stage != StageHead || e.Kind != KindTimeout && e.Kind != KindCancelled:
		return false
	default:
		return !x.gotBytes && !x.partial && !x.closing && x.upgrade == "" && x.host.late < o.LateMax && !x.pool.client.closed.Load()
	}
}

// Run implements loop.Runner.
func (l *lateReader) Run(t *loop.Task) {
	t.Describe(&lateName, nil, nil, nil, nil, nil)
	x := l.x
	x.task = t
	if x.conn.SetDeadline(x.deadline) != nil || x.receiveHead() != nil || x.startBody() != nil {
		return
	}
	if x.body.Left() > lateBytesMax {
		return
	}
	for total := 0; x.end == nil && total < lateBytesMax; total += x.w {
		x.fillBody()
	}
	l.kept = x.conn == nil && x.end == io.EOF
}

// Done implements loop.Runner.
func (l *lateReader) Done(*loop.Task, error) {
	if l.kept {
		l.x.pool.count.late.Add(1)
	}
	l.host.late--
	l.x.recycle()
}
