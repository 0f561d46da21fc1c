package loop_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// serve answers each connection with f, on goroutines, until the test ends.
func serve(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				f(c)
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

func nothing(c *loop.Conn) loop.Handler { return loop.NewNetConn(c).(loop.Handler) }

func TestDialedConnections(t *testing.T) {
	addr := serve(t, echo)
	e := startEngine(t, 2, nothing)
	d := bound(e)
	say := func(c net.Conn, msg string) {
		_, err := io.WriteString(c, msg)
		require.NoError(t, err)
		got := make([]byte, len(msg))
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, msg, string(got))
	}
	for i, l := range e.Loops() {
		other := e.Loops()[1-i]
		var c net.Conn
		require.NoError(t, onTask(l, func(*loop.Task) {
			var err error
			c, err = d.Dial("tcp", addr)
			require.NoError(t, err)
			say(c, "from the loop that dialed")
		}))
		require.Equal(t, 1, e.Dialed())
		require.NoError(t, onTask(other, func(*loop.Task) { say(c, "from the other, as a shared pool does") }))
		say(c, "from no loop")
		require.NoError(t, onTask(other, func(*loop.Task) { require.NoError(t, c.Close()) }))

		c, err := d.Dial("tcp", addr)
		require.NoError(t, err, "a goroutine that is no task may dial for tasks")
		require.NoError(t, onTask(l, func(*loop.Task) { say(c, "hello"); require.NoError(t, c.Close()) }))
		require.Eventually(t, func() bool { return e.Dialed() == 0 }, 10*time.Second, time.Millisecond)
	}
}

func TestDialFailures(t *testing.T) {
	errLeft := errors.New("client left")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := ln.Addr().String()
	require.NoError(t, ln.Close())
	asked := make(chan struct{}, 1)
	hangs := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	e := startEngine(t, 1, nothing)
	for _, tc := range []struct {
		why    string
		dialer *loop.Dialer
		addr   string
		cancel bool
		check  func(error)
	}{
		{"nobody listens", &loop.Dialer{}, refused, false, func(err error) {
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			var op *net.OpError
			require.ErrorAs(t, err, &op)
		}},
		{"the resolver hangs: the timeout is of all of it", &loop.Dialer{Timeout: 20 * time.Millisecond, Resolver: hangs}, "nowhere.test:80", false,
			func(err error) {
				var timeout net.Error
				require.ErrorAs(t, err, &timeout)
				require.True(t, timeout.Timeout())
			}},
		{"the task is cancelled meanwhile", &loop.Dialer{Resolver: hangs}, "nowhere.test:80", true, func(err error) { require.ErrorIs(t, err, errLeft) }},
		{"not an address", &loop.Dialer{}, "no port", false, func(err error) { require.Error(t, err) }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			tc.dialer.Bind(e)
			for len(asked) > 0 {
				<-asked
			}
			require.NoError(t, onTask(e.Loops()[0], func(task *loop.Task) {
				if tc.cancel {
					task.Retain()
					go func() {
						<-asked
						e.Loops()[0].Post(func() { task.Cancel(errLeft) })
					}()
				}
				c, err := tc.dialer.Dial("tcp", tc.addr)
				require.Nil(t, c)
				tc.check(err)
			}))
			require.Eventually(t, func() bool { return e.Dialed() == 0 }, 10*time.Second, time.Millisecond)
			if !tc.cancel {
				c, err := tc.dialer.Dial("tcp", tc.addr)
				require.Nil(t, c)
				tc.check(err)
			}
		})
	}
	_, err = (&loop.Dialer{}).Dial("tcp", refused)
	require.ErrorIs(t, err, loop.ErrUnbound)
}

func TestDialMax(t *testing.T) {
	addr := serve(t, echo)
	e, err := loop.Start(loop.Config{Addr: "127.0.0.1:0", Loops: 1, Open: nothing, DialMax: 2})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Stop(context.Background())) }()
	d := bound(e)
	one, err := d.Dial("tcp", addr)
	require.NoError(t, err)
	_, err = d.Dial("tcp", addr)
	require.NoError(t, err)
	_, err = d.Dial("tcp", addr)
	require.ErrorIs(t, err, loop.ErrTooManyDials)
	require.NoError(t, one.Close())
	require.Eventually(t, func() bool { return e.Dialed() == 1 }, 10*time.Second, time.Millisecond)
	_, err = d.Dial("tcp", addr)
	require.NoError(t, err, "a closed one makes room")
}

// TestBacklogLeavesTheLoop reads late from a server that sends much: what does
// not fit waits in the socket, the connection lives on.
func TestBacklogLeavesTheLoop(t *testing.T) {
	const size = 16 << 20
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body)
	sent := make(chan struct{})
	addr := serve(t, func(c net.Conn) {
		if _, err := c.Write(body[:size/2]); err != nil {
			return
		}
		_, _ = c.Write(body[size/2:])
		close(sent)
		echo(c)
	})
	e := startEngine(t, 1, nothing)
	d := bound(e)
	require.NoError(t, onTask(e.Loops()[0], func(task *loop.Task) {
		c, err := d.Dial("tcp", addr)
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		require.NoError(t, task.Sleep(50*time.Millisecond)) // the backlog builds up
		select {
		case <-sent:
			require.Fail(t, "16 MiB went into memory")
		default:
		}
		got := make([]byte, size)
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(body), sha256.Sum256(got))

		_, err = c.Write([]byte("still there"))
		require.NoError(t, err)
		_, err = io.ReadFull(c, got[:11])
		require.NoError(t, err)
		require.Equal(t, "still there", string(got[:11]))
	}))
	require.Eventually(t, func() bool { return e.Dialed() == 0 }, 10*time.Second, time.Millisecond)
}

func TestStopReleasesWhoeverReads(t *testing.T) {
	addr := serve(t, echo)
	e, err := loop.Start(loop.Config{Addr: "127.0.0.1:0", Loops: 2, Open: nothing})
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
		require.True(t, e.Loops()[0].Post(func() {
			_, err := e.Loops()[0].Start(&task{func(*loop.Task) { read() }, make(chan error, 1)})
			require.NoError(t, err)
		}))
	}
	require.NoError(t, e.Stop(context.Background()))
	for range 4 {
		require.Error(t, <-ended)
	}
	_, err = d.Dial("tcp", addr)
	require.Error(t, err)
	require.Equal(t, 0, e.Dialed())
}

// How much more a connection of the loop costs its user than one of net: dial,
// one request and its answer, close; one after the other, and 64 at a time.
func BenchmarkDialRequestClose(b *testing.B) {
	addr := serve(b, echo)
	request := func(c net.Conn, err error) {
		if err != nil {
			panic(err)
		}
		buf := make([]byte, 100)
		_, _ = c.Write(buf)
		_, _ = io.ReadFull(c, buf)
		_ = c.Close()
	}
	for _, width := range []int{1, 64} {
		b.Run(fmt.Sprint("loop/", width), func(b *testing.B) {
			e := startEngine(b, 1, nothing)
			d := bound(e)
			shared(b, width, func(each func()) {
				_ = onTask(e.Loops()[0], func(*loop.Task) { each() })
			}, func() { request(d.Dial("tcp", addr)) })
		})
		b.Run(fmt.Sprint("net/", width), func(b *testing.B) {
			shared(b, width, func(each func()) { each() }, func() { request(net.Dial("tcp", addr)) })
		})
	}
}

// shared divides b.N calls of f among width workers, each of which run starts.
func shared(b *testing.B, width int, run func(each func()), f func()) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			run(func() {
				for left.Add(-1) >= 0 {
					f()
				}
			})
		})
	}
	wg.Wait()
}

// One request and its answer on a connection that is kept.
func BenchmarkRequest(b *testing.B) {
	addr := serve(b, echo)
	run := func(b *testing.B, c net.Conn) {
		buf := make([]byte, 100)
		b.ReportAllocs()
		for b.Loop() {
			_, _ = c.Write(buf)
			_, _ = io.ReadFull(c, buf)
		}
		_ = c.Close()
	}
	dialed := func(b *testing.B, loops int) (*loop.Engine, net.Conn) {
		e := startEngine(b, loops, nothing)
		d := bound(e)
		var c net.Conn
		_ = onTask(e.Loops()[0], func(*loop.Task) { c, _ = d.Dial("tcp", addr) })
		return e, c
	}
	b.Run("loop", func(b *testing.B) {
		e, c := dialed(b, 1)
		_ = onTask(e.Loops()[0], func(*loop.Task) { run(b, c) })
	})
	b.Run("other loop", func(b *testing.B) {
		e, c := dialed(b, 2)
		_ = onTask(e.Loops()[1], func(*loop.Task) { run(b, c) })
	})
	b.Run("no loop", func(b *testing.B) {
		_, c := dialed(b, 1)
		run(b, c)
	})
	b.Run("net", func(b *testing.B) {
		c, err := net.Dial("tcp", addr)
		require.NoError(b, err)
		run(b, c)
	})
}
