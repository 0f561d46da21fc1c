package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/loop"
)

// eventually waits for another goroutine.
func eventually(t testing.TB, why string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 10*time.Second, time.Millisecond, why)
}

// A connection on which data arrives while it is idle is not reused.
func TestPoisonOnIdleConnections(t *testing.T) {
	tests := []struct {
		why  string
		then func(w *wire)
	}{
		{"one byte", func(w *wire) { w.send("!") }},
		{"an empty line", func(w *wire) { w.send("\r\n") }},
		{"another response", func(w *wire) { w.send(strings.ReplaceAll(hello, "hello", "EVIL!")) }},
		{"an interim response", func(w *wire) { w.send("HTTP/1.1 100 Continue\r\n\r\n") }},
		{"408 from a peer that is tired of waiting", func(w *wire) { w.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") }},
		{"its end", func(w *wire) { _ = w.Close() }},
		{"half of its end", func(w *wire) { _ = w.Conn.(*net.TCPConn).CloseWrite() }},
		{"a reset", func(w *wire) { _ = w.Conn.(*net.TCPConn).SetLinger(0); _ = w.Close() }},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			idle := make(chan bool)
			p := serve(t, func(w *wire) {
				if req, _ := w.request(); req == nil || !w.send(hello) {
					return
				}
				if w.id == 1 {
					<-idle
					tt.then(w)
				}
				w.drain()
			})
			c := newClient(t, Options{})
			_, _, err := fetch(c, p.url("/"))
			require.NoError(t, err)
			require.Equal(t, 1, c.Stats().Idle)
			idle <- true
			eventually(t, "it arrives", c.shared.oldest.arrived)
			var resp Response
			require.NoError(t, c.Do(nil, nil, &Request{Method: "POST", URL: p.url("/")}, &resp))
			body, err := resp.ReadAll(10)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(body))
			assert.False(t, resp.Reused)
			assert.EqualValues(t, 1, c.Stats().Poisoned)
			resp.Close()
		})
	}
}

// A connection that cannot be inspected is used once.
func TestOpaqueConnectionsAreNotPooled(t *testing.T) {
	p := answer(t, hello)
	c := newClient(t, Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		raw, err := d.DialContext(ctx, network, addr)
		return struct{ net.Conn }{raw}, err
	}})
	for range 2 {
		_, body, err := fetch(c, p.url("/"))
		require.NoError(t, err)
		require.Equal(t, "hello", body)
	}
	assert.EqualValues(t, 2, p.conns.Load())
}

// The peer drops the second request on each connection without an answer.
func TestStaleConnections(t *testing.T) {
	tests := []struct {
		why   string
		req   Request
		drop  func(w *wire) // instead of an answer to the second request
		retry bool
	}{
		{"GET", Request{}, nil, true},
		{"HEAD", Request{Method: "HEAD"}, nil, true},
		{"PUT with a body", Request{Method: "PUT", Body: []byte("abc")}, nil, true},
		{"DELETE", Request{Method: "DELETE"}, nil, true},
		{"GET and a reset", Request{}, func(w *wire) { _ = w.Conn.(*net.TCPConn).SetLinger(0) }, true},
		{"POST may have had its effect", Request{Method: "POST", Body: []byte("abc")}, nil, false},
		{"PATCH too", Request{Method: "PATCH", Body: []byte("abc")}, nil, false},
		{"an unknown method too", Request{Method: "BREW"}, nil, false},
		{"POST declared idempotent", Request{Method: "POST", Body: []byte("abc"), Idempotent: true}, nil, true},
		{"a stream cannot be read again", Request{Method: "PUT", Stream: strings.NewReader("abc"), StreamLength: 3}, nil, false},
		{"a response had begun", Request{}, func(w *wire) { w.send("HTTP/1.1 200") }, false},
		{"an interim response is a beginning", Request{}, func(w *wire) { w.send("HTTP/1.1 102 Processing\r\n\r\n") }, false},
	}
	e := loops(t, 1)
	for _, tt := range tests {
		everywhere(t, e, tt.why, Options{}, func(t *testing.T, c *Client, task *loop.Task) {
			p := serve(t, func(w *wire) {
				if req, _ := w.request(); req == nil || !w.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
					return
				}
				if req, _ := w.request(); req != nil && tt.drop != nil {
					tt.drop(w)
				}
			})
			_, _, err := c.Get(task, nil, p.url("/"), 10)
			require.NoError(t, err)
			var resp Response
			req := tt.req
			req.URL = p.url("/")
			if req.Stream != nil {
				req.Stream = strings.NewReader("abc")
			}
			err = c.Do(task, nil, &req, &resp)
			if !tt.retry {
				assert.True(t, requireKind(t, err, KindLost, StageHead).Reused)
				assert.EqualValues(t, 1, p.conns.Load())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, 2, resp.Tries)
			assert.False(t, resp.Reused)
			assert.EqualValues(t, 1, c.Stats().Stale)
			resp.Close()
		})
	}
}

func TestFreshConnectionsAreNotRetried(t *testing.T) {
	p := serve(t, func(w *wire) { _, _ = w.request() })
	c := newClient(t, Options{})
	_, _, err := fetch(c, p.url("/"))
	requireKind(t, err, KindLost, StageHead)
	assert.EqualValues(t, 1, p.conns.Load(), "a peer that drops a new connection means it")
}

func TestRetries(t *testing.T) {
	tests := []struct {
		why   string
		req   Request
		tries int
	}{
		{"none asked for", Request{}, 1},
		{"two more", Request{Retries: 2}, 3},
		{"not for POST", Request{Method: "POST", Retries: 2}, 1},
		{"a timeout each", Request{Retries: 1, Timeout: 20 * time.Millisecond}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			p := serve(t, func(w *wire) {
				if _, _ = w.request(); tt.req.Timeout > 0 {
					w.drain()
				}
			})
			c := newClient(t, Options{})
			req := tt.req
			req.URL = p.url("/")
			var resp Response
			require.Error(t, c.Do(nil, nil, &req, &resp))
			assert.EqualValues(t, tt.tries-1, c.Stats().Retries)
		})
	}
	t.Run("the last succeeds", func(t *testing.T) {
		p := serve(t, func(w *wire) {
			if req, _ := w.request(); req != nil && w.id == 3 {
				w.send(hello)
				w.drain()
			}
		})
		var resp Response
		require.NoError(t, newClient(t, Options{}).Do(nil, nil, &Request{URL: p.url("/"), Retries: 2}, &resp))
		assert.Equal(t, 3, resp.Tries)
		resp.Close()
	})
}

func TestFreshRequests(t *testing.T) {
	p := answer(t, hello)
	c := newClient(t, Options{ConnsPerHostMax: 1})
	for i := range 3 {
		var resp Response
		require.NoError(t, c.Do(nil, nil, &Request{URL: p.url("/"), Fresh: true}, &resp))
		resp.Close()
		assert.EqualValues(t, i+1, p.conns.Load(), "also when it must displace an idle one")
	}
}

func TestClosingRequests(t *testing.T) {
	p := answer(t, hello) // a peer that does not obey
	c := newClient(t, Options{})
	for range 2 {
		var resp Response
		require.NoError(t, c.Do(nil, nil, &Request{URL: p.url("/"), Close: true}, &resp))
		resp.Close()
	}
	assert.EqualValues(t, 2, p.conns.Load())
}

// gate is a peer that answers when the test allows it and counts its requests.
type gate struct {
	*peer
	inside, peak atomic.Int32
	open         chan bool
}

func newGate(t *testing.T) *gate {
	g := &gate{open: make(chan bool)}
	g.peer = serve(t, func(w *wire) {
		for {
			if req, _ := w.request(); req == nil {
				return
			}
			n := g.inside.Add(1)
			for peak := g.peak.Load(); n > peak && !g.peak.CompareAndSwap(peak, n); peak = g.peak.Load() {
			}
			select {
			case <-g.open:
			case <-w.stop:
				return
			}
			g.inside.Add(-1)
			if !w.send(hello) {
				return
			}
		}
	})
	return g
}

func TestConnectionsPerHost(t *testing.T) {
	g := newGate(t)
	c := newClient(t, Options{ConnsPerHostMax: 3, WaitersMax: 50})
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 40 {
		wg.Go(func() {
			if _, body, err := fetch(c, g.url("/")); err != nil || body != "hello" {
				failed.Add(1)
			}
		})
	}
	eventually(t, "the rest waits", func() bool { return c.Stats().Waits == 37 && g.inside.Load() == 3 })
	for range 40 {
		g.open <- true
	}
	wg.Wait()
	assert.Zero(t, failed.Load())
	assert.EqualValues(t, 3, g.peak.Load())
	assert.EqualValues(t, 3, g.conns.Load(), "waiters get connections handed over")
}

func TestWaitersWhoseConnectionDies(t *testing.T) {
	p := serve(t, func(w *wire) {
		if req, _ := w.request(); req != nil {
			w.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
		}
	})
	c := newClient(t, Options{ConnsPerHostMax: 1})
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 20 {
		wg.Go(func() {
			if _, body, err := fetch(c, p.url("/")); err != nil || body != "hello" {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, failed.Load(), "the slot is passed on")
	assert.EqualValues(t, 20, p.conns.Load())
}

func TestQueueForConnections(t *testing.T) {
	g := newGate(t)
	c := newClient(t, Options{ConnsPerHostMax: 1, WaitersMax: 1, WaitTimeout: time.Minute})
	var wg sync.WaitGroup
	wg.Go(func() { _, _, _ = fetch(c, g.url("/")) })
	eventually(t, "the one connection is in use", func() bool { return g.inside.Load() == 1 })

	var resp Response
	requireKind(t, c.Do(nil, nil, &Request{URL: g.url("/"), Timeout: 10 * time.Millisecond}, &resp), KindTimeout, StagePool)

	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gone")
	wg.Go(func() {
		var resp Response
		err := c.Do(nil, ctx, &Request{URL: g.url("/")}, &resp)
		assert.ErrorIs(t, requireKind(t, err, KindCancelled, StagePool), gone)
	})
	eventually(t, "it waits", func() bool { return c.Stats().Waits == 2 })
	assert.ErrorIs(t, requireKind(t, c.Do(nil, nil, &Request{URL: g.url("/")}, &resp), KindBusy, StagePool), ErrQueueFull)
	cancel(gone)
	eventually(t, "it leaves the queue", func() bool {
		c.shared.lock()
		defer c.shared.unlock()
		for _, h := range c.shared.hosts {
			if len(h.waiters) > 0 {
				return false
			}
		}
		return true
	})
	g.open <- true
	wg.Wait()
	assert.Equal(t, 1, c.Stats().Open)
}

func TestConnectionsOfAllHosts(t *testing.T) {
	one, two := newGate(t), newGate(t)
	c := newClient(t, Options{ConnsMax: 2})
	var wg sync.WaitGroup
	var failed atomic.Int32
	get := func(g *gate) {
		wg.Go(func() {
			if _, body, err := fetch(c, g.url("/")); err != nil || body != "hello" {
				failed.Add(1)
			}
		})
	}
	for range 2 {
		get(one)
	}
	eventually(t, "all slots are used", func() bool { return one.inside.Load() == 2 })
	for range 3 {
		get(two)
	}
	eventually(t, "the others wait", func() bool { return c.Stats().Waits == 3 })
	one.open <- true
	one.open <- true
	for range 3 {
		two.open <- true
	}
	wg.Wait()
	assert.Zero(t, failed.Load())
	assert.LessOrEqual(t, two.peak.Load(), int32(2))
	assert.LessOrEqual(t, c.Stats().Open, 2)

	get(one) // idle connections of two make room
	one.open <- true
	wg.Wait()
	assert.Zero(t, failed.Load())
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	g := newGate(t)
	c := newClient(t, Options{IdlePerHostMax: 2})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { _, _, _ = fetch(c, g.url("/")) })
	}
	for range 5 {
		g.open <- true
	}
	wg.Wait()
	assert.Equal(t, 2, c.Stats().Idle)
	assert.Equal(t, 2, c.Stats().Open)
}

func TestIdleConnectionsAreReaped(t *testing.T) {
	ended := make(chan bool, 2)
	p := serve(t, func(w *wire) {
		for {
			if req, _ := w.request(); req == nil || !w.send(hello) {
				ended <- true
				return
			}
		}
	})
	c := newClient(t, Options{IdleTimeout: 20 * time.Millisecond})
	for range 2 {
		_, _, err := fetch(c, p.url("/"))
		require.NoError(t, err)
		<-ended
		eventually(t, "it is forgotten", func() bool { return c.Stats().Idle == 0 && c.Stats().Open == 0 })
	}
}

func TestHostsAreForgotten(t *testing.T) {
	p := answer(t, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
	c := newClient(t, Options{HostsMax: 4, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, p.addr)
	}})
	for i := range 20 {
		_, _, err := fetch(c, fmt.Sprintf("http://host%d/", i))
		require.NoError(t, err)
		assert.LessOrEqual(t, len(c.shared.hosts), 4)
	}
}

func TestClose(t *testing.T) {
	g := newGate(t)
	c := newClient(t, Options{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, body, err := fetch(c, g.url("/"))
		assert.NoError(t, err, "what is under way may finish")
		assert.Equal(t, "hello", body)
	})
	eventually(t, "it is under way", func() bool { return g.inside.Load() == 1 })
	c.Close()
	_, _, err := fetch(c, g.url("/"))
	assert.ErrorIs(t, requireKind(t, err, KindCancelled, StagePool), ErrClosed)
	g.open <- true
	wg.Wait()
	assert.Zero(t, c.Stats().Open)
}

// Cancellation ends a request at any stage and closes its connection.
func TestCancelling(t *testing.T) {
	partial := "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
	tests := []struct {
		why   string
		talk  func(w *wire, reached chan<- bool)
		req   Request
		stage Stage
	}{
		{"before the head", func(w *wire, reached chan<- bool) { _, _ = w.request(); reached <- true }, Request{}, StageHead},
		{"in the head", func(w *wire, reached chan<- bool) { _, _ = w.request(); w.send("HTTP/1.1"); reached <- true }, Request{}, StageHead},
		{"in the body", func(w *wire, _ chan<- bool) { _, _ = w.request(); w.send(partial) }, Request{}, StageBody},
		{"while sending", func(w *wire, reached chan<- bool) { _, _ = w.r.ReadByte(); reached <- true; w.hold() },
			Request{Method: "PUT", Body: make([]byte, 64<<20)}, StageWrite},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			reached, ended := make(chan bool, 1), make(chan bool, 1)
			p := serve(t, func(w *wire) {
				tt.talk(w, reached)
				w.drain()
				ended <- true
			})
			gone := errors.New("gone")
			ctx, cancel := context.WithCancelCause(context.Background())
			go func() { <-reached; cancel(gone) }()
			c := newClient(t, Options{})
			req := tt.req
			req.URL, req.Retries = p.url("/"), 5
			var resp Response
			err := c.Do(nil, ctx, &req, &resp)
			if tt.stage == StageBody && err == nil {
				reached <- true
				_, err = resp.ReadAll(100)
			}
			assert.ErrorIs(t, requireKind(t, err, KindCancelled, tt.stage), gone)
			assert.Zero(t, c.Stats().Open)
			if tt.stage != StageWrite {
				<-ended // the peer sees it
			}
			assert.EqualValues(t, 1, c.Stats().Dials, "no further try is needed")
			resp.Close()
		})
	}
	t.Run("before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		var resp Response
		err := newClient(t, Options{}).Do(nil, ctx, &Request{URL: "http://127.0.0.1:1/"}, &resp)
		assert.ErrorIs(t, requireKind(t, err, KindCancelled, StagePrepare), context.Canceled)
	})
	t.Run("while dialling", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		c := newClient(t, Options{Dial: func(dctx context.Context, network, addr string) (net.Conn, error) {
			cancel()
			return dialNever(dctx, network, addr)
		}})
		var resp Response
		err := c.Do(nil, ctx, &Request{URL: "http://127.0.0.1:1/"}, &resp)
		assert.ErrorIs(t, requireKind(t, err, KindCancelled, StageDial), context.Canceled)
	})
	t.Run("after the end it is too late", func(t *testing.T) {
		p := answer(t, hello)
		c := newClient(t, Options{})
		ctx, cancel := context.WithCancel(context.Background())
		var resp Response
		require.NoError(t, c.Do(nil, ctx, &Request{URL: p.url("/")}, &resp))
		body, err := resp.ReadAll(10)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(body))
		resp.Close()
		cancel()
		_, _, err = fetch(c, p.url("/"))
		assert.NoError(t, err)
		assert.EqualValues(t, 1, p.conns.Load(), "the connection has another owner")
	})
}
