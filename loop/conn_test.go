package loop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// spy records its connection's events and does what the test says.
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
	l, _ := newManual(t, Limits{InboundMax: 64 << 10})
	h := &spy{}
	c, _ := openMemory(l, h)
	require.Nil(t, c.in, "an idle connection holds no buffer")

	c.Deliver([]byte("hello "))
	c.Deliver([]byte("world"))
	require.Equal(t, "hello world", string(c.Input()))
	c.Consume(6)
	require.Equal(t, "world", string(c.Input()))
	c.Consume(5)
	require.Nil(t, c.in, "consumed, nothing is held")

	c.Deliver([]byte("pinned"))
	c.Pin()
	view := c.Input()
	big := bytes.Repeat([]byte("x"), 40<<10)
	c.Deliver(big)
	c.Consume(len(view))
	other, _ := openMemory(l, &spy{})
	other.Deliver([]byte("SOMEBODY ELSE'S BYTES"))
	require.Equal(t, "pinned", string(view), "a pinned view survives growth and other connections' input")
	c.Unpin()
	require.Equal(t, len(big), len(c.Input()))
	c.Deliver(big)
	require.Equal(t, []error{ErrInboundFull}, h.closed)
	require.Nil(t, c.in)
	require.EqualValues(t, 1, l.Stats().ClosedInbound)
	c.Deliver(big)
	require.Len(t, h.closed, 1, "nothing happens after Closed")
}

func TestConnOutputIsSentOncePerSlice(t *testing.T) {
	l, _ := newManual(t, Limits{})
	writes := 0
	h := &spy{data: func(c *Conn) {
		c.Write(c.Input())
		c.Write([]byte("!"))
		c.Consume(len(c.Input()))
		writes = len(c.transport.(*memory).sent)
	}}
	c, s := openMemory(l, h)
	c.Deliver([]byte("abc"))
	require.Zero(t, writes, "nothing is sent inside the slice")
	require.Equal(t, "abc!", string(s.sent))
	require.Nil(t, c.out)
	require.Zero(t, l.wheel.count, "a fast reader costs no timer")
}

func TestConnCloseLingers(t *testing.T) {
	for _, tc := range []struct {
		why  string
		then func(l *Loop, m *manual, c *Conn, s *memory)
	}{
		{"the peer closes", func(_ *Loop, _ *manual, c *Conn, _ *memory) { c.Hangup(io.EOF) }},
		{"the peer goes on for too long", func(l *Loop, m *manual, _ *Conn, _ *memory) { m.advance(l, 3*time.Second) }},
		{"the peer sends too much", func(_ *Loop, _ *manual, c *Conn, _ *memory) {
			for range lingerBytes/(64<<10) + 1 {
				c.Deliver(make([]byte, 64<<10))
			}
		}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l, m := newManual(t, Limits{})
			h := &spy{}
			c, s := openMemory(l, h)
			on(l, func() { c.Write([]byte("bye")); c.Close(); c.Close() })
			require.Equal(t, "bye", string(s.sent))
			require.True(t, s.eof)
			require.False(t, s.closed, "the peer may still be sending: no reset")
			c.Deliver([]byte("more"))
			require.Empty(t, h.closed)
			tc.then(l, m, c, s)
			require.Len(t, h.closed, 1)
			require.Zero(t, l.conns)
			require.Zero(t, l.wheel.count)
		})
	}
}

func TestConnCloseWaitsForTheReader(t *testing.T) {
	l, m := newManual(t, Limits{})
	c, s := openMemory(l, &spy{})
	s.room = 10
	on(l, func() { c.Write(make([]byte, 100)); c.Close() })
	require.False(t, s.eof)
	s.take(90)
	m.advance(l, 100*time.Millisecond)
	require.True(t, s.eof)
	require.Len(t, s.sent, 100)
}

func TestSlowReaderIsDropped(t *testing.T) {
	l, m := newManual(t, Limits{WriteTimeout: time.Second})
	h := &spy{}
	c, s := openMemory(l, h)
	s.room = 0
	on(l, func() { c.Write(make([]byte, 100<<10)) })
	for range 4 { // earns its time as long as it reads
		m.advance(l, 700*time.Millisecond)
		s.take(writeStep)
		require.Empty(t, h.closed)
	}
	for range 4 { // a trickle does not
		m.advance(l, 500*time.Millisecond)
		s.take(10)
	}
	require.Equal(t, []error{ErrWriteTimeout}, h.closed)
	require.EqualValues(t, 1, l.Stats().ClosedWrite)
}

func TestDrainHoldsTheWriterBack(t *testing.T) {
	l, m := newManual(t, Limits{OutboundMax: 10 << 10})
	c, s := openMemory(l, &spy{})
	s.room = 0
	written := 0
	ended := start(t, l, func(t *Task) {
		for range 8 {
			c.Write(make([]byte, 4<<10))
			written += 4 << 10
			if t.Drain(c) != nil {
				return
			}
		}
	})
	m.advance(l, time.Second)
	require.Equal(t, 12<<10, written)
	for range 100 {
		s.take(3 << 10)
		m.advance(l, 50*time.Millisecond)
		require.LessOrEqual(t, c.Unsent(), 14<<10)
	}
	require.NoError(t, *ended)
	require.Len(t, s.sent, 32<<10)

	s.room = 0
	var drained error
	start(t, l, func(t *Task) {
		c.Write(make([]byte, 64<<10))
		drained = t.Drain(c)
	})
	c.Hangup(syscall.ECONNRESET)
	m.settle(l)
	require.ErrorIs(t, drained, ErrClosed)
	require.Zero(t, l.tasks, "a writer that waits learns that its reader left")
}

func TestWriteErrorDuringAHandler(t *testing.T) {
	l, m := newManual(t, Limits{})
	h := &spy{}
	c, s := openMemory(l, h)
	s.fail = syscall.EPIPE
	var task *Task
	var got []error
	h.data = func(c *Conn) {
		_, _ = c.Loop().Start(&code{run: func(t *Task) {
			task = t
			c.Write([]byte("partial"))
			got = append(got, t.Sleep(time.Millisecond)) // the write fails in between
			c.Write([]byte("rest"))
			c.Close()
			c.Abort(io.EOF)
			got = append(got, t.Drain(c))
		}})
	}
	c.Deliver([]byte("go"))
	require.Equal(t, []error{syscall.EPIPE}, h.closed, "closed while the handler waits")
	require.NotNil(t, task)
	m.advance(l, 5*time.Millisecond)
	require.Equal(t, []error{nil, ErrClosed}, got)
	require.Len(t, h.closed, 1)
	require.Zero(t, l.conns)
}

func TestAbort(t *testing.T) {
	l, m := newManual(t, Limits{})
	h := &spy{}
	c, s := openMemory(l, h)
	on(l, func() { c.Write([]byte("never sent?")); c.Abort(io.ErrUnexpectedEOF) })
	m.settle(l)
	require.True(t, s.closed)
	require.Equal(t, []error{io.ErrUnexpectedEOF}, h.closed)
}

func TestConnTimeout(t *testing.T) {
	l, m := newManual(t, Limits{})
	h := &spy{}
	c, _ := openMemory(l, h)
	on(l, func() { c.SetTimeout(time.Second); c.SetTimeout(2 * time.Second) })
	m.advance(l, 1500*time.Millisecond)
	require.Zero(t, h.times)
	m.advance(l, time.Second)
	require.Equal(t, 1, h.times)
	on(l, func() { c.SetTimeout(time.Second); c.SetTimeout(0) })
	m.advance(l, 5*time.Second)
	require.Equal(t, 1, h.times)
}

func TestConnLimitSurvivesAFlood(t *testing.T) {
	const limit = 50
	e, err := Start(Config{Addr: "127.0.0.1:0", Loops: 2, ConnMax: limit, Open: func(*Conn) Handler { return &lineEcho{} }})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Stop(context.Background())) }()
	var conns []net.Conn
	served, turnedAway := 0, 0
	for range 2 * limit {
		c, err := net.Dial("tcp", e.Addr().String())
		require.NoError(t, err)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "x\n")
		if _, err := io.ReadFull(c, make([]byte, 2)); err == nil {
			served++
		} else {
			turnedAway++
		}
		conns = append(conns, c)
	}
	require.Equal(t, limit, served)
	require.Equal(t, limit, turnedAway)
	require.EqualValues(t, limit, e.Refused())
	for _, c := range conns {
		_ = c.Close()
	}
	require.Eventually(t, func() bool { return e.Conns() == 0 }, 10*time.Second, time.Millisecond)
	c, err := net.Dial("tcp", e.Addr().String())
	require.NoError(t, err)
	_, _ = io.WriteString(c, "y\n")
	_, err = io.ReadFull(c, make([]byte, 2))
	require.NoError(t, err, "room again")
	_ = c.Close()
}

func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	for _, tc := range []struct {
		why  string
		conf Config
		want error
	}{
		{"a taken port is refused although the reactors share theirs", Config{Addr: taken.Addr().String(), Loops: 2}, syscall.EADDRINUSE},
		{"no such address", Config{Addr: "192.0.2.1:0", Loops: 1}, syscall.EADDRNOTAVAIL},
		{"no loops", Config{Addr: "127.0.0.1:0"}, nil},
		{"not an address", Config{Addr: "nonsense", Loops: 1}, nil},
	} {
		t.Run(tc.why, func(t *testing.T) {
			_, err := Start(tc.conf)
			require.Error(t, err)
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
			}
		})
	}
	e := startEcho(t, 2, 0)
	_, err = Start(Config{Addr: e.Addr().String(), Loops: 2})
	require.ErrorIs(t, err, syscall.EADDRINUSE, "not even by another of us")
}

func TestPostFromManyGoroutines(t *testing.T) {
	e := startEcho(t, 2, 0)
	var mu sync.Mutex
	perLoop := map[int][]int{}
	var wg sync.WaitGroup
	for _, l := range e.Loops() {
		for g := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				var ran sync.WaitGroup
				for i := range 200 {
					ran.Add(1)
					require.True(t, l.Post(func() {
						mu.Lock()
						perLoop[l.ID()*10+g] = append(perLoop[l.ID()*10+g], i)
						mu.Unlock()
						ran.Done()
					}))
				}
				ran.Wait()
			}()
		}
	}
	wg.Wait()
	for key, got := range perLoop {
		for i, v := range got {
			require.Equal(t, i, v, "posts of one goroutine keep their order (%d)", key)
		}
	}
	require.Len(t, perLoop, 8)
	require.True(t, errors.Is(e.Err(), nil))
}

func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	e, err := Start(Config{Addr: "unix:" + path, Loops: 2, Open: func(*Conn) Handler { return &lineEcho{} }})
	require.NoError(t, err)
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	_, _ = io.WriteString(c, "x\n")
	_, err = io.ReadFull(c, make([]byte, 2))
	require.NoError(t, err)
	_, err = Start(Config{Addr: "unix:" + path, Loops: 1})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_ = c.Close()
	require.NoError(t, e.Stop(context.Background()))
}

// A reader that takes all of a large output at once leaves nothing to watch:
// whoever waits in Drain must be woken by the flush itself.
func TestDrainWhenTheTransportTakesAll(t *testing.T) {
	l, m := newManual(t, Limits{OutboundMax: 1000})
	c, s := openMemory(l, &spy{})
	ended := start(t, l, func(t *Task) {
		for range 5 {
			c.Write(make([]byte, 3000))
			if err := t.Drain(c); err != nil {
				panic(err)
			}
		}
	})
	m.settle(l)
	require.NoError(t, *ended)
	require.Len(t, s.sent, 15000)
}
