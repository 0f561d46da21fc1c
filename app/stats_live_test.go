package app

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/httpparse"
	"tafe/loop"
	"tafe/loop/reactor"
)

// The counters of a loop are read as they are while it is held, with its queue of posts full; and what waits for the loop then is
// done when it goes on.
func TestStatsOfALoopThatIsHeld(t *testing.T) {
	a := New(Options{Log: quiet})
	held, hold := make(chan struct{}), make(chan struct{})
	a.Get("/fast", func(c *Context) error { return c.NoContent(204) })
	a.Get("/hold", func(c *Context) error { close(held); <-hold; return c.NoContent(204) })
	s := serveWith(t, a, ServerConfig{Addr: "127.0.0.1:0", Loops: 1, Handoff: -1, Limits: reactor.Limits{Limits: loop.Limits{PostMax: 4}}})
	require.Equal(t, 204, statusOf(t, s, "/fast"))
	var answer sync.WaitGroup
	answer.Go(func() { statusOf(t, s, "/hold") })
	<-held
	for s.Engine().Loops()[0].Post(func() {}) {
	}
	got := s.Stats()
	require.EqualValues(t, 2, got.Requests)
	require.Equal(t, 1, got.Active)
	require.Equal(t, uint64(1), got.ByClass[2])
	require.Len(t, got.Loops[0].Routes, 2)

	swapped, drained := make(chan error, 1), make(chan error, 1)
	next := New(Options{Log: quiet})
	next.Get("/fast", func(c *Context) error { return c.NoContent(202) })
	s.EndKept()
	go func() { swapped <- s.Swap(t.Context(), next) }()
	require.Never(t, func() bool { return len(swapped) > 0 }, 10*time.Millisecond, time.Millisecond)
	close(hold)
	require.NoError(t, <-swapped, "the queue was full, and the loop takes the App")
	answer.Wait()
	require.Equal(t, 202, statusOf(t, s, "/fast"))
	resp, err := http.Get("http://" + s.Addr().String() + "/fast")
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.True(t, resp.Close, "the queue was full, and kept connections end")

	again := make(chan struct{})
	require.True(t, s.Engine().Loops()[0].Post(func() { <-again }))
	for s.Engine().Loops()[0].Post(func() {}) {
	}
	go func() { drained <- s.Drain(t.Context()) }()
	require.Never(t, func() bool { return len(drained) > 0 }, 10*time.Millisecond, time.Millisecond)
	close(again)
	require.NoError(t, <-drained)
}

func statusOf(t *testing.T, s *Server, path string) int {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("http://" + s.Addr().String() + path)
	if err != nil {
		t.Error(err)
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// Counters may be read at any moment, and never go back.
func TestStatsWhileTheyAreCounted(t *testing.T) {
	a := New(Options{Log: quiet})
	a.Get("/{n}", func(c *Context) error { return c.NoContent(200 + int(c.Param("n")[0]-'0')) })
	s := serve(t, a, 2)
	var stop atomic.Bool
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			conn, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			buf := make([]byte, 4096)
			for i := 0; !stop.Load(); i++ {
				_, _ = fmt.Fprintf(conn, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i%4)
				if _, err := conn.Read(buf); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	before := map[string]uint64{}
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		got := s.Stats()
		for i, l := range got.Loops {
			for _, r := range l.Routes {
				for _, n := range r.Answers {
					key := fmt.Sprint(i, r.Route.Name, n.Method, n.Status)
					require.GreaterOrEqual(t, n.Count, before[key])
					before[key] = n.Count
				}
			}
		}
		runtime.Gosched()
	}
	stop.Store(true)
	clients.Wait()
	require.NotEmpty(t, before)
}

// Reloads do not let the account of routes grow, whatever the routes are called.
func TestReloadsLeaveTheAccountFlat(t *testing.T) {
	version := func(n int) *App {
		a := New(Options{Log: quiet})
		a.Get(fmt.Sprint("/v", n), func(c *Context) error { return c.NoContent(204) })
		return a
	}
	s := serve(t, version(0), 1)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var middle uint64
	for n := range 400 {
		require.Equal(t, 204, statusOf(t, s, fmt.Sprint("/v", n)))
		counted(t, s, func(now Stats) bool { return now.Active == 0 }) // the answer leaves before it is counted
		require.NoError(t, s.Swap(t.Context(), version(n+1)))
		if n == 200 {
			middle = heap()
		}
	}
	require.Less(t, heap(), middle+(2<<20), "200 reloads keep nothing")
	routes, answers := s.Stats().Loops[0].Routes, uint64(0)
	require.LessOrEqual(t, len(routes), routesKept+2)
	for _, r := range routes {
		for _, n := range r.Answers {
			answers += n.Count
		}
	}
	require.EqualValues(t, 400, answers, "and nothing that was counted is lost")
}

// A recycled Context keeps no large head, whatever the bounds of heads are.
func TestLargeHeadsAreNotKept(t *testing.T) {
	limits := httpparse.Limits{HeadBytesMax: 1 << 20, HeaderCountMax: 10_000, TargetBytesMax: 1 << 19, BodyBytesMax: 1 << 20}
	a := New(Options{Log: quiet, Limits: limits})
	a.Post("/{path...}", func(c *Context) error {
		_ = c.Query("q")
		_, err := c.Body()
		return errors.Join(err, c.NoContent(204))
	})
	r := newRig(t, a, reactor.Limits{InboundMax: 4 << 20})
	large := strings.Repeat("a", 100<<10)
	fields := strings.Repeat("X-Field: v\r\n", 5000)
	for range 3 {
		p := r.dial()
		p.send("POST /%61" + large + "?q=%61" + large + " HTTP/1.1\r\nHost: a\r\nX-Large: " + large + "\r\n" + fields + "Content-Length: 2\r\n\r\n")
		p.send("ok")
	}
	require.NotEmpty(t, r.state.free, "%+v %v", r.state.counts, r.state.reasons.snapshot())
	require.EqualValues(t, 3, r.state.counts.ByClass[2], "%v", r.state.reasons.snapshot())
	for _, c := range r.state.free {
		require.LessOrEqual(t, max(cap(c.head), cap(c.pathSpace), cap(c.query)), headKeptMax)
	}
}
