package reactor_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// fullQueue is an engine of one loop that is held and whose queue of posts is full,
// with both ends of a connection. release ends the hold.
type fullQueue struct {
	engine  *reactor.Engine
	server  net.Conn // the loop's
	client  *net.TCPConn
	release func()
}

func newFullQueue(t *testing.T) fullQueue {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Handoff: -1, Limits: reactor.Limits{Limits: loop.Limits{PostMax: 2}},
		Open: func(c *reactor.Conn) reactor.Handler {
			n := reactor.NewNetConn(c)
			accepted <- n
			return n.(reactor.Handler)
		}})
	require.NoError(t, err)
	client, err := net.Dial("tcp", e.Addr().String())
	require.NoError(t, err)
	q := fullQueue{engine: e, server: <-accepted, client: client.(*net.TCPConn)}
	t.Cleanup(func() { _ = client.Close() })
	require.NoError(t, client.SetDeadline(time.Now().Add(20*time.Second)))
	held, hold := make(chan struct{}), make(chan struct{})
	require.True(t, e.Loops()[0].Post(func() { close(held); <-hold }))
	<-held
	for e.Loops()[0].Post(func() {}) {
	}
	q.release = func() { close(hold) }
	return q
}

// Calls that were begun while the queue of posts was full end once the loop
// continues.
func TestFullPostQueueLosesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, q fullQueue)
		see  func(t *testing.T, q fullQueue)
		why  string
	}{
		{"close", func(t *testing.T, q fullQueue) { require.NoError(t, q.server.Close()) }, func(t *testing.T, q fullQueue) {
			_, err := q.client.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		}, "Close closes the connection"},
		{"close write", func(t *testing.T, q fullQueue) {
			require.NoError(t, q.server.(interface{ CloseWrite() error }).CloseWrite())
		}, func(t *testing.T, q fullQueue) {
			_, err := q.client.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		}, "CloseWrite closes one direction"},
		{"write", func(t *testing.T, q fullQueue) {
			n, err := q.server.Write([]byte("answer"))
			require.NoError(t, err)
			require.Equal(t, 6, n)
		}, func(t *testing.T, q fullQueue) {
			all := make([]byte, 6)
			_, err := io.ReadFull(q.client, all)
			require.NoError(t, err)
			require.Equal(t, "answer", string(all))
		}, "written bytes arrive"},
		{"stop accepting", func(t *testing.T, q fullQueue) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			require.ErrorIs(t, q.engine.StopAccepting(ctx, false), context.Canceled, "it has not been done yet")
		}, func(t *testing.T, q fullQueue) {
			require.Eventually(t, func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				return q.engine.StopAccepting(ctx, false) == nil
			}, 20*time.Second, time.Millisecond)
			_, err := net.Dial("tcp", q.engine.Addr().String())
			require.Error(t, err)
		}, "the sockets are closed"},
		{"dial", func(t *testing.T, q fullQueue) {
			ctx, cancel := context.WithCancel(context.Background())
			failed := make(chan error, 1)
			go func() {
				_, err := bound(q.engine).DialContext(ctx, "tcp", q.engine.Addr().String())
				failed <- err
			}()
			t.Cleanup(func() {
				if err := <-failed; err != nil {
					require.NotErrorIs(t, err, loop.ErrClosed, "a busy loop does not count as closed")
				}
			})
			cancel()
		}, func(*testing.T, fullQueue) {}, "a cancelled dial ends"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newFullQueue(t)
			c.do(t, q)
			q.release()
			c.see(t, q)
			stopEngine(t, q.engine)
		})
	}
}

// An engine ends although the queues of its loops are full when Stop is called.
func TestStopWithFullPostQueue(t *testing.T) {
	q := newFullQueue(t)
	stopped := make(chan error, 1)
	go func() { stopped <- q.engine.Stop(context.Background()) }()
	require.Never(t, func() bool { return len(stopped) > 0 }, 20*time.Millisecond, time.Millisecond, "a loop that is held ends later")
	q.release()
	require.NoError(t, <-stopped)
	_, err := q.client.Read(make([]byte, 1))
	require.Error(t, err, "its connections are closed")
}

// A write to a connection whose loop has ended fails.
func TestWriteAfterLoopEnded(t *testing.T) {
	q := newFullQueue(t)
	q.release()
	stopEngine(t, q.engine)
	n, err := q.server.Write([]byte("lost"))
	require.Error(t, err)
	require.Zero(t, n)
	_, err = q.server.Read(make([]byte, 1))
	require.Error(t, err)
	_ = q.server.Close()
}
