package reactor

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// spy records the events of its connection and runs the test's callbacks.
type spy struct {
	data   func(*Conn)
	closed []error
	times  int
}

func (s *spy) Data(c *Conn) {
	if s.data != nil {
		s.data(c)
	}
}
func (s *spy) Timeout(*Conn)             { s.times++ }
func (s *spy) Closed(_ *Conn, err error) { s.closed = append(s.closed, err) }

func TestConnInput(t *testing.T) {
	m := newManual(t, Limits{InboundMax: 64 << 10})
	h := &spy{}
	c, s := m.open(h)
	require.Nil(t, c.in, "an idle connection holds no buffer")
	m.on(c.Readable)
	require.Nil(t, c.in, "also after an event without bytes")

	s.deliver("hello ")
	s.deliver("world")
	require.Equal(t, "hello world", string(c.Input()))
	m.on(func() { c.Consume(6) })
	require.Equal(t, "world", string(c.Input()))
	m.on(func() { c.Consume(5) })
	require.Nil(t, c.in, "consumed, nothing is held")

	s.deliver("pinned")
	c.Pin()
	view := c.Input()
	big := strings.Repeat("x", 40<<10)
	s.deliver(big)
	m.on(func() { c.Consume(len(view)) })
	_, other := m.open(&spy{})
	other.deliver("SOMEBODY ELSE'S BYTES")
	require.Equal(t, "pinned", string(view), "a pinned view survives growth and other connections' input")
	m.on(c.Unpin)
	require.Equal(t, len(big), len(c.Input()))
	m.on(func() { c.Consume(len(big)) })
	require.Nil(t, c.in)

	s.deliver("last")
	s.fail(syscall.ECONNRESET)
	require.Equal(t, []error{syscall.ECONNRESET}, h.closed)
	m.on(func() { c.Consume(4) })
	require.Empty(t, c.Input(), "a task may still consume what it has seen")
}

// Bytes beyond InboundMax stay in the transport and arrive later, complete and in
// order.
func TestFullInputPausesReading(t *testing.T) {
	const most = 16 << 10
	m := newManual(t, Limits{InboundMax: most})
	c, s := m.open(&spy{})
	want := strings.Repeat("0123456789abcdef", 8<<10)
	s.deliver(want)
	require.Len(t, c.Input(), most)
	require.False(t, s.read, "events are off: they would come again and again")
	require.LessOrEqual(t, cap(c.in), 2*most)

	m.on(c.Resume)
	s.events()
	require.Len(t, c.Input(), most, "Resume does not read beyond InboundMax")

	var got []byte
	for len(got) < len(want) {
		n := min(1000, len(c.Input()))
		require.Positive(t, n)
		got = append(got, c.Input()[:n]...)
		m.on(func() { c.Consume(n) })
		require.LessOrEqual(t, len(c.Input()), most)
		if len(c.Input()) <= most/2 {
			require.True(t, s.read)
		}
		s.events()
		require.LessOrEqual(t, cap(c.in), 2*most)
	}
	require.Equal(t, want, string(got))
	require.Nil(t, c.in)
}

func TestPauseLastsUntilResume(t *testing.T) {
	m := newManual(t, Limits{InboundMax: 8 << 10})
	h := &spy{}
	c, s := m.open(h)
	s.deliver("one")
	m.on(c.Pause)
	s.deliver("two")
	m.on(func() { c.Consume(3) })
	s.events()
	require.Empty(t, c.Input(), "Consume does not end a pause")
	s.finish()
	require.False(t, c.InputEnded(), "the end of input comes after the unread bytes")
	m.on(c.Resume)
	s.events()
	require.Equal(t, "two", string(c.Input()))
	require.True(t, c.InputEnded())
	require.Empty(t, h.closed)

	m.on(c.Close)
	m.on(c.Pause)
	require.Len(t, h.closed, 1, "a connection that is being closed is not paused")
}

// A small pinned buffer that is full must be grown: there is no room in it.
func TestFullPinnedInput(t *testing.T) {
	const most = 64 << 10
	m := newManual(t, Limits{InboundMax: most})
	c, s := m.open(&spy{})
	m.on(c.Pin)
	s.deliver(strings.Repeat("x", most))
	require.Len(t, c.Input(), most)
	m.on(func() { c.Consume(most - 10) })
	s.deliver(strings.Repeat("y", 100))
	require.Equal(t, strings.Repeat("x", 10)+strings.Repeat("y", 100), string(c.Input()))
	require.False(t, c.InputEnded())
	m.on(c.Unpin)
}

func TestHalfClose(t *testing.T) {
	m := newManual(t, Limits{})
	h := &spy{}
	var ended bool
	h.data = func(c *Conn) { ended = c.InputEnded() }
	c, s := m.open(h)
	s.deliver("question")
	require.False(t, ended)
	s.finish()
	require.True(t, ended)
	require.Empty(t, h.closed)
	require.False(t, s.read, "the end would be an event for ever")
	require.Equal(t, "question", string(c.Input()))
	m.on(func() { c.Write([]byte("answer")); c.Close() })
	require.Equal(t, "answer", string(s.sent))
	require.True(t, s.ended)
	require.True(t, s.closed)
	require.Equal(t, []error{nil}, h.closed, "the peer has said all: nothing to wait for")
}

func TestConnOutputIsSentOncePerSlice(t *testing.T) {
	m := newManual(t, Limits{})
	writes := 0
	h := &spy{data: func(c *Conn) {
		c.Write(c.Input())
		c.Write([]byte("!"))
		c.Consume(len(c.Input()))
		writes = len(c.transport.(*memory).sent)
	}}
	c, s := m.open(h)
	s.deliver("abc")
	require.Zero(t, writes, "nothing is sent inside the slice")
	require.Equal(t, "abc!", string(s.sent))
	require.Nil(t, c.out)
	require.Zero(t, m.stats().Timers, "a fast reader costs no timer")
	require.Zero(t, s.wants, "nor a change of events")
}

func TestWriteAfterClose(t *testing.T) {
	m := newManual(t, Limits{})
	c, s := m.open(&spy{})
	s.room = 3
	m.on(func() { c.Write([]byte("before")); c.Close(); c.Write([]byte("after")) })
	require.Equal(t, 3, c.Unsent())
	m.on(func() { c.Write(make([]byte, 100<<10)) })
	s.take(1000)
	require.Equal(t, "before", string(s.sent))
	m.on(func() { c.Write([]byte("later")); c.WriteThrough([]byte("later")) })
	require.Equal(t, "before", string(s.sent))
	require.Zero(t, c.Unsent())
}

// This is the table at the top of conn.go, without the errors.
func TestClosingStates(t *testing.T) {
	flood := strings.Repeat("x", 2*lingerBytes)
	for _, tc := range []struct {
		why   string
		room  int // of 100 bytes
		then  func(m *manual, c *Conn, s *memory)
		state connState
		err   error
	}{
		{"flushing: unsent", 10, func(*manual, *Conn, *memory) {}, connFlushing, nil},
		{"flushing, Close", 10, func(m *manual, c *Conn, _ *memory) { m.on(c.Close) }, connFlushing, nil},
		{"flushing, the peer's FIN", 10, func(_ *manual, _ *Conn, s *memory) { s.finish() }, connFlushing, nil},
		{"flushing, FIN and the rest is taken", 10, func(_ *manual, _ *Conn, s *memory) { s.finish(); s.take(90) }, connEnded, nil},
		{"flushing, much is sent", 10, func(_ *manual, _ *Conn, s *memory) { s.deliver(flood) }, connFlushing, nil},
		{"flushing, much is sent and the rest is taken", 10, func(_ *manual, _ *Conn, s *memory) { s.deliver(flood); s.take(90) }, connEnded, nil},
		{"flushing, Abort", 10, func(m *manual, c *Conn, _ *memory) { m.on(func() { c.Abort(io.ErrNoProgress) }) }, connEnded, io.ErrNoProgress},
		{"flushing, an error", 10, func(_ *manual, _ *Conn, s *memory) { s.fail(syscall.EPIPE) }, connEnded, syscall.EPIPE},
		{"flushing, nothing is taken", 10, func(m *manual, _ *Conn, _ *memory) { m.advance(31 * time.Second) }, connEnded, ErrWriteTimeout},
		{"lingering: all is sent", 100, func(*manual, *Conn, *memory) {}, connLingering, nil},
		{"lingering, a little is sent", 100, func(_ *manual, _ *Conn, s *memory) { s.deliver("more") }, connLingering, nil},
		{"lingering, Abort", 100, func(m *manual, c *Conn, _ *memory) { m.on(func() { c.Abort(io.ErrNoProgress) }) }, connEnded, io.ErrNoProgress},
		{"lingering, the peer's FIN", 100, func(_ *manual, _ *Conn, s *memory) { s.finish() }, connEnded, nil},
		{"lingering, much is sent", 100, func(_ *manual, _ *Conn, s *memory) { s.deliver(flood) }, connEnded, nil},
		{"lingering, for too long", 100, func(m *manual, _ *Conn, _ *memory) { m.advance(3 * time.Second) }, connEnded, nil},
		{"lingering, an error", 100, func(_ *manual, _ *Conn, s *memory) { s.fail(syscall.ECONNRESET) }, connEnded, syscall.ECONNRESET},
	} {
		t.Run(tc.why, func(t *testing.T) {
			m := newManual(t, Limits{})
			h := &spy{data: func(*Conn) { t.Fatal("input after Close is discarded") }}
			c, s := m.open(h)
			s.room = tc.room
			m.on(func() { c.Write(make([]byte, 100)); c.Close(); c.Close() })
			require.Equal(t, tc.room == 100, s.ended, "FIN follows the last byte")
			require.False(t, s.closed, "the peer may still be sending: no reset")
			tc.then(m, c, s)
			require.Equal(t, tc.state, c.state)
			if tc.state != connEnded {
				require.Empty(t, h.closed)
				return
			}
			require.Equal(t, []error{tc.err}, h.closed)
			require.Equal(t, tc.err != nil, s.aborted)
			require.Zero(t, m.stats().Conns)
			require.Zero(t, m.stats().Timers)
			require.Nil(t, c.out)
		})
	}
}

func TestConnWithoutLingering(t *testing.T) {
	m := newManual(t, Limits{})
	h := &spy{}
	c, s := m.open(h)
	m.on(func() { c.NoLinger(); c.Write([]byte("bye")); c.Close() })
	require.Equal(t, "bye", string(s.sent))
	require.True(t, s.closed)
	require.Equal(t, []error{nil}, h.closed)
}

func TestSlowReaderIsDisconnected(t *testing.T) {
	m := newManual(t, Limits{WriteTimeout: time.Second})
	h := &spy{}
	c, s := m.open(h)
	s.room = 0
	m.on(func() { c.Write(make([]byte, 100<<10)) })
	for range 4 { // earns its time as long as it reads
		m.advance(700 * time.Millisecond)
		s.take(writeStep)
		require.Empty(t, h.closed)
	}
	for range 4 { // a trickle does not
		m.advance(500 * time.Millisecond)
		s.take(10)
	}
	require.Equal(t, []error{ErrWriteTimeout}, h.closed)
	require.EqualValues(t, 1, m.stats().ClosedWrite)
}

// Writing more, as an event stream does, does not postpone the write timeout of a
// peer that never reads.
func TestWriteTimeoutCountsProgressOfPeer(t *testing.T) {
	m := newManual(t, Limits{WriteTimeout: time.Second})
	h := &spy{}
	c, s := m.open(h)
	s.room = 50
	for range 30 {
		m.on(func() { c.Write(make([]byte, 20)) })
		m.advance(100 * time.Millisecond)
	}
	require.Equal(t, []error{ErrWriteTimeout}, h.closed)
	require.Len(t, s.sent, 50)
}

func TestDrainStopsWriter(t *testing.T) {
	m := newManual(t, Limits{OutboundMax: 10 << 10})
	c, s := m.open(&spy{})
	s.room = 0
	written := 0
	ended := m.start(t, func(t *loop.Task) {
		for range 8 {
			c.Write(make([]byte, 4<<10))
			written += 4 << 10
			if Drain(t, c) != nil {
				return
			}
		}
	})
	m.advance(time.Second)
	require.Equal(t, 12<<10, written)
	for range 100 {
		s.take(3 << 10)
		m.advance(50 * time.Millisecond)
		require.LessOrEqual(t, c.Unsent(), 14<<10)
	}
	require.NoError(t, *ended)
	require.Len(t, s.sent, 32<<10)

	s.room = 0
	var drained error
	m.start(t, func(t *loop.Task) {
		c.Write(make([]byte, 64<<10))
		drained = Drain(t, c)
	})
	s.fail(syscall.ECONNRESET)
	m.settle()
	require.ErrorIs(t, drained, loop.ErrClosed)
	require.Zero(t, m.stats().TasksAlive, "a writer that waits learns that its reader left")
}

func TestWriteErrorDuringAHandler(t *testing.T) {
	m := newManual(t, Limits{})
	h := &spy{}
	_, s := m.open(h)
	var got []error
	h.data = func(c *Conn) {
		n := len(c.Input())
		_, _ = c.Loop().Start(&code{run: func(t *loop.Task) {
			s.reset = syscall.EPIPE
			c.Write([]byte("partial"))
			got = append(got, t.Sleep(time.Millisecond)) // the write fails in between
			c.Consume(n)
			c.Write([]byte("rest"))
			c.Close()
			c.Abort(io.EOF)
			c.Pause()
			c.Resume()
			c.SetTimeout(time.Second)
			got = append(got, Drain(t, c))
		}})
	}
	s.in = []byte("go")
	m.on(s.c.Readable)
	require.Equal(t, []error{syscall.EPIPE}, h.closed, "closed while the handler waits")
	m.advance(5 * time.Millisecond)
	require.Equal(t, []error{nil, loop.ErrClosed}, got)
	require.Len(t, h.closed, 1)
	require.Zero(t, m.stats().Conns)
	require.Zero(t, m.stats().Timers)
}

func TestAbort(t *testing.T) {
	m := newManual(t, Limits{})
	h := &spy{}
	c, s := m.open(h)
	m.on(func() {
		c.Write([]byte("never sent"))
		c.Abort(io.ErrUnexpectedEOF)
		s.fin = true
		c.Readable() // in the same turn
	})
	require.True(t, s.closed)
	require.True(t, s.aborted)
	require.Empty(t, s.sent)
	require.Equal(t, []error{io.ErrUnexpectedEOF}, h.closed)
}

func TestConnTimeout(t *testing.T) {
	m := newManual(t, Limits{})
	h := &spy{}
	c, _ := m.open(h)
	m.on(func() { c.SetTimeout(time.Second); c.SetTimeout(2 * time.Second) })
	m.advance(1500 * time.Millisecond)
	require.Zero(t, h.times)
	m.advance(time.Second)
	require.Equal(t, 1, h.times)
	m.on(func() { c.SetTimeout(time.Second); c.SetTimeout(0) })
	m.advance(5 * time.Second)
	require.Equal(t, 1, h.times)
}

// If the peer takes a large output at once, no write event follows, so the flush
// must wake a task that waits in Drain.
func TestDrainWhenTransportAcceptsAll(t *testing.T) {
	m := newManual(t, Limits{OutboundMax: 1000})
	c, s := m.open(&spy{})
	ended := m.start(t, func(t *loop.Task) {
		for range 5 {
			c.Write(make([]byte, 3000))
			if err := Drain(t, c); err != nil {
				panic(err)
			}
		}
	})
	m.settle()
	require.NoError(t, *ended)
	require.Len(t, s.sent, 15000)
}

// One connection sends at most sendMax in a turn. The rest follows by write events.
func TestLargeOutputIsSentInSteps(t *testing.T) {
	m := newManual(t, Limits{})
	c, s := m.open(&spy{})
	s.room = 256 << 10
	m.on(func() { c.Write(make([]byte, 5<<20)) })
	s.room = 1 << 30
	s.events()
	require.Len(t, s.sent, 5<<20)
	require.False(t, s.write)
	require.Zero(t, m.stats().Timers)
}

// taker is a Handler with a buffer of its own.
type taker struct {
	spy
	own []byte
	n   int
}

func (h *taker) InputBuffer() []byte { return h.own[h.n:] }
func (h *taker) InputTaken(n int)    { h.n += n }

func TestInputReceiver(t *testing.T) {
	m := newManual(t, Limits{InboundMax: 4 << 10})
	h := &taker{own: make([]byte, 10)}
	c, s := m.open(h)
	s.deliver("0123")
	s.deliver("456789abcdef")
	require.Equal(t, "0123456789", string(h.own))
	require.Equal(t, "abcdef", string(c.Input()))
	s.deliver(strings.Repeat("x", 10<<10))
	require.Len(t, c.Input(), 4<<10)
	h.n = 0
	m.on(func() { c.Consume(4 << 10) })
	s.events()
	require.Equal(t, 10, h.n)
}

// With Batch, the output of short tasks that are ready in one turn is sent together, but not later than batchMax.
func TestBatch(t *testing.T) {
	for _, tc := range []struct {
		batch bool
		takes time.Duration // of the second task
		bytes int           // written by each
		want  []int         // bytes sent when each of three tasks begins, and after the turn
		why   string
	}{
		{false, 0, 10, []int{0, 10, 20, 30}, "without it, after each task"},
		{true, 0, 10, []int{0, 0, 0, 30}, "at the end of the turn"},
		{true, time.Millisecond, 10, []int{0, 0, 20, 30}, "a task takes longer"},
		{true, 0, batchBytes, []int{0, batchBytes, 2 * batchBytes, 3 * batchBytes}, "much output"},
	} {
		m := newManual(t, Limits{})
		c, s := m.open(&spy{})
		if tc.batch {
			c.Batch()
		}
		var sent []int
		m.on(func() {
			for i := range 3 {
				_, err := m.r.loop.Start(&code{run: func(*loop.Task) {
					sent = append(sent, len(s.sent))
					c.Write(make([]byte, tc.bytes))
					if i == 1 {
						m.now += int64(tc.takes)
					}
				}})
				require.NoError(t, err)
			}
		})
		require.Equal(t, tc.want, append(sent, len(s.sent)), tc.why)
		require.False(t, m.r.Unflushed())
	}
}
