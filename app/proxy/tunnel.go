// This file owns connections that have stopped being HTTP: a WebSocket, say. Bytes go both ways, off the loop.

package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/httpparse"
	"tafe/loop"
)

const (
	tunnelBytes  = 16 << 10        // buffer of each direction
	tunnelLinger = 5 * time.Second // for the other direction, once one has ended
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
	bulk, err := c.Hijack()
	if err != nil {
		_ = upstream.Close()
		g.done(s, false)
		return err
	}
	g.counts.tunnels.Add(1)
	g.counts.tunnelsOpen.Add(1)
	t := &tunnel{client: bulk, server: upstream, idle: h.options.TunnelIdle, base: time.Now()}
	go func() {
		defer g.counts.tunnelsOpen.Add(-1)
		defer g.done(s, false)
		t.run(head)
	}()
	return nil
}

// switching is the head of the 101.
func (h *Handler) switching(x *exchange) ([]byte, error) {
	b := httpparse.AppendStatusLine(nil, 101)
	b = append(b, "Connection: upgrade\r\n"...)
	var err error
	for i := range x.resp.Headers {
		f := &x.resp.Headers[i]
		name := view(f.Name)
		if hopByHop(name) && len(name) != len("Upgrade") || len(name) == len("Trailer") && name[0]|0x20 == 't' || framing(name) {
			continue
		}
		if b, err = httpparse.AppendHeaderBytes(b, f.Name, f.Value); err != nil {
			return nil, err
		}
	}
	return httpparse.AppendHeadEnd(b), nil
}

// tunnel copies both ways until both directions have ended, or nothing has moved for too long.
type tunnel struct {
	client *loop.Bulk
	server net.Conn
	idle   time.Duration
	base   time.Time
	last   atomic.Int64 // when something moved, since base
}

func (t *tunnel) run(head []byte) {
	defer func() { _ = t.client.Close() }()
	defer func() { _ = t.server.Close() }()
	_ = t.client.SetWriteDeadline(time.Now().Add(t.idle))
	if _, err := t.client.Write(head); err != nil {
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		t.copy(t.server, t.client)
		t.end(t.server)
	})
	t.copy(t.client, t.server)
	t.end(t.client)
	up.Wait()
}

// end passes the end of one direction on, and gives the other one a moment.
func (t *tunnel) end(to net.Conn) {
	if w, ok := to.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	} else {
		_ = to.Close() // a loop's connection ends both ways at once
	}
	soon := time.Now().Add(tunnelLinger)
	_ = t.client.SetDeadline(soon)
	_ = t.server.SetDeadline(soon)
	t.last.Store(-int64(tunnelLinger)) // idle from here on
}

func (t *tunnel) copy(to, from net.Conn) {
	buf := make([]byte, tunnelBytes)
	for {
		wait := t.idle
		if t.last.Load() < 0 {
			wait = tunnelLinger
		}
		_ = from.SetReadDeadline(time.Now().Add(wait))
		n, err := from.Read(buf)
		if n > 0 {
			t.touch()
			_ = to.SetWriteDeadline(time.Now().Add(t.idle))
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && t.moved():
		default:
			return
		}
	}
}

func (t *tunnel) touch() {
	now := int64(time.Since(t.base))
	if last := t.last.Load(); last >= 0 {
		t.last.CompareAndSwap(last, now)
	}
}

// moved tells whether the other direction has carried something while this one was idle.
func (t *tunnel) moved() bool {
	last := t.last.Load()
	return last >= 0 && time.Since(t.base)-time.Duration(last) < t.idle
}
