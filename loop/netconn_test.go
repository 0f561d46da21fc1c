package loop_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"tafe/loop"
	"tafe/loop/looptest"
)

// task is a Runner of one function that tells when it has ended.
type task struct {
	run  func(*loop.Task)
	done chan error
}

func (r *task) Run(t *loop.Task)             { r.run(t) }
func (r *task) Done(_ *loop.Task, err error) { r.done <- err }

// onTask runs f as a task of l and waits for its end.
func onTask(l *loop.Loop, f func(*loop.Task)) error {
	r := &task{f, make(chan error, 1)}
	if !l.Post(func() {
		if _, err := l.Start(r); err != nil {
			r.done <- err
		}
	}) {
		return loop.ErrClosed
	}
	return <-r.done
}

func startEngine(t testing.TB, loops int, open func(*loop.Conn) loop.Handler) *loop.Engine {
	t.Helper()
	e, err := loop.Start(loop.Config{Addr: "127.0.0.1:0", Loops: loops, Open: open})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	})
	return e
}

func bound(e *loop.Engine) *loop.Dialer {
	d := &loop.Dialer{}
	d.Bind(e)
	return d
}

// inTask makes every Read and Write of a net.Conn a task of its own.
type inTask struct {
	net.Conn
	loop *loop.Loop
}

func (c inTask) Read(p []byte) (n int, err error) {
	if ended := onTask(c.loop, func(*loop.Task) { n, err = c.Conn.Read(p) }); ended != nil {
		return 0, ended
	}
	return n, err
}

func (c inTask) Write(p []byte) (n int, err error) {
	if ended := onTask(c.loop, func(*loop.Task) { n, err = c.Conn.Write(p) }); ended != nil {
		return 0, ended
	}
	return n, err
}

// TestNetConnConforms runs the conformance tests of golang.org/x/net on pairs of
// connections: both dialed and accepted ends are the loop's.
func TestNetConnConforms(t *testing.T) {
	accepted := make(chan net.Conn, 1)
	e := startEngine(t, 2, func(c *loop.Conn) loop.Handler {
		n := loop.NewNetConn(c)
		accepted <- n
		return n.(loop.Handler)
	})
	d := bound(e)
	dialInTask := func() (c net.Conn, err error) {
		if ended := onTask(e.Loops()[0], func(*loop.Task) { c, err = d.Dial("tcp", e.Addr().String()) }); ended != nil {
			return nil, ended
		}
		return c, err
	}
	dialOutside := func() (net.Conn, error) { return d.Dial("tcp", e.Addr().String()) }
	for _, tc := range []struct {
		why  string
		dial func() (net.Conn, error)
		wrap func(net.Conn) net.Conn
	}{
		{"goroutines that are no tasks", dialInTask, func(c net.Conn) net.Conn { return c }},
		{"tasks of the loop that dialed", dialInTask, func(c net.Conn) net.Conn { return inTask{c, e.Loops()[0]} }},
		{"tasks of another", dialInTask, func(c net.Conn) net.Conn { return inTask{c, e.Loops()[1]} }},
		{"dialed by no task, used by none", dialOutside, func(c net.Conn) net.Conn { return c }},
		{"dialed by no task, used by tasks", dialOutside, func(c net.Conn) net.Conn { return inTask{c, e.Loops()[1]} }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				dialed, err := tc.dial()
				if err != nil {
					return nil, nil, nil, err
				}
				other := <-accepted
				return tc.wrap(dialed), tc.wrap(other), func() { _ = dialed.Close(); _ = other.Close() }, nil
			})
		})
	}
	require.Eventually(t, func() bool { return e.Conns() == 0 && e.Dialed() == 0 }, 10*time.Second, time.Millisecond, "counted to the end")
}

// pair is a net.Conn on a test loop and its peer.
func pair(t testing.TB, l *looptest.Loop) (net.Conn, *looptest.Peer) {
	t.Helper()
	var n net.Conn
	p := l.Open(func(c *loop.Conn) loop.Handler {
		n = loop.NewNetConn(c)
		return n.(loop.Handler)
	})
	return n, p
}

func TestNetConnReads(t *testing.T) {
	for seed := range uint64(30) {
		l := looptest.New(t, looptest.Options{Seed: seed})
		n, p := pair(t, l)
		var got []byte
		var err error
		r := l.Start(func(*loop.Task) { got, err = io.ReadAll(n) })
		p.Send([]byte("all of "))
		p.Send([]byte("this"))
		require.False(t, r.Ended())
		p.Close()
		require.True(t, r.Ended())
		require.NoError(t, err)
		require.Equal(t, "all of this", string(got), "seed %d", seed)
	}
}

func TestNetConnBytesBeforeTheEnd(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	n, p := pair(t, l)
	p.Send([]byte("early"))
	p.Close()
	l.Run(func(*loop.Task) {
		b, err := io.ReadAll(n)
		require.NoError(t, err)
		require.Equal(t, "early", string(b), "what was received is read after the peer has gone")
		_, err = n.Write([]byte("late"))
		require.Error(t, err)
		require.NoError(t, n.Close())
		_, err = n.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, n.Close(), net.ErrClosed)
	})
}

func TestNetConnDeadlines(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	n, p := pair(t, l)
	read := func() (*looptest.Run, *error) {
		var err error
		return l.Start(func(*loop.Task) { _, err = n.Read(make([]byte, 10)) }), &err
	}
	require.NoError(t, n.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	r, err := read()
	l.Advance(40 * time.Millisecond)
	require.False(t, r.Ended())
	l.Advance(11 * time.Millisecond)
	require.True(t, r.Ended())
	require.ErrorIs(t, *err, os.ErrDeadlineExceeded)
	var timeout net.Error
	require.ErrorAs(t, *err, &timeout)
	require.True(t, timeout.Timeout())
	require.False(t, p.Gone(), "a deadline does not close the connection")

	r, err = read()
	require.True(t, r.Ended(), "it stays passed")
	require.ErrorIs(t, *err, os.ErrDeadlineExceeded)
	require.NoError(t, n.SetDeadline(time.Time{}))
	r, err = read()
	l.Advance(time.Hour)
	require.False(t, r.Ended(), "none any more")
	require.NoError(t, n.SetReadDeadline(time.Now().Add(-time.Second)))
	l.Settle()
	require.True(t, r.Ended(), "setting one ends a wait that is going on")
	require.ErrorIs(t, *err, os.ErrDeadlineExceeded)

	require.NoError(t, n.SetDeadline(time.Time{}))
	p.Send([]byte("x"))
	r, err = read()
	require.True(t, r.Ended())
	require.NoError(t, *err)
}

func TestNetConnCancellationCloses(t *testing.T) {
	errLeft := errors.New("client left")
	for _, tc := range []struct {
		why  string
		wait func(net.Conn) error
	}{
		{"in a read", func(n net.Conn) error { _, err := n.Read(make([]byte, 1)); return err }},
		{"in a write that the peer holds back", func(n net.Conn) error { _, err := n.Write(make([]byte, 10<<20)); return err }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l := looptest.New(t, looptest.Options{})
			n, p := pair(t, l)
			p.Stall()
			var err error
			r := l.Start(func(*loop.Task) { err = tc.wait(n) })
			require.False(t, r.Ended())
			r.Cancel(errLeft)
			require.True(t, r.Ended())
			require.ErrorIs(t, err, errLeft)
			p.Resume()
			l.Advance(time.Minute)
			require.True(t, p.Gone())
		})
	}
}

// A Read that is cancelled may leave the connection to another.
func TestNetConnOutlivesACancelledRead(t *testing.T) {
	errLeft := errors.New("client left")
	l := looptest.New(t, looptest.Options{})
	n, p := pair(t, l)
	n.(interface{ KeepOnCancel(bool) }).KeepOnCancel(true)
	read := func() (r *looptest.Run, err *error, got *string) {
		err, got = new(error), new(string)
		return l.Start(func(*loop.Task) {
			var b [8]byte
			var k int
			k, *err = n.Read(b[:])
			*got = string(b[:k])
		}), err, got
	}
	r, err, _ := read()
	r.Cancel(errLeft)
	require.True(t, r.Ended())
	require.ErrorIs(t, *err, errLeft)
	var ne net.Error
	require.ErrorAs(t, *err, &ne)
	require.False(t, ne.Timeout())
	temporary, ok := ne.(interface{ Temporary() bool })
	require.True(t, ok && temporary.Temporary(), "crypto/tls may be read again")
	p.Send([]byte("late"))
	r, err, got := read()
	require.True(t, r.Ended())
	require.NoError(t, *err)
	require.Equal(t, "late", *got)
	n.(interface{ KeepOnCancel(bool) }).KeepOnCancel(false)
	r, _, _ = read()
	r.Cancel(errLeft)
	l.Advance(time.Minute)
	require.True(t, p.Gone())
}

func TestNetConnWritesInOrder(t *testing.T) {
	for seed := range uint64(10) {
		l := looptest.New(t, looptest.Options{Seed: seed})
		n, p := pair(t, l)
		var err error
		total := 0
		r := l.Start(func(*loop.Task) {
			for i := range 300 {
				var k int
				k, err = n.Write(bytesOf(byte(i), 1+i*20))
				if total += k; err != nil {
					return
				}
			}
			err = n.Close()
		})
		l.Advance(10 * time.Minute)
		require.True(t, r.Ended())
		require.NoError(t, err)
		var want []byte
		for i := range 300 {
			want = append(want, bytesOf(byte(i), 1+i*20)...)
		}
		require.Equal(t, want, p.Received(), "seed %d", seed)
		require.True(t, p.Gone(), "closed after the last byte")
	}
}

func bytesOf(b byte, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = b
	}
	return p
}

func TestNetConnConcurrentReadsTakeTurns(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	n, p := pair(t, l)
	got := map[int]string{}
	runs := make([]*looptest.Run, 4)
	for i := range runs {
		runs[i] = l.Start(func(*loop.Task) {
			b := make([]byte, 3)
			if _, err := io.ReadFull(n, b); err == nil {
				got[i] = string(b)
			}
		})
	}
	runs[1].Cancel(context.Canceled) // one of the queue leaves, and closes for all
	l.Settle()
	for i, r := range runs {
		require.True(t, r.Ended(), "run %d", i)
	}
	require.Empty(t, got)
	require.True(t, p.Gone())

	n, p = pair(t, l)
	for i := range runs {
		runs[i] = l.Start(func(*loop.Task) {
			b := make([]byte, 3)
			_, _ = n.Read(b)
			got[i] = string(b)
		})
	}
	p.Send([]byte("abcdefghijkl"))
	require.Equal(t, map[int]string{0: "abc", 1: "def", 2: "ghi", 3: "jkl"}, got)
}

func TestNetConnOfALoopsOwnGoroutine(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	n, p := pair(t, l)
	l.On(func() {
		_, err := n.Read(make([]byte, 1))
		require.ErrorIs(t, err, loop.ErrOnLoop, "it would never wake")
		_, err = n.Write([]byte("x"))
		require.ErrorIs(t, err, loop.ErrOnLoop)
		require.NoError(t, n.Close(), "closing does not wait")
	})
	l.Settle()
	require.True(t, p.Gone())
}

func TestNetConnDisconnects(t *testing.T) {
	for seed := range uint64(3) {
		looptest.Disconnects(t, looptest.Options{Seed: seed}, func(t *testing.T, l *looptest.Loop) {
			n, p := pair(t, l)
			p.OnReceive = func(p *looptest.Peer, b []byte) { p.Send(b) }
			var err error
			r := l.Start(func(t *loop.Task) {
				defer func() { _ = n.Close() }()
				for range 5 {
					if _, err = n.Write([]byte("ping")); err != nil {
						return
					}
					if _, err = io.ReadFull(n, make([]byte, 4)); err != nil {
						return
					}
				}
			})
			l.Advance(time.Second)
			require.True(t, r.Ended())
			require.True(t, err == nil || l.Cut(), "%v", err)
		})
	}
}

func BenchmarkNetConnReadWrite(b *testing.B) {
	l := looptest.New(b, looptest.Options{})
	n, p := pair(b, l)
	p.OnReceive = func(p *looptest.Peer, q []byte) { p.Send(q) }
	buf := make([]byte, 100)
	b.ReportAllocs()
	l.Run(func(t *loop.Task) {
		for i := 0; b.Loop(); i++ {
			_, _ = n.Write(buf)
			_, _ = io.ReadFull(n, buf)
			if i%1000 == 0 {
				_ = t.Sleep(time.Millisecond) // Settle calls a long run without one a livelock
			}
		}
	})
}
