package app

// The in-memory driver of this package's tests: a loop on a clock that a test moves, and clients without sockets.

import (
	"io"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// rig is one loop with an App on it.
type rig struct {
	t       testing.TB
	loop    *loop.Loop
	reactor *reactor.Reactor
	state   *loopState
	now     atomic.Int64
	woken   chan struct{}
	alarm   int64
	peers   []*peer // whose connections are open
}

func (r *rig) Now() int64      { return r.now.Add(1) }
func (r *rig) WakeAt(at int64) { r.alarm = at }
func (r *rig) Flush()          { r.reactor.Flush() }

// Wake is the loop.Driver's. Any goroutine.
func (r *rig) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// newRig makes a rig whose wall clock begins at a Sunday in 1994, the example of RFC 9110 section 5.6.7.
func newRig(t testing.TB, a *App, limits reactor.Limits) *rig {
	t.Helper()
	a.freeze()
	r := &rig{t: t, alarm: math.MaxInt64, woken: make(chan struct{}, 1)}
	r.now.Store(1)
	r.loop = loop.New(0, r, limits.Limits, quiet)
	r.reactor = reactor.Memory(r.loop, limits)
	begin := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	r.state = newLoopState(a, r.loop, func() time.Time { return begin.Add(time.Duration(r.now.Load())) })
	t.Cleanup(func() {
		require.Zero(t, r.state.active, "handlers left behind")
		require.Zero(t, r.loop.Observe().Stats().TasksAlive, "tasks left behind")
		r.on(func() { r.loop.Drive().Shutdown(); r.loop.Drive().Close() })
	})
	return r
}

// on runs f on the loop, in a turn of its own.
func (r *rig) on(f func()) {
	r.loop.Drive().BeginTurn()
	f()
	r.loop.Drive().EndTurn()
}

// settle turns the loop until nothing asks for another turn and no connection has an event.
func (r *rig) settle() {
	for range 100_000 {
		if !r.step() {
			r.peers = slices.DeleteFunc(r.peers, func(p *peer) bool { return p.closed })
			return
		}
	}
	require.Fail(r.t, "the loop never settles")
}

// await lets goroutines beside the loop wake it until ok.
func (r *rig) await(ok func() bool) {
	r.t.Helper()
	late := time.After(patience)
	for r.settle(); !ok(); r.settle() {
		select {
		case <-r.woken:
			r.loop.Drive().Turn()
		case <-late:
			require.Fail(r.t, "nothing wakes the loop")
		}
	}
}

func (r *rig) step() (more bool) {
	select {
	case <-r.woken:
		more = true
		r.loop.Drive().Turn()
	default:
	}
	for _, p := range r.peers {
		more = p.event() || more
	}
	return more
}

// advance moves the clock, stopping at every alarm on the way.
func (r *rig) advance(d time.Duration) {
	r.settle()
	end := r.now.Load() + int64(d)
	for r.alarm <= end {
		r.now.Store(max(r.now.Load(), r.alarm))
		r.alarm = math.MaxInt64
		r.loop.Drive().Turn()
		r.settle()
	}
	r.now.Store(max(r.now.Load(), end))
	r.settle()
}

// peer is a client, and the reactor.Transport of its connection: what it sends is delivered at once, what it is sent gathers in got.
type peer struct {
	rig  *rig
	conn *reactor.Conn

	in    []byte // sent, and not read by the server
	fin   bool   // nothing follows
	reset bool

	got    []byte
	writes int  // calls of Write that brought something
	room   int  // bytes it takes before the rest is held back
	eof    bool // the server has ended its side
	closed bool // the connection is gone

	wantRead, wantWrite bool
}

func (r *rig) dial() *peer { return r.dialAs(&Listener{}) }

// dialAs is dial for a listener.
func (r *rig) dialAs(l *Listener) *peer {
	p := &peer{rig: r, room: math.MaxInt, wantRead: true}
	r.peers = append(r.peers, p)
	r.on(func() {
		p.conn = r.reactor.Open(p, nil)
		p.conn.SetHandler(r.state.openFor(p.conn, l))
	})
	r.settle()
	return p
}

// event gives the connection one event of a level-triggered poller; false: there is none.
func (p *peer) event() bool {
	switch {
	case p.closed:
		return false
	case p.wantRead && (len(p.in) > 0 || p.fin || p.reset):
		p.readable()
	case p.reset:
		p.rig.on(func() { p.conn.Abort(syscall.ECONNRESET) })
	case p.wantWrite && p.room > 0:
		p.rig.on(p.conn.Writable)
	default:
		return false
	}
	return true
}

func (p *peer) readable() {
	p.rig.loop.Drive().BeginTurn()
	p.conn.Readable()
	p.rig.loop.Drive().EndTurn()
}

// Read is the Transport's, as all methods up to FD.
func (p *peer) Read(first, then []byte) (int, error) {
	switch {
	case p.reset:
		return 0, syscall.ECONNRESET
	case len(p.in) == 0 && p.fin:
		return 0, io.EOF
	}
	n := copy(first, p.in)
	n += copy(then, p.in[n:])
	p.in = p.in[n:]
	return n, nil
}

func (p *peer) Write(b []byte) (int, error) {
	if p.closed || p.reset {
		return 0, syscall.EPIPE
	}
	n := min(len(b), p.room)
	if n > 0 {
		p.writes++
	}
	p.got = append(p.got, b[:n]...)
	p.room -= n
	return n, nil
}

func (p *peer) Unsent() int           { return 0 }
func (p *peer) Want(read, write bool) { p.wantRead, p.wantWrite = read, write }
func (p *peer) CloseWrite() error     { p.eof = true; return nil }
func (p *peer) Close(bool)            { p.eof, p.closed = true, true }
func (p *peer) RemoteAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234} }
func (p *peer) LocalAddr() net.Addr   { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80} }
func (p *peer) FD() int               { return -1 }

// deliver has s arrive in one turn of the loop, and nothing else happen.
func (p *peer) deliver(s []byte) {
	p.in = s
	p.readable()
}

// send delivers s and lets the loop do all it can do without the clock.
func (p *peer) send(s string) {
	if !p.closed {
		p.in = append(p.in, s...)
	}
	p.rig.settle()
}

// sendSlowly delivers s byte by byte.
func (p *peer) sendSlowly(s string) {
	for i := range len(s) {
		p.send(s[i : i+1])
	}
}

// finish ends the client's direction of the stream; it still reads.
func (p *peer) finish() {
	p.fin = true
	p.rig.settle()
}

// read lets the client take n more bytes.
func (p *peer) read(n int) {
	p.room += n
	p.rig.settle()
}

// hangUp breaks the connection from the client's side, with a reset.
func (p *peer) hangUp() {
	p.reset = true
	p.rig.settle()
}

// taken returns what was sent since the last call.
func (p *peer) taken() string {
	s := string(p.got)
	p.got = p.got[:0]
	return s
}
