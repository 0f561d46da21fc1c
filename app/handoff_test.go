package app

// Handlers that hold their loop: each test has one loop and real sockets, and passes only if the loop is handed over.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop"
	"tafe/loop/looptest"
)

// together is how many requests the tests send at once.
const together = 8

// askTogether sends so many requests at once, each on a connection of its own, and tells the longest time of one.
func askTogether(t *testing.T, s *Server, path func(i int) string, status int, want func(i int) string) {
	t.Helper()
	var wg sync.WaitGroup
	var slowest atomic.Int64
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := range together {
		wg.Go(func() {
			began := time.Now()
			resp, err := client.Get("http://" + s.Addr().String() + path(i))
			if err != nil {
				t.Errorf("request %d: %v", i, err)
				return
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != status || want != nil && string(body) != want(i) {
				t.Errorf("request %d: %d %.200s (%v)", i, resp.StatusCode, body, err)
			}
			for took := int64(time.Since(began)); ; {
				if have := slowest.Load(); have >= took || slowest.CompareAndSwap(have, took) {
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("the slowest of %d: %v", together, time.Duration(slowest.Load()).Round(time.Millisecond))
}

func same(s string) func(int) string { return func(int) string { return s } }

// on runs f on the server's first loop, and waits for that.
func on(t *testing.T, s *Server, f func(l *loop.Loop)) {
	t.Helper()
	done := make(chan struct{})
	l := s.Engine().Loops()[0]
	require.True(t, l.Post(func() { f(l); close(done) }))
	select {
	case <-done:
	case <-time.After(patience):
		require.Fail(t, "the loop is held")
	}
}

// wasTaken asserts that the loop was, where the run does not have all handlers start beside it.
func wasTaken(t *testing.T, times uint64, why string) {
	t.Helper()
	if !looptest.HandsOffAlways() {
		require.Positive(t, times, why)
	}
}

// handoffs is how often the first loop was taken.
func handoffs(t *testing.T, s *Server) (n uint64) {
	t.Helper()
	on(t, s, func(l *loop.Loop) { n = l.Observe().Stats().Handoffs })
	return n
}

// released waits until so many tasks of the first loop run beside it.
func released(t *testing.T, s *Server, n int) {
	t.Helper()
	l := s.Engine().Loops()[0]
	require.Eventually(t, func() bool {
		l.Post(func() {}) // somebody waits for the loop
		return l.Observe().Released() == n
	}, patience, time.Millisecond)
}

// Everyday Go that stops an event loop for good: here one request pays for itself.
func TestHandoffOfBlockingHandlers(t *testing.T) {
	var self atomic.Value // the server's own address
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	pool := make(chan int, 1)
	pool <- 1
	dir := t.TempDir()
	a := New(Options{Log: quiet})
	a.Get("/hello", func(c *Context) error { return c.String(200, hello) })
	a.Get("/mutex", func(c *Context) error {
		mu.Lock()
		defer mu.Unlock()
		if err := c.Sleep(10 * time.Millisecond); err != nil {
			return err
		}
		return c.String(200, hello)
	})
	a.Get("/pool", func(c *Context) error {
		x := <-pool
		defer func() { pool <- x }()
		if err := c.Sleep(10 * time.Millisecond); err != nil {
			return err
		}
		return c.String(200, hello)
	})
	a.Get("/self", func(c *Context) error {
		resp, err := client.Get("http://" + self.Load().(string) + "/hello")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		return c.Bytes(200, "", body)
	})
	a.Get("/exec", func(c *Context) error {
		if err := exec.Command("true").Run(); err != nil {
			return err
		}
		return c.String(200, hello)
	})
	a.Get("/fifo/{i}", func(c *Context) error {
		content, err := os.ReadFile(filepath.Join(dir, c.Param("i")))
		if err != nil {
			return err
		}
		return c.Bytes(200, "", content)
	})
	a.Get("/spin/{i}", func(c *Context) error {
		i := c.Param("i")
		spin(50 * time.Millisecond)
		return c.JSON(200, map[string]string{"i": i, "path": c.Path()})
	})
	a.Post("/body", func(c *Context) error {
		spin(5 * time.Millisecond)
		body, err := c.Body()
		if err != nil {
			return err
		}
		spin(5 * time.Millisecond)
		return c.Bytes(200, "", body)
	})
	a.Get("/stream", func(c *Context) error {
		s := c.Stream(200, "text/plain")
		for range 5 {
			spin(5 * time.Millisecond)
			if _, err := io.WriteString(s, hello); err != nil {
				return err
			}
		}
		return s.Flush()
	})
	s := serve(t, a, 1)
	self.Store(s.Addr().String())

	feed := func() { // by other processes, a moment later
		for i := range together {
			name := filepath.Join(dir, strconv.Itoa(i))
			require.NoError(t, unix.Mkfifo(name, 0o600))
			feeder := exec.Command("sh", "-c", "sleep 0.2; printf 'fed "+strconv.Itoa(i)+"' >"+name)
			require.NoError(t, feeder.Start())
			t.Cleanup(func() { _ = feeder.Wait() })
		}
	}
	numbered := func(prefix string) func(int) string { return func(i int) string { return prefix + strconv.Itoa(i) } }
	for _, c := range []struct {
		why  string
		path func(int) string
		want func(int) string
	}{
		{"a mutex that is held across a wait", same("/mutex"), same(hello)},
		{"a pool of one, handed over by a channel", same("/pool"), same(hello)},
		{"a plain http.Client that asks the server itself", same("/self"), same(hello)},
		{"a process that is waited for", same("/exec"), same(hello)},
		{"a file that blocks", numbered("/fifo/"), numbered("fed ")},
		{"computing, and then an answer", numbered("/spin/"), func(i int) string { return fmt.Sprintf(`{"i":"%d","path":"/spin/%d"}`, i, i) }},
		{"computing between the pieces of a stream", same("/stream"), same(strings.Repeat(hello, 5))},
	} {
		t.Run(c.why, func(t *testing.T) {
			if c.why == "a file that blocks" {
				feed()
			}
			before := handoffs(t, s)
			askTogether(t, s, c.path, 200, c.want)
			wasTaken(t, handoffs(t, s)-before, c.why)
		})
	}
	t.Run("a body that arrives while its handler computes", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range together {
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte('a' + i)}, 300<<10)
				resp, err := client.Post("http://"+s.Addr().String()+"/body", "", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || !bytes.Equal(body, got) {
					t.Errorf("%d bytes (%v)", len(got), err)
				}
			})
		}
		wg.Wait()
	})
	// An answer leaves before its task has returned.
	require.Eventually(t, func() bool { return s.Engine().Loops()[0].Observe().Released() == 0 }, patience, time.Millisecond)
}

// spin computes for d.
func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

// held is an App with handlers that hold their loop until they are told to go on, and GET /go, which tells them.
type held struct {
	*App
	started chan struct{} // one value for each that holds
	release chan struct{}
	once    sync.Once
}

func newHeld(t *testing.T, o Options) *held {
	if o.Log == nil {
		o.Log = quiet
	}
	h := &held{App: New(o), started: make(chan struct{}, together), release: make(chan struct{})}
	t.Cleanup(h.free)
	h.Get("/hello", func(c *Context) error { return c.String(200, hello) })
	h.Get("/go", func(c *Context) error { h.free(); return c.String(200, hello) })
	return h
}

func (h *held) free() { h.once.Do(func() { close(h.release) }) }

// hold returns once free was called. That it does, where a request calls it, shows that the loop was taken.
func (h *held) hold() {
	h.started <- struct{}{}
	<-h.release
}

// However a handler ends after its loop was taken, the request is answered as ever.
func TestHandoffEndings(t *testing.T) {
	for _, c := range []struct {
		why    string
		end    func(c *Context) error
		status int
		reason string
	}{
		{"an answer", func(c *Context) error { return c.String(200, hello) }, 200, ""},
		{"nothing", func(*Context) error { return nil }, 200, ""},
		{"an error", func(*Context) error { return Error(418, "") }, 418, ""},
		{"a panic", func(*Context) error { panic("boom") }, 500, "panic"},
		{"Goexit", func(*Context) error { runtime.Goexit(); return nil }, 500, "goexit"},
		{"a panic after a wait", func(c *Context) error { _ = c.Sleep(time.Millisecond); panic("boom") }, 500, "panic"},
		{"a lock of the thread that is left behind", func(c *Context) error { runtime.LockOSThread(); return c.String(200, hello) }, 200, ""},
	} {
		h := newHeld(t, Options{})
		h.Get("/", func(x *Context) error { h.hold(); return c.end(x) })
		s := serve(t, h.App, 1)
		conn, other := dial(t, s), dial(t, s)
		r := bufio.NewReader(conn)
		_, err := io.WriteString(conn, "GET /"+get+"GET /hello"+get)
		require.NoError(t, err)
		<-h.started
		_, err = io.WriteString(other, "GET /go"+get)
		require.NoError(t, err)
		answered(t, bufio.NewReader(other), 200, saying(hello), c.why)
		answered(t, r, c.status, func(got string) string { return got }, c.why)
		answered(t, r, 200, saying(hello), c.why+": the connection goes on")
		if c.reason != "" {
			requireReason(t, s, c.reason, 1, c.why)
		}
		wasTaken(t, h.Routes()[2].Handoffs(), c.why)
	}
}

func saying(s string) func(string) string { return func(string) string { return s } }

// A deadline that passes while a handler runs beside its loop cancels it as ever.
func TestHandoffDeadline(t *testing.T) {
	for _, c := range []struct {
		why string
		end func(c *Context) error
	}{
		{"the next wait tells", func(c *Context) error { return c.Sleep(time.Minute) }},
		{"the context tells", func(c *Context) error { return c.Err() }},
		{"a handler that does not look", func(*Context) error { return nil }},
		{"a handler that writes a stream", func(c *Context) error {
			_, err := io.WriteString(c.Stream(200, ""), hello)
			if err == nil {
				return errors.New("a write after the deadline")
			}
			return err
		}},
	} {
		h := newHeld(t, Options{})
		got := make(chan error, 1)
		h.Get("/", func(x *Context) error {
			<-x.Done()
			err := c.end(x)
			got <- err
			return err
		}, Timeout(20*time.Millisecond))
		s := serve(t, h.App, 1)
		conn := dial(t, s)
		_, err := io.WriteString(conn, "GET /"+get)
		require.NoError(t, err)
		answered(t, bufio.NewReader(conn), 503, func(got string) string { return got }, c.why)
		if err := <-got; err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded, c.why)
		}
		requireReason(t, s, "handler-timeout", 1, c.why)
		wasTaken(t, handoffs(t, s), c.why)
	}
}

// A client that leaves while a handler runs beside its loop: the handler learns it at its next wait or write.
func TestHandoffClientLeaves(t *testing.T) {
	for _, c := range []struct {
		why string
		end func(c *Context) error
	}{
		{"at a wait", func(c *Context) error { return c.Sleep(time.Minute) }},
		{"at a yield", func(c *Context) error { return c.Yield() }},
		{"at a stream's write", func(c *Context) error { _, err := io.WriteString(c.Stream(200, ""), hello); return err }},
		{"at reading the body", func(c *Context) error { _, err := c.Body(); return err }},
		{"at Hijack", func(c *Context) error { _, err := c.Hijack(); return err }},
		{"after an answer that nobody reads", func(c *Context) error {
			_ = c.String(200, hello)
			_ = c.Bytes(200, "", make([]byte, 1<<20))
			return c.Err()
		}},
		{"after a large answer that nobody reads", func(c *Context) error { _ = c.Bytes(200, "", make([]byte, 1<<20)); return c.Err() }},
	} {
		ended := make(chan error, 1)
		a := New(Options{Log: quiet})
		a.Post("/", func(x *Context) error {
			<-x.Done()
			err := c.end(x)
			ended <- err
			return err
		})
		s := serve(t, a, 1)
		conn := dial(t, s)
		_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
		require.NoError(t, err)
		released(t, s, 1)
		reset(t, conn)
		require.ErrorIs(t, <-ended, ErrClientGone, c.why)
		counted(t, s, func(now Stats) bool { return now.Conns == 0 && now.Active == 0 })
		requireReason(t, s, "client-gone", 1, c.why)
	}
}

// From a route with a negative Handoff the loop is never taken.
func TestHandoffOff(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("all handlers start beside their loops")
	}
	for _, c := range []struct {
		why    string
		config time.Duration
		opts   []RouteOption
		taken  bool
	}{
		{"by default it is taken", 0, nil, true},
		{"not from this route", 0, []RouteOption{Handoff(-1)}, false},
		{"not on this server", -1, nil, false},
		{"but from a route with its own time", -1, []RouteOption{Handoff(time.Millisecond)}, true},
		{"a route with more time than it takes", 0, []RouteOption{Handoff(time.Hour)}, false},
	} {
		a := New(Options{Log: quiet})
		started, told := make(chan struct{}, 1), make(chan struct{})
		a.Get("/", func(x *Context) error {
			started <- struct{}{}
			select {
			case <-told: // by another request, on the same loop
			case <-time.After(100 * time.Millisecond):
				if c.taken {
					<-told
				}
			}
			return x.String(200, hello)
		}, c.opts...)
		a.Get("/tell", func(x *Context) error { close(told); return x.String(200, hello) })
		s := serveWith(t, a, ServerConfig{Loops: 1, Handoff: c.config})
		one, two := dial(t, s), dial(t, s)
		_, err := io.WriteString(one, "GET /"+get)
		require.NoError(t, err)
		<-started
		_, err = io.WriteString(two, "GET /tell"+get)
		require.NoError(t, err)
		answered(t, bufio.NewReader(one), 200, saying(hello), c.why)
		answered(t, bufio.NewReader(two), 200, saying(hello), c.why)
		require.Equal(t, c.taken, a.Routes()[0].Handoffs() > 0, c.why)
	}
}
