package reactor

// The in-memory driver of this package's own tests: a clock that moves only when
// told, and streams without sockets.

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// manual is a loop.Driver that turns its loop only when told.
type manual struct {
	now   int64
	woken bool
	alarm int64
	r     *Reactor
}

func (m *manual) Now() int64      { m.now++; return m.now }
func (m *manual) Wake()           { m.woken = true }
func (m *manual) WakeAt(at int64) { m.alarm = at }
func (m *manual) Flush()          { m.r.Flush() }

func newManual(t testing.TB, limits Limits) *manual {
	t.Helper()
	m := &manual{now: 1, alarm: math.MaxInt64}
	l := loop.New(0, m, limits.Limits, slog.New(slog.DiscardHandler))
	m.r = Memory(l, limits)
	l.Drive().Turn()
	t.Cleanup(func() {
		m.on(func() { l.Drive().Shutdown(); l.Drive().Close() })
		require.Zero(t, l.Observe().Stats().TasksAlive, "tasks left behind")
	})
	return m
}

// on runs f on the loop, as a callback of its driver.
func (m *manual) on(f func()) {
	m.r.loop.Drive().BeginTurn()
	f()
	m.r.loop.Drive().EndTurn()
}

// settle turns the loop until nothing asks for another turn.
func (m *manual) settle() {
	for range 1000 {
		if !m.woken {
			return
		}
		m.woken = false
		m.r.loop.Drive().Turn()
	}
	panic("the loop never settles")
}

// advance moves the clock, stopping at every alarm on the way.
func (m *manual) advance(d time.Duration) {
	end := m.now + int64(d)
	for m.alarm <= end {
		m.now, m.alarm = max(m.now, m.alarm), math.MaxInt64
		m.r.loop.Drive().Turn()
		m.settle()
	}
	m.now = max(m.now, end)
	m.settle()
}

func (m *manual) stats() Stats { return m.r.Stats() }

// start runs a task; ended is an error of its own until it has.
func (m *manual) start(t testing.TB, run func(*loop.Task)) (ended *error) {
	t.Helper()
	unset := errors.New("still running")
	ended = &unset
	m.on(func() {
		_, err := m.r.loop.Start(&code{run: run, done: func(_ *loop.Task, err error) { *ended = err }})
		require.NoError(t, err)
	})
	return ended
}

// code is a Runner of two functions.
type code struct {
	run  func(*loop.Task)
	done func(*loop.Task, error)
}

func (c *code) Run(t *loop.Task) { c.run(t) }
func (c *code) Done(t *loop.Task, err error) {
	if c.done != nil {
		c.done(t, err)
	}
}

// memory is a Transport without a socket, and its peer.
type memory struct {
	m *manual
	c *Conn

	in    []byte // sent by the peer, and not read
	fin   bool   // the peer has ended its direction
	reset error  // the stream has failed

	sent    []byte // what the peer got
	room    int    // what it takes before writes stay unsent
	ended   bool   // CloseWrite was called
	closed  bool
	aborted bool

	read, write bool // what is wanted
	wants       int  // calls of Want
}

func (m *manual) open(h Handler) (*Conn, *memory) {
	s := &memory{m: m, room: 1 << 30, read: true}
	m.on(func() { s.c = m.r.Open(s, h) })
	return s.c, s
}

func (s *memory) Read(first, then []byte) (int, error) {
	switch {
	case s.closed:
		panic("read of a closed transport")
	case s.reset != nil:
		return 0, s.reset
	case len(first)+len(then) == 0:
		panic("a read without room")
	case len(s.in) == 0 && s.fin:
		return 0, io.EOF
	}
	n := copy(first, s.in)
	n += copy(then, s.in[n:])
	s.in = s.in[n:]
	return n, nil
}

func (s *memory) Write(p []byte) (int, error) {
	switch {
	case s.closed || s.ended && len(p) > 0:
		panic("write on a closed transport")
	case s.reset != nil:
		return 0, s.reset
	}
	n := min(len(p), s.room)
	s.sent = append(s.sent, p[:n]...)
	s.room -= n
	return n, nil
}

// events gives the Conn its events as a level-triggered poller does.
func (s *memory) events() {
	for range 1000 {
		switch {
		case s.closed:
			return
		case s.read && (len(s.in) > 0 || s.fin || s.reset != nil):
			s.m.on(s.c.Readable)
		case s.write && (s.room > 0 || s.reset != nil):
			s.m.on(s.c.Writable)
		default:
			return
		}
		s.m.settle()
	}
	panic("events without an end")
}

// deliver is the peer sending p.
func (s *memory) deliver(p string) { s.in = append(s.in, p...); s.events() }

// finish is the peer ending its direction.
func (s *memory) finish() { s.fin = true; s.events() }

// fail breaks the stream.
func (s *memory) fail(err error) { s.reset = err; s.events() }

// take is the peer reading n bytes.
func (s *memory) take(n int) { s.room += n; s.events() }

func (s *memory) Unsent() int { return 0 }
func (s *memory) Want(read, write bool) {
	s.read, s.write = read, write
	s.wants++
}
func (s *memory) CloseWrite() error    { s.ended = true; return nil }
func (s *memory) Close(abort bool)     { s.closed, s.aborted = true, abort }
func (s *memory) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
func (s *memory) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (s *memory) FD() int              { return -1 }
