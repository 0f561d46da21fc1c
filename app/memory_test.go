// This file is the in-memory driver of this package's tests: a loop on a clock that moves only when told, and clients
// without sockets.

package app

import (
	"io"
	"math"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// rig is one loop with an App on it.
type rig struct {
	t     testing.TB
	loop  *loop.Loop
	hub   *hub
	now   int64
	woken bool
	alarm int64
}

func (r *rig) Now() int64        { r.now++; return r.now }
func (r *rig) Wake()             { r.woken = true }
func (r *rig) WakeAfter(d int64) { r.alarm = r.now + d }

// newRig makes a rig whose wall clock begins at a Sunday in 1994, the example of RFC 9110 section 5.6.7.
func newRig(t testing.TB, a *App, limits loop.Limits) *rig {
	t.Helper()
	a.freeze()
	r := &rig{t: t, now: 1, alarm: math.MaxInt64}
	r.loop = loop.New(0, r, limits, quiet)
	begin := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	r.hub = newHub(a, r.loop, func() time.Time { return begin.Add(time.Duration(r.now)) })
	t.Cleanup(func() {
		require.Zero(t, r.hub.active, "handlers left behind")
		require.Zero(t, r.loop.Stats().TasksAlive, "tasks left behind")
	})
	return r
}

// settle turns the loop until nothing asks for another turn.
func (r *rig) settle() {
	for range 10_000 {
		if !r.woken {
			return
		}
		r.woken = false
		r.loop.Turn()
	}
	require.Fail(r.t, "the loop never settles")
}

// advance moves the clock, stopping at every alarm on the way.
func (r *rig) advance(d time.Duration) {
	end := r.now + int64(d)
	for r.alarm <= end {
		r.now, r.alarm = max(r.now, r.alarm), math.MaxInt64
		r.loop.Turn()
		r.settle()
	}
	r.now = max(r.now, end)
	r.settle()
}

// peer is a client: what it sends is delivered at once, what it is sent gathers in got.
type peer struct {
	rig    *rig
	conn   *loop.Conn
	got    []byte
	room   int // bytes it takes before the rest is held back
	held   []byte
	eof    bool // the server has ended its side
	closed bool // the connection is gone
}

func (r *rig) dial() *peer {
	p := &peer{rig: r, room: math.MaxInt}
	p.conn = r.loop.Open(p, nil)
	p.conn.SetHandler(r.hub.open(p.conn))
	r.loop.Post(func() {}) // the turn in which a driver would have opened it
	r.settle()
	return p
}

func (p *peer) Write(b []byte) (int, error) {
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	n := min(len(b), p.room)
	p.got = append(p.got, b[:n]...)
	p.room -= n
	p.held = append(p.held, b[n:]...)
	return len(b), nil
}

func (p *peer) Unsent() int          { return len(p.held) }
func (p *peer) CloseWrite() error    { p.eof = true; return nil }
func (p *peer) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234} }
func (p *peer) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80} }
func (p *peer) Fd() int              { return -1 }
func (p *peer) Close() error {
	p.closed = true
	p.conn.Hangup(nil)
	return nil
}

// send delivers s and lets the loop do all it can do without the clock.
func (p *peer) send(s string) {
	if !p.closed {
		p.conn.Deliver([]byte(s))
	}
	p.rig.settle()
}

// sendSlowly delivers s byte by byte.
func (p *peer) sendSlowly(s string) {
	for i := range len(s) {
		p.send(s[i : i+1])
	}
}

// read lets the client take n more bytes.
func (p *peer) read(n int) {
	k := min(n, len(p.held))
	p.got = append(p.got, p.held[:k]...)
	p.held = append([]byte(nil), p.held[k:]...)
	p.room += n - k
}

// hangUp ends the connection from the client's side.
func (p *peer) hangUp() {
	if !p.closed {
		p.closed = true
		p.conn.Hangup(io.EOF)
	}
	p.rig.settle()
}

// taken returns what was sent since the last call.
func (p *peer) taken() string {
	s := string(p.got)
	p.got = p.got[:0]
	return s
}
