package looptest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/loop"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upper answers each line in upper case after a wait; a task per connection.
type upper struct {
	conn   *reactor.Conn
	task   *loop.Task
	waker  loop.Waker
	closed error
	ended  bool
}

func openUpper(c *reactor.Conn) reactor.Handler { return &upper{conn: c} }

func (u *upper) Data(c *reactor.Conn) {
	var err error
	switch {
	case c.InputEnded():
		c.Close()
		if u.task != nil {
			u.task.Cancel(io.EOF)
		}
	case u.task != nil:
		u.waker.Wake()
	default:
		if u.task, err = c.Loop().Start(u); err != nil {
			c.Close()
		}
	}
}

func (u *upper) Timeout(c *reactor.Conn) { c.Close() }

func (u *upper) Closed(_ *reactor.Conn, err error) {
	u.closed, u.ended = err, true
	if u.task != nil {
		u.task.Cancel(err)
	}
}

func (u *upper) Run(t *loop.Task) {
	for {
		line, _, ok := bytes.Cut(u.conn.Input(), []byte("\n"))
		if !ok {
			u.waker = t.Prepare()
			if t.Park() != nil {
				return
			}
			continue
		}
		line = bytes.ToUpper(line)
		u.conn.Consume(len(line) + 1)
		if t.Sleep(5*time.Millisecond) != nil {
			return
		}
		u.conn.Write(append(line, '\n'))
	}
}

func (u *upper) Done(*loop.Task, error) { u.task = nil }

func TestSeedsDoNotChangeWhatIsSaid(t *testing.T) {
	for seed := range uint64(40) {
		l := looptest.New(t, looptest.Options{Seed: seed})
		peers := make([]*looptest.Peer, 5)
		for i := range peers {
			peers[i] = l.Open(openUpper)
			peers[i].Send(fmt.Appendf(nil, "hello %d\nworld %d\n", i, i))
		}
		l.Advance(11 * time.Millisecond)
		for i, p := range peers {
			require.Equal(t, fmt.Sprintf("HELLO %d\nWORLD %d\n", i, i), string(p.Received()), "seed %d", seed)
			p.Close()
			require.True(t, p.Gone())
		}
	}
}

func TestTheClockStandsStill(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	p := l.Open(openUpper)
	p.Send([]byte("a\n"))
	l.Advance(4 * time.Millisecond)
	require.Empty(t, p.Received(), "its wait is 5 ms")
	l.Advance(2 * time.Millisecond)
	require.Equal(t, "A\n", string(p.Received()))
}

func TestSameSeedSameRun(t *testing.T) {
	trace := func(seed uint64) (out []string) {
		l := looptest.New(t, looptest.Options{Seed: seed})
		for i := range 4 {
			p := l.Open(openUpper)
			p.OnReceive = func(_ *looptest.Peer, b []byte) { out = append(out, fmt.Sprint(i, string(b))) }
			p.Send([]byte("some text\n"))
		}
		l.Advance(time.Second)
		return out
	}
	require.Equal(t, trace(7), trace(7))
	require.NotEqual(t, trace(7), trace(8))
}

func TestDisconnectAtEveryWait(t *testing.T) {
	for seed := range uint64(5) {
		looptest.Disconnects(t, looptest.Options{Seed: seed}, func(t *testing.T, l *looptest.Loop) {
			p := l.Open(openUpper)
			p.Send([]byte("one\ntwo\n"))
			l.Advance(20 * time.Millisecond)
			if !l.Cut() {
				require.Equal(t, "ONE\nTWO\n", string(p.Received()))
			}
		})
	}
}

// logged is a handler that records its events and calls the functions of the test.
type logged struct {
	data   func(c *reactor.Conn)
	input  []byte
	ended  bool
	closed bool
	err    error
}

func (h *logged) Data(c *reactor.Conn) {
	h.input = append(h.input, c.Input()...)
	c.Consume(len(c.Input()))
	h.ended = c.InputEnded()
	if h.data != nil {
		h.data(c)
	}
}

func (h *logged) Timeout(c *reactor.Conn) { c.Close() }

func (h *logged) Closed(_ *reactor.Conn, err error) { h.closed, h.err = true, err }

func TestPeerEndings(t *testing.T) {
	for _, tc := range []struct {
		why      string
		data     func(c *reactor.Conn)
		do       func(l *looptest.Loop, p *looptest.Peer)
		ended    bool // the loop's side has read the end of the stream
		closed   bool // and its connection has ended
		err      error
		received string
		peer     bool // the Peer has got the end of the stream, or a reset
	}{
		{"half closed: the answer still arrives", func(c *reactor.Conn) {
			if c.InputEnded() {
				c.Write([]byte("answer"))
			}
		}, func(_ *looptest.Loop, p *looptest.Peer) { p.Send([]byte("question")); p.CloseWrite() }, true, false, nil, "answer", false},
		{"half closed, and the loop's side closes", func(c *reactor.Conn) {
			if c.InputEnded() {
				c.Write([]byte("answer"))
				c.Close()
			}
		}, func(_ *looptest.Loop, p *looptest.Peer) { p.Send([]byte("question")); p.CloseWrite() }, true, true, nil, "answer", true},
		{"a peer that leaves ends its stream", nil, func(_ *looptest.Loop, p *looptest.Peer) { p.Close() }, true, false, nil, "", false},
		{"and answers what comes with a reset", nil, func(l *looptest.Loop, p *looptest.Peer) {
			p.Close()
			l.On(func() { p.Conn().Write([]byte("late")) })
			l.Settle()
		}, true, true, syscall.ECONNRESET, "", true},
		{"a peer that resets is an error", nil, func(_ *looptest.Loop, p *looptest.Peer) { p.Reset() }, false, true, syscall.ECONNRESET, "", true},
		{"also while the loop does not read", nil, func(l *looptest.Loop, p *looptest.Peer) {
			l.On(p.Conn().Pause)
			p.Reset()
		}, false, true, syscall.ECONNRESET, "", true},
		{"a write after a reset is an error too", nil, func(l *looptest.Loop, p *looptest.Peer) {
			l.On(func() { p.Reset(); p.Conn().Write([]byte("x")) })
			l.Settle()
		}, false, true, syscall.EPIPE, "", true},
		{"aborted without an error: what is unsent is dropped", nil, func(l *looptest.Loop, p *looptest.Peer) {
			l.On(func() { p.Conn().Write([]byte("x")); p.Conn().Abort(nil) })
			l.Settle()
		}, false, true, nil, "", true},
		{"aborted with an error", nil, func(l *looptest.Loop, p *looptest.Peer) {
			l.On(func() { p.Conn().Abort(io.ErrUnexpectedEOF) })
			l.Settle()
		}, false, true, io.ErrUnexpectedEOF, "", true},
		{"closed on this side: the peer follows", nil, func(l *looptest.Loop, p *looptest.Peer) {
			l.On(func() { p.Conn().Write([]byte("bye")); p.Conn().Close() })
			l.Settle()
		}, false, true, nil, "bye", true},
		{"a peer that does not follow is waited for", nil, func(l *looptest.Loop, p *looptest.Peer) {
			p.KeepOpen = true
			l.On(p.Conn().Close)
			l.Advance(time.Second)
		}, false, false, nil, "", true},
		{"but not for long", nil, func(l *looptest.Loop, p *looptest.Peer) {
			p.KeepOpen = true
			l.On(p.Conn().Close)
			l.Advance(3 * time.Second)
		}, false, true, nil, "", true},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l := looptest.New(t, looptest.Options{})
			h := &logged{data: tc.data}
			p := l.Open(func(*reactor.Conn) reactor.Handler { return h })
			tc.do(l, p)
			require.Equal(t, tc.ended, h.ended)
			require.Equal(t, tc.closed, h.closed)
			require.ErrorIs(t, h.err, tc.err)
			require.Equal(t, tc.received, string(p.Received()))
			require.Equal(t, tc.peer, p.Ended())
			require.Equal(t, tc.closed, p.Gone())
		})
	}
}

// TestSeedsBreakTheStream writes much to a peer through partial and refused writes. All of it
// arrives, in order.
func TestSeedsBreakTheStream(t *testing.T) {
	for seed := range uint64(20) {
		l := looptest.New(t, looptest.Options{Seed: seed, Limits: reactor.Limits{InboundMax: 1000}})
		h := &logged{data: func(c *reactor.Conn) {
			if c.InputEnded() {
				c.Close()
			}
		}}
		p := l.Open(func(*reactor.Conn) reactor.Handler { return h })
		var want []byte
		for i := range 100 {
			line := fmt.Appendf(nil, "line %d\n", i)
			want = append(want, line...)
			p.Send(line)
			l.On(func() { p.Conn().Write(line) })
		}
		p.CloseWrite()
		require.Equal(t, string(want), string(p.Received()), "seed %d", seed)
		require.Equal(t, string(want), string(h.input), "seed %d", seed)
		require.True(t, h.closed)
		require.NoError(t, h.err)
		require.True(t, p.Gone() && p.Ended())
	}
}

// TestFullInputHoldsThePeerBack: bytes that a connection does not read stay in flight.
func TestFullInputHoldsThePeerBack(t *testing.T) {
	l := looptest.New(t, looptest.Options{Limits: reactor.Limits{InboundMax: 1000}})
	u := &upper{}
	p := l.Open(func(c *reactor.Conn) reactor.Handler { u.conn = c; return u })
	text := bytes.Repeat([]byte("x"), 10_000) // no line ends
	p.Send(text)
	require.GreaterOrEqual(t, len(p.Conn().Input()), 1000)
	require.Less(t, len(p.Conn().Input()), len(text))
	for range 100 {
		l.On(func() { p.Conn().Consume(len(p.Conn().Input())) })
		l.Settle()
	}
	require.Empty(t, p.Conn().Input())
	require.EqualValues(t, len(text), l.Stats().BytesIn)
}

// TestTasksMayUseTheirPeers: a task may call its peer; its turn does the settling.
func TestTasksMayUseTheirPeers(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	l.Run(func(task *loop.Task) {
		p := l.Open(openUpper)
		p.Send([]byte("a\n"))
		require.Empty(t, p.Received())
		require.NoError(t, task.Sleep(10*time.Millisecond))
		require.Equal(t, "A\n", string(p.Received()))
		l.On(func() { require.True(t, l.Drive().Owned() || l.Current() == task) })
	})
}

func TestStalledPeer(t *testing.T) {
	l := looptest.New(t, looptest.Options{Limits: reactor.Limits{OutboundMax: 100}})
	p := l.Open(openUpper)
	p.Stall()
	r := l.Start(func(t *loop.Task) {
		p.Conn().Write(make([]byte, 200))
		if err := reactor.Drain(t, p.Conn()); err != nil {
			panic(err)
		}
	})
	l.Advance(time.Second)
	require.False(t, r.Ended(), "the peer does not read")
	require.Empty(t, p.Received())
	p.Resume()
	l.Advance(time.Second)
	require.True(t, r.Ended())
	require.NoError(t, r.Err())
	require.Len(t, p.Received(), 200)
}

func TestRunWaitsForOtherGoroutines(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	n := 0
	l.Run(func(t *loop.Task) {
		for range 10 {
			w := t.Prepare()
			go w.Post()
			if t.Park() != nil || t.Sleep(time.Minute) != nil {
				return
			}
			n++
		}
	})
	require.Equal(t, 10, n)
}

func TestCancelARun(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	var got error
	r := l.Start(func(t *loop.Task) { got = t.Sleep(time.Hour) })
	require.False(t, r.Ended())
	r.Cancel(context.Canceled)
	require.True(t, r.Ended())
	require.Equal(t, context.Canceled, got)
}

func TestAwaitReturnsHowItEnded(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	boom := errors.New("boom")
	err := l.Await(l.Start(func(t *loop.Task) {
		w := t.Prepare()
		go w.Post()
		_ = t.Park()
		panic(boom)
	}))
	var p *loop.PanicError
	require.ErrorAs(t, err, &p)
	require.Equal(t, boom, p.Value)
}

func BenchmarkHandlerOnALoop(b *testing.B) {
	l := looptest.New(b, looptest.Options{})
	p := l.Open(openUpper)
	line := []byte("a line\n")
	b.ReportAllocs()
	for b.Loop() {
		p.Send(line)
		l.Advance(6 * time.Millisecond)
		p.Received()
	}
}
