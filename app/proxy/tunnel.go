// This file owns connections that have stopped being HTTP: a WebSocket, say. Bytes go both ways.

package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/httpparse"
	"tafe/loop"
)

const (
	tunnelBytesMin = 2 << 10  // buffer of each direction, at first
	tunnelBytes    = 16 << 10 // once that was full
)

// upgrade joins the client's connection and the server's. It takes over the end of the request to s.
func (h *Handler) upgrade(c *app.Context, x *exchange, s *server) error {
	g := h.group
	head, err := h.switching(x)
	if err != nil {
		g.done(s, true)
		return &app.HTTPError{Status: 502, Message: messages[reasonProtocol], Reason: reasonProtocol.String(), Err: err}
	}
	upstream, err := x.resp.Upgrade()
	if err != nil {
		g.done(s, true)
		return &app.HTTPError{Status: 502, Message: messages[reasonLost], Reason: reasonLost.String(), Err: err}
	}
	client, err := c.Hijack()
	if err != nil {
		_ = upstream.Close()
		g.done(s, false)
		return err
	}
	g.counts.tunnels.Add(1)
	g.counts.tunnelsOpen.Add(1)
	t := &tunnel{client: client, server: upstream, idle: h.options.TunnelIdle, base: time.Now(), head: head}
	t.closed = func() {
		g.counts.tunnelsOpen.Add(-1)
		g.done(s, false)
	}
	task := c.Task()
	defer task.Leave(task.Enter())
	t.start(c.Loop())
	return nil
}

// switching is the head of the 101.
func (h *Handler) switching(x *exchange) ([]byte, error) {
	b := httpparse.AppendStatusLine(nil, 101)
	b = append(b, "Connection: upgrade\r\n"...)
	var err error
	x.nominate(x.resp.Headers)
	for i := range x.resp.Headers {
		f := &x.resp.Headers[i]
		name := view(f.Name)
		if !x.passes(name) && !strings.EqualFold(name, "Upgrade") || framing(name) {
			continue
		}
		if b, err = httpparse.AppendHeaderBytes(b, f.Name, f.Value); err != nil {
			return nil, err
		}
	}
	return httpparse.AppendHeadEnd(b), nil
}

// tunnel copies both ways, by a task for each direction, until both directions have ended, or nothing has moved for too long. The end
// of one direction is passed on and leaves the other one open. A peer that does not read holds its sender back: it is given up, by its
// connection, when it has taken nothing for as long as a tunnel may be idle.
type tunnel struct {
	client, server net.Conn
	head           []byte // the answer to the client, before all else
	idle           time.Duration
	base           time.Time
	last           atomic.Int64 // when something moved, since base
	ends           int          // directions that have ended; the loop's
	closed         func()
}

// direction is the Runner of one direction.
type direction struct {
	t        *tunnel
	to, from net.Conn
	head     []byte
}

// tunnelName is what the watchdog's reports call the tasks of tunnels.
var tunnelName = "proxy: tunnel"

func (t *tunnel) start(l *loop.Loop) {
	for _, c := range []net.Conn{t.client, t.server} {
		if w, ok := c.(interface{ SetWriteTimeout(time.Duration) error }); ok {
			_ = w.SetWriteTimeout(t.idle)
		}
	}
	for _, d := range []*direction{{t, t.client, t.server, t.head}, {t, t.server, t.client, nil}} {
		if _, err := l.Start(d); err != nil {
			d.Done(nil, err)
		}
	}
}

// Run implements loop.Runner.
func (d *direction) Run(task *loop.Task) {
	task.Observe().Describe(&tunnelName, nil, nil, nil, nil, nil)
	task.Outside(func() {
		if w, ok := d.to.(interface{ CloseWrite() error }); d.run() && ok && w.CloseWrite() == nil {
			return
		}
		_ = d.t.client.Close()
		_ = d.t.server.Close()
	})
}

// Done implements loop.Runner. It is also called for a direction whose task could not start.
func (d *direction) Done(_ *loop.Task, err error) {
	t := d.t
	t.ends++
	if err != nil || t.ends == 2 {
		_ = t.client.Close()
		_ = t.server.Close()
	}
	if t.ends == 2 {
		t.closed()
	}
}

// run copies until the direction has ended. It reports false when the tunnel as a whole has: by an error, or because nothing moved.
func (d *direction) run() bool {
	t := d.t
	if len(d.head) > 0 {
		if _, err := d.to.Write(d.head); err != nil {
			return false
		}
	}
	buf := make([]byte, tunnelBytesMin)
	for {
		_ = d.from.SetReadDeadline(time.Now().Add(t.idle))
		n, err := d.from.Read(buf)
		if n > 0 {
			t.touch()
			if _, err := d.to.Write(buf[:n]); err != nil {
				return false
			}
			t.touch() // the other end has made room
		}
		switch {
		case err == nil:
			if n == len(buf) && n < tunnelBytes {
				buf = make([]byte, tunnelBytes)
			}
		case err == io.EOF:
			return true
		case errors.Is(err, os.ErrDeadlineExceeded) && t.moved():
		default:
			return false
		}
	}
}

func (t *tunnel) touch() { t.last.Store(int64(time.Since(t.base))) }

// moved tells whether the other direction has carried something while this one was idle.
func (t *tunnel) moved() bool { return time.Since(t.base)-time.Duration(t.last.Load()) < t.idle }
