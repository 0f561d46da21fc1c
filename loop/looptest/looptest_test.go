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
)

// gnet's worker pool has goroutines from the moment it is imported.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}

// upper answers each line in upper case after a wait; a task per connection.
type upper struct {
	conn   *loop.Conn
	task   *loop.Task
	waker  loop.Waker
	closed error
	ended  bool
}

func openUpper(c *loop.Conn) loop.Handler { return &upper{conn: c} }

func (u *upper) Data(c *loop.Conn) {
	if u.task != nil {
		u.waker.Wake()
		return
	}
	if _, err := c.Loop().Start(u); err != nil {
		c.Close()
	}
}

func (u *upper) Timeout(c *loop.Conn) { c.Close() }

func (u *upper) Closed(_ *loop.Conn, err error) {
	u.closed, u.ended = err, true
	if u.task != nil {
		u.task.Cancel(err)
	}
}

func (u *upper) Run(t *loop.Task) {
	u.task = t
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

func TestPeerEndings(t *testing.T) {
	for _, tc := range []struct {
		why  string
		end  func(*looptest.Peer)
		want error
	}{
		{"a peer that closes ends the stream", (*looptest.Peer).Close, io.EOF},
		{"a peer that resets is an error of the socket", (*looptest.Peer).Reset, syscall.ECONNRESET},
		{"closing on this side is no error", func(p *looptest.Peer) { p.Conn().Abort(nil); p.Send(nil) }, nil},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l := looptest.New(t, looptest.Options{})
			u := &upper{}
			p := l.Open(func(c *loop.Conn) loop.Handler { u.conn = c; return u })
			tc.end(p)
			require.True(t, u.ended)
			require.Equal(t, tc.want, u.closed)
			require.True(t, p.Gone())
		})
	}
}

func TestStalledPeer(t *testing.T) {
	l := looptest.New(t, looptest.Options{Limits: loop.Limits{OutboundMax: 100}})
	p := l.Open(openUpper)
	p.Stall()
	r := l.Start(func(t *loop.Task) {
		p.Conn().Write(make([]byte, 200))
		if err := t.Drain(p.Conn()); err != nil {
			panic(err)
		}
	})
	l.Advance(time.Second)
	require.False(t, r.Ended(), "nobody reads")
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
