package reactor_test

// A loop without sockets for tests: its clock moves when told, and its connections
// end at peers of the test's.

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

type memoryLoop struct {
	*loop.Loop
	r     *reactor.Reactor
	now   int64
	woken bool
	alarm int64 // 0: none
}

func newMemoryLoop(t testing.TB) *memoryLoop {
	m := &memoryLoop{now: 1}
	m.Loop = loop.New(0, m, loop.Limits{}, slog.New(slog.DiscardHandler))
	m.r = reactor.Memory(m.Loop, reactor.Limits{})
	m.Drive().Turn()
	t.Cleanup(func() {
		m.on(func() { m.Drive().Shutdown(); m.Loop.Drive().Close() })
		require.Zero(t, m.Observe().Stats().TasksAlive)
	})
	return m
}

// Now, Wake, WakeAt and Flush are the loop.Driver.
func (m *memoryLoop) Now() int64      { m.now++; return m.now }
func (m *memoryLoop) Wake()           { m.woken = true }
func (m *memoryLoop) WakeAt(at int64) { m.alarm = at }
func (m *memoryLoop) Flush() {
	if m.r != nil {
		m.r.Flush()
	}
}

// on runs f in a turn of the loop.
func (m *memoryLoop) on(f func()) {
	m.Drive().BeginTurn()
	f()
	m.Drive().EndTurn()
	m.settle()
}

// settle turns the loop until it asks for no other turn.
func (m *memoryLoop) settle() {
	for n := 0; m.woken; n++ {
		if n == 100_000 {
			panic("the loop never settles")
		}
		m.woken = false
		m.Drive().Turn()
	}
}

// advance moves the clock, and stops at each alarm on the way.
func (m *memoryLoop) advance(d time.Duration) {
	end := m.now + int64(d)
	for m.alarm != 0 && m.alarm <= end {
		m.now = max(m.now, m.alarm)
		m.alarm = 0
		m.Drive().Turn()
		m.settle()
	}
	m.now = max(m.now, end)
	m.settle()
}

// run is a task of a memoryLoop.
type run struct {
	m     *memoryLoop
	f     func(*loop.Task)
	task  *loop.Task
	ended bool
}

func (r *run) Run(t *loop.Task)       { t.Outside(func() { r.f(t) }) }
func (r *run) Done(*loop.Task, error) { r.ended = true }
func (r *run) cancel(cause error)     { r.m.on(func() { r.task.Cancel(cause) }) }
func (m *memoryLoop) start(f func(*loop.Task)) *run {
	r := &run{m: m, f: f}
	m.on(func() { r.task, _ = m.Start(r) })
	return r
}

// peer is the other end of a Conn of a memoryLoop.
type peer struct {
	m         *memoryLoop
	conn      *reactor.Conn
	toConn    []byte
	fin       bool
	received  []byte
	room      int // what it takes before it holds the Conn back
	shut      bool
	gone      bool
	read      bool // what the Conn wants
	write     bool
	onReceive func(p *peer, b []byte)
	calls     int   // of Read and Write
	failAt    int   // the call that fails
	failure   error // with this
}

const unbounded = 1 << 40

// open makes a net.Conn and its peer.
func (m *memoryLoop) open() (net.Conn, *peer) {
	p := &peer{m: m, room: unbounded, read: true}
	var n net.Conn
	m.on(func() {
		p.conn = m.r.Open(p, nil)
		n = reactor.NewNetConn(p.conn)
	})
	return n, p
}

func (p *peer) fails() bool {
	p.calls++
	return p.failAt > 0 && p.calls >= p.failAt
}

func (p *peer) Read(first, then []byte) (int, error) {
	if p.fails() {
		return 0, p.failure
	}
	n := copy(first, p.toConn)
	n += copy(then, p.toConn[n:])
	p.toConn = p.toConn[n:]
	if n == 0 && p.fin && len(first)+len(then) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (p *peer) Write(b []byte) (int, error) {
	if p.fails() {
		return 0, p.failure
	}
	n := min(len(b), p.room)
	p.room -= n
	p.received = append(p.received, b[:n]...)
	if p.onReceive != nil && n > 0 {
		p.onReceive(p, b[:n])
	}
	return n, nil
}

func (p *peer) Unsent() int           { return 0 }
func (p *peer) Want(read, write bool) { p.read, p.write = read, write; p.m.Post(p.deliver) }
func (p *peer) CloseWrite() error     { p.shut = true; return nil }
func (p *peer) Close(bool)            { p.gone = true }
func (p *peer) RemoteAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
func (p *peer) LocalAddr() net.Addr   { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 2} }
func (p *peer) FD() int               { return -1 }

// deliver makes the events that a poller would report, on the loop.
func (p *peer) deliver() {
	for !p.gone && p.read && len(p.toConn) > 0 {
		p.conn.Readable()
	}
	if !p.gone && p.read && p.fin {
		p.conn.Readable()
	}
	if !p.gone && p.write && p.room > 0 {
		p.conn.Writable()
	}
}

// send is what the peer writes; it may be called by onReceive.
func (p *peer) send(b string) {
	p.toConn = append(p.toConn, b...)
	p.m.Post(p.deliver)
	if !p.m.Drive().Owned() {
		p.m.settle()
	}
}

// closeWrite sends the peer's FIN.
func (p *peer) closeWrite() {
	p.fin = true
	p.m.on(p.deliver)
}

// stall has the peer take no more than n bytes.
func (p *peer) stall(n int) { p.room = n }

// resume has it take all.
func (p *peer) resume() {
	p.room = unbounded
	p.m.on(p.deliver)
}
