// Tunnels: connections after a switch to another protocol such as WebSocket. Bytes are copied in both directions.

package proxy

import (
	"cmp"
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
	tunnelBytesMin = 2 << 10  // initial buffer of each direction
	tunnelBytes    = 16 << 10 // buffer after the first was full once
)

// upgrade connects the client with the server by a tunnel. The tunnel calls g.finish when it ends.
func (f *Forwarder) upgrade(c *app.Context, x *forward, s *server) error {
	g := f.group
	head, err := f.switchingHead(c, x)
	if err != nil {
		g.finish(s, true)
		return &app.HTTPError{Status: 502, Message: messages[reasonProtocol], Reason: reasonProtocol.String(), Err: err}
	}
	upstream, err := x.resp.Upgrade()
	if err != nil {
		g.finish(s, true)
		return &app.HTTPError{Status: 502, Message: messages[reasonLost], Reason: reasonLost.String(), Err: err}
	}
	client, err := c.Hijack()
	if err != nil {
		_ = upstream.Close()
		g.finish(s, false)
		return err
	}
	g.counts.tunnels.Add(1)
	g.counts.tunnelsOpen.Add(1)
	t := &tunnel{client: client, server: upstream, idle: cmp.Or(f.options.StreamIdle, StreamIdleDefault), base: time.Now(), head: head}
	t.closed = func() {
		g.counts.tunnelsOpen.Add(-1)
		g.finish(s, false)
	}
	task := c.Task()
	defer task.Leave(task.Enter())
	t.start(c.Loop())
	return nil
}

// switchingHead returns the head of the 101 response to the client.
func (f *Forwarder) switchingHead(c *app.Context, x *forward) ([]byte, error) {
	b := httpparse.AppendStatusLine(nil, 101)
	b = append(b, "Connection: upgrade\r\n"...)
	var err error
	x.setConnectionOptions(x.resp.Headers)
	for i := range x.resp.Headers {
		f := &x.resp.Headers[i]
		name := httpparse.ViewString(f.Name)
		if !x.passes(name) && !strings.EqualFold(name, "Upgrade") || computed(name) {
			continue
		}
		if b, err = httpparse.AppendHeaderBytes(b, f.Name, f.Value); err != nil {
			return nil, err
		}
	}
	if value := f.stickyCookie(c, x); value != "" {
		if b, err = httpparse.AppendHeader(b, "Set-Cookie", value); err != nil {
			return nil, err
		}
	}
	return httpparse.AppendHeadEnd(b), nil
}

// tunnel copies bytes in both directions, with one task for each, until both have ended or no bytes have moved for
// the idle time. The end of one direction is forwarded and leaves the other open. A peer that does not read blocks
// the other direction's sender; the write timeout, which equals the idle time, then ends the tunnel.
type tunnel struct {
	client, server net.Conn
	head           []byte // the 101 response, sent to the client first
	idle           time.Duration
	base           time.Time
	last           atomic.Int64 // time of the last transfer, relative to base
	ends           int          // directions that have ended; used on the loop only
	closed         func()
}

// direction implements loop.Runner for one direction of a tunnel.
type direction struct {
	t        *tunnel
	to, from net.Conn
	head     []byte
}

// tunnelName is the name of the tasks of tunnels in reports of the watchdog.
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
	task.Describe(&tunnelName, nil, nil, nil, nil, nil)
	task.Outside(func() {
		if w, ok := d.to.(interface{ CloseWrite() error }); d.run() && ok && w.CloseWrite() == nil {
			return
		}
		_ = d.t.client.Close()
		_ = d.t.server.Close()
	})
}

// Done implements loop.Runner. It is also called if the task could not be started.
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

// run copies until the direction ends. It returns false if the whole tunnel ends, by an error or because it is idle.
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
			t.touch() // the receiver has accepted data
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

// moved reports whether the other direction has moved bytes while this one was idle.
func (t *tunnel) moved() bool { return time.Since(t.base)-time.Duration(t.last.Load()) < t.idle }
