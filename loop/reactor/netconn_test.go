package reactor_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"tafe/loop"
	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

// inTask runs every Read and Write of a net.Conn in a task of its own.
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
// connections in which both ends, the dialed and the accepted one, are netConns.
func TestNetConnConforms(t *testing.T) {
	accepted := make(chan net.Conn, 1)
	e := startEngine(t, 2, func(c *reactor.Conn) reactor.Handler {
		n := reactor.NewNetConn(c)
		accepted <- n
		return n.(reactor.Handler)
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
		{"goroutines outside of tasks", dialInTask, func(c net.Conn) net.Conn { return c }},
		{"tasks of the loop that dialed", dialInTask, func(c net.Conn) net.Conn { return inTask{c, e.Loops()[0]} }},
		{"tasks of another", dialInTask, func(c net.Conn) net.Conn { return inTask{c, e.Loops()[1]} }},
		{"dialed and used outside of tasks", dialOutside, func(c net.Conn) net.Conn { return c }},
		{"dialed outside of tasks, used by tasks", dialOutside, func(c net.Conn) net.Conn { return inTask{c, e.Loops()[1]} }},
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
	eventually(t, "counted to the end", func() bool { return e.Conns() == 0 && e.Dialed() == 0 })
}

func TestNetConnReads(t *testing.T) {
	m := newMemoryLoop(t)
	n, p := m.open()
	var got []byte
	var err error
	r := m.start(func(*loop.Task) { got, err = io.ReadAll(n) })
	p.send("all of ")
	p.send("this")
	require.False(t, r.ended)
	p.closeWrite()
	require.True(t, r.ended)
	require.NoError(t, err)
	require.Equal(t, "all of this", string(got))
}

func TestNetConnReadsInPieces(t *testing.T) {
	for size := 1; size < 9; size++ {
		m := newMemoryLoop(t)
		n, p := m.open()
		p.send("before ")
		var got strings.Builder
		m.start(func(*loop.Task) { _, _ = io.CopyBuffer(&got, struct{ io.Reader }{n}, make([]byte, size)) })
		p.send("while it waits, more than it has room for")
		p.closeWrite()
		require.Equal(t, "before while it waits, more than it has room for", got.String(), "size %d", size)
	}
}

func TestNetConnPeerFIN(t *testing.T) {
	m := newMemoryLoop(t)
	n, p := m.open()
	p.send("early")
	p.closeWrite()
	m.start(func(*loop.Task) {
		b, err := io.ReadAll(n)
		require.NoError(t, err)
		require.Equal(t, "early", string(b))
		_, err = n.Write([]byte("late"))
		require.NoError(t, err, "its direction is open")
		require.True(t, n.(interface{ Arrived() bool }).Arrived(), "an end is something to read")
	})
	require.Equal(t, "late", string(p.received))
	require.False(t, p.gone)
	m.start(func(*loop.Task) {
		require.NoError(t, n.Close())
		_, err := n.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = n.Write([]byte("later"))
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, n.Close(), net.ErrClosed)
	})
	require.True(t, p.gone)
}

func TestNetConnCloseWrite(t *testing.T) {
	m := newMemoryLoop(t)
	n, p := m.open()
	p.stall(2)
	half := n.(interface{ CloseWrite() error })
	m.start(func(*loop.Task) {
		_, err := n.Write([]byte("question"))
		require.NoError(t, err)
		require.NoError(t, half.CloseWrite())
		require.NoError(t, half.CloseWrite(), "again")
		_, err = n.Write([]byte("too late"))
		require.ErrorIs(t, err, syscall.EPIPE)
	})
	require.False(t, p.shut, "not before the last byte")
	p.resume()
	require.True(t, p.shut)
	require.Equal(t, "question", string(p.received))
	var got []byte
	r := m.start(func(*loop.Task) { got, _ = io.ReadAll(n) })
	p.send("answer")
	require.False(t, r.ended)
	p.closeWrite()
	require.True(t, r.ended)
	require.Equal(t, "answer", string(got))
	require.False(t, p.gone, "until it is closed")
	m.on(func() { require.NoError(t, n.Close()) })
	require.True(t, p.gone)
	require.ErrorIs(t, half.CloseWrite(), net.ErrClosed)
}

func TestNetConnDeadlines(t *testing.T) {
	m := newMemoryLoop(t)
	n, p := m.open()
	read := func() (*run, *error) {
		var err error
		return m.start(func(*loop.Task) { _, err = n.Read(make([]byte, 10)) }), &err
	}
	require.NoError(t, n.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	r, err := read()
	m.advance(40 * time.Millisecond)
	require.False(t, r.ended)
	m.advance(11 * time.Millisecond)
	require.True(t, r.ended)
	require.ErrorIs(t, *err, os.ErrDeadlineExceeded)
	var timeout net.Error
	require.ErrorAs(t, *err, &timeout)
	require.True(t, timeout.Timeout())
	require.False(t, p.gone, "a deadline does not close the connection")

	r, err = read()
	require.True(t, r.ended, "the deadline stays in the past")
	require.ErrorIs(t, *err, os.ErrDeadlineExceeded)
	require.NoError(t, n.SetDeadline(time.Time{}))
	r, err = read()
	m.advance(time.Hour)
	require.False(t, r.ended, "no deadline is set")
	require.NoError(t, n.SetReadDeadline(time.Now().Add(-time.Second)))
	m.settle()
	require.True(t, r.ended, "setting a deadline ends a wait in progress")
	require.ErrorIs(t, *err, os.ErrDeadlineExceeded)

	require.NoError(t, n.SetDeadline(time.Time{}))
	p.send("x")
	r, err = read()
	require.True(t, r.ended)
	require.NoError(t, *err)
}

func TestNetConnCancellationCloses(t *testing.T) {
	errLeft := errors.New("client left")
	for _, tc := range []struct {
		why  string
		wait func(net.Conn) error
	}{
		{"in a read", func(n net.Conn) error { _, err := n.Read(make([]byte, 1)); return err }},
		{"in a write to a peer that does not read", func(n net.Conn) error { _, err := n.Write(make([]byte, 10<<20)); return err }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			m := newMemoryLoop(t)
			n, p := m.open()
			p.stall(0)
			var err error
			r := m.start(func(*loop.Task) { err = tc.wait(n) })
			require.False(t, r.ended)
			r.cancel(errLeft)
			require.True(t, r.ended)
			require.ErrorIs(t, err, errLeft)
			p.resume()
			require.True(t, p.gone)
		})
	}
}

// With KeepOnCancel, a Read can follow a cancelled Read.
func TestNetConnKeepOnCancel(t *testing.T) {
	errLeft := errors.New("client left")
	m := newMemoryLoop(t)
	n, p := m.open()
	n.(interface{ KeepOnCancel(bool) }).KeepOnCancel(true)
	read := func() (r *run, err *error, got *string) {
		err, got = new(error), new(string)
		return m.start(func(*loop.Task) {
			var b [8]byte
			var k int
			k, *err = n.Read(b[:])
			*got = string(b[:k])
		}), err, got
	}
	r, err, _ := read()
	r.cancel(errLeft)
	require.True(t, r.ended)
	require.ErrorIs(t, *err, errLeft)
	var ne net.Error
	require.ErrorAs(t, *err, &ne)
	require.False(t, ne.Timeout())
	temporary, ok := ne.(interface{ Temporary() bool })
	require.True(t, ok && temporary.Temporary(), "crypto/tls may be read again")
	p.send("late")
	r, err, got := read()
	require.True(t, r.ended)
	require.NoError(t, *err)
	require.Equal(t, "late", *got)

	r, err, got = read()
	m.on(func() { // both in one turn: the bytes are in the buffer of the Read already
		p.toConn = []byte("same turn")
		r.task.Cancel(errLeft)
		p.conn.Readable()
	})
	require.True(t, r.ended)
	require.NoError(t, *err)
	require.Equal(t, "same tur", *got)

	n.(interface{ KeepOnCancel(bool) }).KeepOnCancel(false)
	r, _, got = read()
	require.Equal(t, "n", *got)
	r, _, _ = read()
	r.cancel(errLeft)
	require.True(t, p.gone)
}

func TestNetConnWritesInOrder(t *testing.T) {
	m := newMemoryLoop(t)
	n, p := m.open()
	p.stall(100)
	var err error
	r := m.start(func(*loop.Task) {
		for i := range 300 {
			if _, err = n.Write(bytesOf(byte(i), 1+i*20)); err != nil {
				return
			}
		}
		err = n.Close()
	})
	require.False(t, r.ended, "the writer waits")
	for !r.ended {
		p.room += 10_000
		m.on(p.deliver)
	}
	require.NoError(t, err)
	p.resume()
	var want []byte
	for i := range 300 {
		want = append(want, bytesOf(byte(i), 1+i*20)...)
	}
	require.Equal(t, want, p.received)
	require.True(t, p.gone, "closed after the last byte")
}

func bytesOf(b byte, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = b
	}
	return p
}

func TestNetConnConcurrentReads(t *testing.T) {
	m := newMemoryLoop(t)
	n, p := m.open()
	got := map[int]string{}
	runs := make([]*run, 4)
	for i := range runs {
		runs[i] = m.start(func(*loop.Task) {
			b := make([]byte, 3)
			if _, err := io.ReadFull(n, b); err == nil {
				got[i] = string(b)
			}
		})
	}
	runs[1].cancel(context.Canceled) // one of the queue leaves, and closes for all
	for i, r := range runs {
		require.True(t, r.ended, "run %d", i)
	}
	require.Empty(t, got)
	require.True(t, p.gone)

	n, p = m.open()
	for i := range runs {
		runs[i] = m.start(func(*loop.Task) {
			b := make([]byte, 3)
			_, _ = n.Read(b)
			got[i] = string(b)
		})
	}
	p.send("abcdefghijkl")
	require.Equal(t, map[int]string{0: "abc", 1: "def", 2: "ghi", 3: "jkl"}, got)
}

func TestNetConnOnLoopGoroutine(t *testing.T) {
	m := newMemoryLoop(t)
	n, p := m.open()
	m.on(func() {
		_, err := n.Read(make([]byte, 1))
		require.ErrorIs(t, err, loop.ErrOnLoop, "it would never wake")
		_, err = n.Write([]byte("x"))
		require.ErrorIs(t, err, loop.ErrOnLoop)
		require.NoError(t, n.Close(), "closing does not wait")
	})
	require.True(t, p.gone)

	e := startEngine(t, 2, nothing)
	c := dialFrom(t, bound(e), e.Loops()[0], "tcp", testrig.Serve(t, echo))
	failed := make(chan error, 2)
	e.Loops()[1].Post(func() {
		_, err := c.Read(make([]byte, 1))
		failed <- err
		failed <- c.Close()
	})
	require.ErrorIs(t, <-failed, loop.ErrOnLoop, "of another loop: it would stand still")
	require.NoError(t, <-failed)
}

// Each call of the transport fails in turn.
func TestNetConnFailures(t *testing.T) {
	for at := 1; at < 40; at++ {
		m := newMemoryLoop(t)
		n, p := m.open()
		p.failAt, p.failure = at, os.NewSyscallError("read", syscall.ECONNRESET)
		p.onReceive = func(p *peer, b []byte) { p.send(string(b)) }
		var err error
		r := m.start(func(*loop.Task) {
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
		require.True(t, r.ended, "at call %d", at)
		if p.calls >= at && err != nil {
			require.ErrorIs(t, err, syscall.ECONNRESET)
			var op *net.OpError
			require.ErrorAs(t, err, &op)
		}
		require.True(t, p.gone)
	}
}

// The Conn had an earlier Handler, which paused it, pinned its input and set a
// timeout.
func TestNewNetConnReplacesHandler(t *testing.T) {
	m := newMemoryLoop(t)
	p := &peer{m: m, room: unbounded, read: true}
	var n net.Conn
	var view []byte
	m.on(func() {
		p.conn = m.r.Open(p, silent{})
		p.toConn = []byte("request rest")
		p.conn.Readable()
		p.conn.Pin()
		view = p.conn.Input()[:7]
		p.conn.Consume(8)
		p.conn.Pause()
		p.conn.SetTimeout(time.Second)
		n = reactor.NewNetConn(p.conn)
	})
	m.advance(time.Minute)
	require.False(t, p.gone, "the timeout belonged to the earlier Handler")
	var got []byte
	r := m.start(func(*loop.Task) { got, _ = io.ReadAll(n) })
	for range 100 {
		p.send("and more ")
	}
	m.on(p.conn.Unpin)
	require.False(t, r.ended)
	p.closeWrite()
	require.True(t, r.ended)
	require.Equal(t, "rest"+strings.Repeat("and more ", 100), string(got))
	require.Equal(t, "request", string(view), "the view is valid")
}

type silent struct{}

func (silent) Data(*reactor.Conn)          {}
func (silent) Timeout(*reactor.Conn)       {}
func (silent) Closed(*reactor.Conn, error) {}

// Arrived looks into the Conn and, on its loop, into the socket.
func TestNetConnArrived(t *testing.T) {
	e := startEngine(t, 2, nothing)
	for _, u := range users {
		t.Run(u.why, func(t *testing.T) {
			next := make(chan bool)
			addr := testrig.Serve(t, func(c net.Conn) {
				for send := range next {
					if send {
						_, _ = io.WriteString(c, "x")
					} else {
						return
					}
				}
			})
			c := dialFrom(t, bound(e), e.Loops()[0], "tcp", addr)
			arrived := func() (is bool) {
				require.NoError(t, u.run(e, func() { is = c.(interface{ Arrived() bool }).Arrived() }))
				return is
			}
			require.False(t, arrived())
			next <- true
			eventually(t, "a byte arrives", arrived)
			require.NoError(t, u.run(e, func() {
				_, err := c.Read(make([]byte, 1))
				require.NoError(t, err)
			}))
			require.False(t, arrived(), "it is read")
			next <- false
			eventually(t, "the end arrives", arrived)
			close(next)
			require.NoError(t, c.Close())
			require.True(t, arrived(), "an error is something to read")
		})
	}
	c := dialFrom(t, bound(e), e.Loops()[0], "tcp", testrig.Serve(t, echo))
	require.NoError(t, onTask(e.Loops()[0], func(*loop.Task) {
		require.False(t, c.(interface{ Arrived() bool }).Arrived())
		_, err := c.Write(bytesOf('x', 64<<10)) // so much that it is sent at once
		require.NoError(t, err)
		for !c.(interface{ Arrived() bool }).Arrived() {
			runtime.Gosched() // the loop is held: the bytes are in the socket
		}
	}))
	require.NoError(t, c.Close())
}

// Bytes that arrived before a reset can be read.
func TestNetConnBytesBeforeReset(t *testing.T) {
	m := newMemoryLoop(t)
	n, p := m.open()
	p.send("last words")
	p.failAt, p.failure = 1, syscall.ECONNRESET
	m.on(p.conn.Readable)
	require.True(t, p.gone)
	m.start(func(*loop.Task) {
		b, err := io.ReadAll(n)
		require.Equal(t, "last words", string(b))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = n.Write(b)
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

func TestNetConnHalfClose(t *testing.T) {
	const size = 1 << 20
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	e := startEngine(t, 2, nothing)
	d := bound(e)
	for _, u := range users {
		t.Run("the peer first, "+u.why, func(t *testing.T) {
			got := make(chan []byte, 1)
			addr := testrig.Serve(t, func(c net.Conn) {
				_, _ = c.Write(body)
				_ = c.(*net.TCPConn).CloseWrite()
				b, _ := io.ReadAll(c)
				got <- b
			})
			c := dialFrom(t, d, e.Loops()[0], "tcp", addr)
			require.NoError(t, u.run(e, func() {
				b, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Equal(t, sha256.Sum256(body), sha256.Sum256(b))
				_, err = c.Write(body)
				require.NoError(t, err)
				require.NoError(t, c.Close())
			}))
			require.Equal(t, sha256.Sum256(body), sha256.Sum256(<-got))
		})
		t.Run("this side first, "+u.why, func(t *testing.T) {
			addr := testrig.Serve(t, func(c net.Conn) {
				b, _ := io.ReadAll(c)
				_, _ = c.Write(b)
			})
			c := dialFrom(t, d, e.Loops()[0], "tcp", addr)
			require.NoError(t, u.run(e, func() {
				_, err := c.Write(body)
				require.NoError(t, err)
				require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
				_, err = c.Write(body)
				require.ErrorIs(t, err, syscall.EPIPE)
				b, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Equal(t, sha256.Sum256(body), sha256.Sum256(b))
				require.NoError(t, c.Close())
			}))
		})
	}
	eventually(t, "closed", func() bool { return e.Dialed() == 0 })
}

// After the peer has closed, a later Write fails, not the first one.
func TestNetConnWriteAfterPeerClosed(t *testing.T) {
	e := startEngine(t, 2, nothing)
	d := bound(e)
	for _, u := range users {
		t.Run(u.why, func(t *testing.T) {
			addr := testrig.Serve(t, func(net.Conn) {})
			c := dialFrom(t, d, e.Loops()[0], "tcp", addr)
			require.NoError(t, u.run(e, func() {
				_, err := c.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF)
			}))
			eventually(t, "an error of the socket surfaces", func() bool {
				var err error
				require.NoError(t, u.run(e, func() { _, err = c.Write([]byte("x")) }))
				return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
			})
			require.NoError(t, c.Close())
		})
	}
}

// All kinds of goroutines read and write one connection at the same time.
func TestNetConnConcurrentUse(t *testing.T) {
	e := startEngine(t, 2, nothing)
	c := dialFrom(t, bound(e), e.Loops()[0], "tcp", testrig.Serve(t, echo))
	const each, size = 50, 1000
	var wg sync.WaitGroup
	var mu sync.Mutex
	received := map[byte]int{}
	for i, u := range users {
		wg.Go(func() {
			_ = u.run(e, func() {
				for range each {
					if _, err := c.Write(bytesOf(byte(i), size)); err != nil {
						t.Error(err)
					}
				}
			})
		})
		wg.Go(func() {
			_ = u.run(e, func() {
				for left := each * size; left > 0; {
					b := make([]byte, min(left, 700))
					n, err := c.Read(b)
					if err != nil {
						t.Error(err)
						return
					}
					left -= n
					mu.Lock()
					for _, v := range b[:n] {
						received[v]++
					}
					mu.Unlock()
				}
			})
		})
	}
	wg.Wait()
	require.Equal(t, map[byte]int{0: each * size, 1: each * size, 2: each * size}, received)
	require.NoError(t, c.Close())
}

func TestStopReleasesReaders(t *testing.T) {
	addr := testrig.Serve(t, echo)
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 2, Open: nothing})
	require.NoError(t, err)
	d := bound(e)
	ended := make(chan error, 4)
	for i := range 4 {
		c, err := d.Dial("tcp", addr)
		require.NoError(t, err)
		read := func() {
			err := errors.New("unwound")
			defer func() { ended <- err }()
			_, err = c.Read(make([]byte, 1))
		}
		if i%2 == 0 {
			go read()
			continue
		}
		startTask(e.Loops()[0], func(*loop.Task) { read() })
	}
	stopEngine(t, e)
	for range 4 {
		require.Error(t, <-ended)
	}
	_, err = d.Dial("tcp", addr)
	require.Error(t, err)
	require.Equal(t, 0, e.Dialed())
}

func BenchmarkNetConnEcho(b *testing.B) {
	addr := testrig.Serve(b, echo)
	run := func(b *testing.B, c net.Conn, size int) {
		buf := make([]byte, size)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = c.Write(buf)
			_, _ = io.ReadFull(c, buf)
		}
		_ = c.Close()
	}
	for _, size := range []int{100, 1 << 10, 64 << 10} {
		for _, u := range users {
			b.Run(fmt.Sprintf("%d/%s", size, u.why), func(b *testing.B) {
				e := startEngine(b, 2, nothing)
				c := dialFrom(b, bound(e), e.Loops()[0], "tcp", addr)
				_ = u.run(e, func() { run(b, c, size) })
			})
		}
		b.Run(fmt.Sprintf("%d/net", size), func(b *testing.B) {
			c, err := net.Dial("tcp", addr)
			require.NoError(b, err)
			run(b, c, size)
		})
	}
}
