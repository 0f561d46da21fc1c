package loop

// The in-memory driver of this package's own tests: a clock that moves only
// when told, and streams without sockets.

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type manual struct {
	now   int64
	woken bool
	alarm int64
}

func (m *manual) Now() int64 { m.now++; return m.now }
func (m *manual) Wake()      { m.woken = true }
func (m *manual) WakeAfter(d int64) {
	m.alarm = m.now + d
}

func newManual(t *testing.T, limits Limits) (*Loop, *manual) {
	t.Helper()
	m := &manual{now: 1, alarm: never}
	l := New(0, m, limits, slog.New(slog.NewTextHandler(io.Discard, nil)))
	l.Turn()
	t.Cleanup(func() {
		l.Shutdown()
		require.Empty(t, l.all, "tasks left behind")
		require.Zero(t, l.tasks)
	})
	return l, m
}

// settle turns the loop until nothing asks for another turn.
func (m *manual) settle(l *Loop) {
	for range 1000 {
		if !m.woken {
			return
		}
		m.woken = false
		l.Turn()
	}
	panic("the loop never settles")
}

// advance moves the clock, stopping at every alarm on the way.
func (m *manual) advance(l *Loop, d time.Duration) {
	end := m.now + int64(d)
	for m.alarm <= end {
		m.now, m.alarm = max(m.now, m.alarm), never
		l.Turn()
		m.settle(l)
	}
	m.now = max(m.now, end)
	m.settle(l)
}

// memory is a Transport that keeps what was sent; room bounds what it takes
// before bytes stay unsent.
type memory struct {
	c      *Conn
	sent   []byte
	room   int
	held   []byte
	eof    bool
	closed bool
	fail   error
}

func (s *memory) Write(p []byte) (int, error) {
	if s.fail != nil {
		s.closed = true
		s.c.Hangup(s.fail)
		return 0, s.fail
	}
	if s.closed {
		return 0, errors.New("write on a closed transport")
	}
	n := min(len(p), s.room)
	s.sent = append(s.sent, p[:n]...)
	s.room -= n
	s.held = append(s.held, p[n:]...)
	return len(p), nil
}

// take lets the peer read n more bytes.
func (s *memory) take(n int) {
	n = min(n, len(s.held))
	s.sent = append(s.sent, s.held[:n]...)
	s.held = append([]byte(nil), s.held[n:]...)
}

func (s *memory) Unsent() int          { return len(s.held) }
func (s *memory) CloseWrite() error    { s.eof = true; return nil }
func (s *memory) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
func (s *memory) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (s *memory) Fd() int              { return -1 }
func (s *memory) Close() error {
	s.closed = true
	s.c.Hangup(nil)
	return nil
}

func openMemory(l *Loop, h Handler) (*Conn, *memory) {
	s := &memory{room: 1 << 30}
	s.c = l.Open(s, h)
	return s.c, s
}

// code is a Runner of two functions.
type code struct {
	run  func(*Task)
	done func(*Task, error)
	task *Task
}

func (c *code) Run(t *Task) { c.task = t; c.run(t) }
func (c *code) Done(t *Task, err error) {
	if c.done != nil {
		c.done(t, err)
	}
}

// on runs f on the loop, as a callback of its driver.
func on(l *Loop, f func()) {
	l.enter()
	f()
	l.leave()
}

func start(t *testing.T, l *Loop, run func(*Task)) (ended *error) {
	t.Helper()
	unset := errors.New("still running")
	ended = &unset
	on(l, func() {
		_, err := l.Start(&code{run: run, done: func(_ *Task, err error) { *ended = err }})
		require.NoError(t, err)
	})
	return ended
}
