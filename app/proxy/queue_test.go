package proxy

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Requests beyond RequestsMax wait in the order in which they came, and no server ever has more than RequestsMax.
func TestRequestsQueue(t *testing.T) {
	t.Parallel()
	const all, most = 60, 3
	var inside, highest atomic.Int64
	busy := func(w http.ResponseWriter, _ *http.Request) {
		n := inside.Add(1)
		for old := highest.Load(); n > old && !highest.CompareAndSwap(old, n); old = highest.Load() {
		}
		time.Sleep(time.Millisecond) // the load of the test, not a synchronisation
		inside.Add(-1)
		_, _ = io.WriteString(w, "x")
	}
	f := serve(t, GroupOptions{Servers: to(backend(t, busy)), RequestsMax: most, WaitTimeout: patience}, Options{})
	var wg sync.WaitGroup
	for range all {
		wg.Go(func() { require.Equal(t, "200 x", f.raw(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")) })
	}
	wg.Wait()
	require.LessOrEqual(t, highest.Load(), int64(most))
	require.Eventually(t, func() bool { s := f.group.Stats(); return s.Waiting == 0 && s.Servers[0].Active == 0 }, patience, time.Millisecond)
	require.NotZero(t, f.group.Stats().Waits)
}

func TestBoundsOfTheQueue(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	end := sync.OnceFunc(func() { close(release) })
	defer end()
	slow := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	const request = "GET /queued HTTP/1.1\r\nHost: a\r\n\r\n"
	occupy := func(t *testing.T, g GroupOptions) (f *front, done func()) {
		f = serve(t, g, Options{})
		over := make(chan struct{})
		go func() {
			defer close(over)
			f.raw(t, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
		}()
		require.Eventually(t, func() bool { return f.group.Stats().Servers[0].Active == 1 }, patience, time.Millisecond)
		return f, func() { <-over }
	}
	g := GroupOptions{Servers: to(slow), RequestsMax: 1, QueueMax: 1, WaitTimeout: patience}
	f, done := occupy(t, g)
	answer := make(chan string)
	go func() { answer <- f.raw(t, request) }()
	require.Eventually(t, func() bool { return f.group.Stats().Waiting == 1 }, patience, time.Millisecond)
	require.Contains(t, f.raw(t, request), "503 all connections to the upstream server are in use", "the queue is full")
	require.EqualValues(t, 1, f.group.Stats().QueueFull)

	short := g
	short.WaitTimeout = 10 * time.Millisecond
	f2, done2 := occupy(t, short)
	require.Contains(t, f2.raw(t, request), "503 all connections to the upstream server are in use", "its time is over")
	require.EqualValues(t, 1, f2.group.Stats().WaitedVain)

	f3, done3 := occupy(t, g)
	c, err := net.Dial("tcp", f3.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return f3.group.Stats().Waiting == 1 }, patience, time.Millisecond)
	require.NoError(t, c.(*net.TCPConn).SetLinger(0)) // a FIN would still get the answer
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return f3.group.Stats().Waiting == 0 }, patience, time.Millisecond, "a client that leaves, leaves the queue")

	end()
	require.Equal(t, "200 /queued", <-answer)
	done()
	done2()
	done3()
	for _, f := range []*front{f, f2, f3} {
		require.Eventually(t, func() bool { return f.group.Stats().Servers[0].Active == 0 }, patience, time.Millisecond, "every place was given back")
	}
}

// A waiting request gets the first server that is free for it, also one that became available meanwhile.
func TestWhatServesTheQueue(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	slow, free := backend(t, func(http.ResponseWriter, *http.Request) { <-release }), backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "free") })
	for _, c := range []struct {
		why           string
		before, after func(g *Group) error
	}{
		{"an operator undrains a server", func(g *Group) error { return g.Drain(free) }, func(g *Group) error { return g.Undrain(free) }},
		{"a health check succeeds", func(g *Group) error { g.servers()[1].set(isDown); return nil }, func(g *Group) error { g.servers()[1].clear(isDown); g.serveQueue(nil); return nil }},
	} {
		f := serve(t, GroupOptions{Servers: to(slow, free), RequestsMax: 1, WaitTimeout: patience, HeadTimeout: patience}, Options{})
		require.NoError(t, c.before(f.group))
		gone, err := net.Dial("tcp", f.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(gone, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return f.group.Stats().Servers[0].Active == 1 }, patience, time.Millisecond)
		answer := make(chan string)
		go func() { answer <- f.raw(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
		require.Eventually(t, func() bool { return f.group.Stats().Waiting == 1 }, patience, time.Millisecond)
		require.NoError(t, c.after(f.group))
		require.Equal(t, "200 free", <-answer, c.why)
		_ = gone.Close()
	}
}
