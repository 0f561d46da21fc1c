package client

// The client in tasks on real loops.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

func TestTasks(t *testing.T) {
	e := loops(t, 2)
	p := answer(t, hello)
	c := newClient(t, Options{})
	for _, l := range e.Loops() {
		start(t, l, func(task *loop.Task) {
			for i := range 3 {
				status, body, err := c.Get(task, nil, p.url("/"), 100)
				assert.NoError(t, err)
				assert.Equal(t, 200, status)
				assert.Equal(t, "hello", string(body))
				assert.EqualValues(t, i, c.poolOf(task).count.reuses.Load())
			}
		}).wait(t)
	}
	_, _, err := fetch(c, p.url("/"))
	require.NoError(t, err)
	assert.EqualValues(t, 3, p.conns.Load(), "each loop has connections of its own, and so have goroutines")
	assert.EqualValues(t, 3, c.Stats().Idle)
}

// A waiting task does not hold its loop, at any stage of the request.
func TestTasksWaitCooperatively(t *testing.T) {
	e := loops(t, 1)
	g := newGate(t)
	c := newClient(t, Options{ConnsPerHostMax: 2})
	l := e.Loops()[0]
	var jobs []*job
	for range 10 {
		jobs = append(jobs, start(t, l, func(task *loop.Task) {
			_, body, err := c.Get(task, nil, g.url("/"), 100)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(body))
		}))
	}
	eventually(t, "all wait", func() bool { return c.Stats().Waits == 8 && g.inside.Load() == 2 })
	start(t, l, func(*loop.Task) {}).wait(t) // the loop turns
	for range 10 {
		g.open <- true
	}
	for _, j := range jobs {
		j.wait(t)
	}
	assert.EqualValues(t, 2, g.peak.Load())
	assert.EqualValues(t, 2, g.conns.Load())
}

func TestTaskIsCancelled(t *testing.T) {
	gone := errors.New("gone")
	e := loops(t, 1)
	l := e.Loops()[0]
	t.Run("waiting for the head", func(t *testing.T) {
		asked, ended := make(chan bool, 1), make(chan bool, 1)
		p := serve(t, func(w *wire) { _, _ = w.request(); asked <- true; w.drain(); ended <- true })
		c := newClient(t, Options{})
		j := start(t, l, func(task *loop.Task) {
			var resp Response
			err := c.Do(task, nil, &Request{URL: p.url("/"), Retries: 3}, &resp)
			assert.ErrorIs(t, requireKind(t, err, KindCancelled, StageHead), gone)
		})
		<-asked
		j.cancel(l, gone)
		j.wait(t)
		<-ended
		assert.EqualValues(t, 1, c.Stats().Dials)
	})
	t.Run("waiting for the body", func(t *testing.T) {
		ended := make(chan bool, 1)
		p := serve(t, func(w *wire) {
			_, _ = w.request()
			w.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			w.drain()
			ended <- true
		})
		c := newClient(t, Options{})
		reading := make(chan bool, 1)
		j := start(t, l, func(task *loop.Task) {
			var resp Response
			require.NoError(t, c.Do(task, nil, &Request{URL: p.url("/")}, &resp))
			reading <- true
			b, err := resp.ReadAll(100)
			assert.Equal(t, "hello", string(b))
			assert.ErrorIs(t, requireKind(t, err, KindCancelled, StageBody), gone)
			resp.Close()
		})
		<-reading
		j.cancel(l, gone)
		j.wait(t)
		<-ended
	})
	t.Run("waiting for a connection", func(t *testing.T) {
		g := newGate(t)
		c := newClient(t, Options{ConnsPerHostMax: 1})
		first := start(t, l, func(task *loop.Task) { _, _, _ = c.Get(task, nil, g.url("/"), 100) })
		eventually(t, "it has the connection", func() bool { return g.inside.Load() == 1 })
		j := start(t, l, func(task *loop.Task) {
			_, _, err := c.Get(task, nil, g.url("/"), 100)
			assert.ErrorIs(t, requireKind(t, err, KindCancelled, StagePool), gone)
		})
		eventually(t, "it waits", func() bool { return c.Stats().Waits == 1 })
		j.cancel(l, gone)
		j.wait(t)
		g.open <- true
		first.wait(t)
		assert.Equal(t, 1, c.Stats().Idle)
	})
	t.Run("by its deadline", func(t *testing.T) {
		p := serve(t, func(w *wire) { w.drain() })
		c := newClient(t, Options{})
		start(t, l, func(task *loop.Task) {
			task.SetDeadline(20 * time.Millisecond)
			_, _, err := c.Get(task, nil, p.url("/"), 100)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, KindCancelled, kindOf(err))
		}).wait(t)
	})
	t.Run("by a context", func(t *testing.T) {
		p := serve(t, func(w *wire) { w.drain() })
		c := newClient(t, Options{})
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		start(t, l, func(task *loop.Task) {
			_, _, err := c.Get(task, ctx, p.url("/"), 100)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, KindCancelled, kindOf(err))
			assert.NoError(t, task.Err(), "the task goes on")
			assert.NoError(t, task.Sleep(time.Millisecond))
		}).wait(t)
	})
	t.Run("by a timeout of the try", func(t *testing.T) {
		p := serve(t, func(w *wire) { w.drain() })
		c := newClient(t, Options{})
		start(t, l, func(task *loop.Task) {
			var resp Response
			err := c.Do(task, nil, &Request{URL: p.url("/"), Timeout: 10 * time.Millisecond, Retries: 1}, &resp)
			requireTimeout(t, err, StageHead)
			assert.EqualValues(t, 1, c.Stats().Retries)
		}).wait(t)
	})
}

func TestTaskStaleConnection(t *testing.T) {
	e := loops(t, 1)
	p := serve(t, func(w *wire) {
		if req, _ := w.request(); req != nil && w.send(hello) {
			_, _ = w.request()
		}
	})
	c := newClient(t, Options{})
	start(t, e.Loops()[0], func(task *loop.Task) {
		for range 3 {
			_, body, err := c.Get(task, nil, p.url("/"), 100)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(body))
		}
	}).wait(t)
	assert.EqualValues(t, 2, c.Stats().Stale+c.Stats().Poisoned)
}

// Data on an idle connection of a loop is detected in the socket and in the loop's buffer.
func TestPoisonOnALoop(t *testing.T) {
	e := loops(t, 1)
	idle := make(chan bool)
	p := serve(t, func(w *wire) {
		for {
			if req, _ := w.request(); req == nil || !w.send(hello) {
				return
			}
			if w.id == 1 {
				<-idle
				w.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				idle <- true
			}
		}
	})
	c := newClient(t, Options{})
	start(t, e.Loops()[0], func(task *loop.Task) {
		_, _, err := c.Get(task, nil, p.url("/"), 100)
		assert.NoError(t, err)
		idle <- true
		<-idle
		for _, i := 0, 0; i < 1000 && !c.poolOf(task).oldest.arrived(); i++ {
			assert.NoError(t, task.Sleep(time.Millisecond))
		}
		for range 2 {
			_, body, err := c.Get(task, nil, p.url("/"), 100)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(body))
		}
		assert.EqualValues(t, 1, c.Stats().Poisoned)
	}).wait(t)
}

func TestTaskReaper(t *testing.T) {
	e := loops(t, 1)
	p := answer(t, hello)
	c := newClient(t, Options{IdleTimeout: 10 * time.Millisecond})
	for range 2 {
		start(t, e.Loops()[0], func(task *loop.Task) {
			_, _, err := c.Get(task, nil, p.url("/"), 100)
			assert.NoError(t, err)
		}).wait(t)
		eventually(t, "it is reaped", func() bool { return c.Stats().Open == 0 })
	}
}

func TestConnectionsOfAllLoops(t *testing.T) {
	e := loops(t, 2)
	g := newGate(t)
	c := newClient(t, Options{ConnsMax: 3})
	var jobs []*job
	for i := range 20 {
		jobs = append(jobs, start(t, e.Loops()[i%2], func(task *loop.Task) {
			_, body, err := c.Get(task, nil, g.url("/"), 100)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(body))
		}))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, body, err := fetch(c, g.url("/"))
		assert.NoError(t, err)
		assert.Equal(t, "hello", body)
	})
	for range 21 {
		g.open <- true
	}
	for _, j := range jobs {
		j.wait(t)
	}
	wg.Wait()
	assert.LessOrEqual(t, g.peak.Load(), int32(3))
}

// A loop that stops cancels its own requests and no others.
func TestLoopStops(t *testing.T) {
	g := newGate(t)
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(c *reactor.Conn) reactor.Handler { c.Close(); return mute{} },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(t, err)
	c := newClient(t, Options{ConnsPerHostMax: 1})
	var jobs []*job
	for range 3 {
		jobs = append(jobs, start(t, e.Loops()[0], func(task *loop.Task) {
			_, _, err := c.Get(task, nil, g.url("/"), 100)
			assert.ErrorIs(t, err, loop.ErrShutdown)
		}))
	}
	eventually(t, "one asks, two wait", func() bool { return c.Stats().Waits == 2 && g.inside.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, e.Stop(ctx))
	for _, j := range jobs {
		<-j.done
	}
	assert.Zero(t, c.Stats().Open)
	close(g.open)
	_, _, err = fetch(c, g.url("/"))
	assert.NoError(t, err, "other goroutines go on")
}

func TestHedgeInTasks(t *testing.T) {
	e := loops(t, 1)
	for _, tt := range []struct {
		why           string
		first, second string
		want          string
	}{
		{"the second is faster", "-", fromSecond, "second"},
		{"the first is faster", fromFirst, "-", "first"},
		{"the first breaks", "nonsense", fromSecond, "second"},
		{"both break", "nonsense", "nonsense", ""},
	} {
		t.Run(tt.why, func(t *testing.T) {
			d := newDuel(t)
			c := newClient(t, Options{Hedge: Hedge{SamplesMin: 10, BudgetPercent: 100, DelayMin: 2 * time.Millisecond}})
			start(t, e.Loops()[0], func(task *loop.Task) {
				var resp Response
				for range 10 {
					assert.NoError(t, c.Do(task, nil, &Request{URL: d.url("/"), Hedge: true}, &resp))
				}
				resp.Close()
				close(d.armed)
				go func() {
					first, second := <-d.shots, <-d.shots
					if tt.first != "-" {
						first.done <- tt.first
					}
					if tt.second != "-" {
						second.done <- tt.second
					}
				}()
				err := c.Do(task, nil, &Request{URL: d.url("/"), Hedge: true}, &resp)
				if tt.want == "" {
					requireKind(t, err, KindProtocol, StageHead)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, tt.want == "second", resp.Hedged)
				body, err := resp.ReadAll(100)
				assert.NoError(t, err)
				assert.Equal(t, tt.want, string(body))
				resp.Close()
			}).wait(t)
			eventually(t, "the loser is gone", func() bool { return c.Stats().Open == c.Stats().Idle })
		})
	}
}

func TestNoCrossTalkInTasks(t *testing.T) {
	for _, late := range []time.Duration{0, 200 * time.Millisecond} {
		t.Run(fmt.Sprint("late answers for ", late), func(t *testing.T) { noCrossTalkInTasks(t, late) })
	}
}

func noCrossTalkInTasks(t *testing.T, late time.Duration) {
	e := loops(t, 2)
	p := serve(t, rogue)
	c := newClient(t, Options{ConnsPerHostMax: 16, LateTimeout: late,
		Hedge: Hedge{SamplesMin: 10, BudgetPercent: 20, DelayMin: time.Microsecond}})
	var answered, failed atomic.Int32
	var jobs []*job
	for worker := range 32 {
		jobs = append(jobs, start(t, e.Loops()[worker%2], func(task *loop.Task) {
			for i := range 100 {
				id := fmt.Sprintf("%d-%d", worker, i)
				body, head, err := askRogue(c, task, p, id, i)
				if err != nil {
					failed.Add(1)
					continue
				}
				answered.Add(1)
				if body != id || head != id {
					t.Errorf("request %s got the response of %s/%s", id, head, body)
				}
			}
		}))
	}
	for _, j := range jobs {
		j.wait(t)
	}
	t.Logf("%d answered, %d failed: %+v", answered.Load(), failed.Load(), c.Stats())
	assert.Positive(t, answered.Load())
	assert.Positive(t, failed.Load())
	assert.Equal(t, late > 0, c.Stats().Late > 0)
}

// Large bodies in both directions, in tasks, with and without TLS.
func TestTasksAndNetHTTP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			e := loops(t, 2)
			s := httptest.NewUnstartedServer(http.HandlerFunc(handler))
			o := Options{}
			if secure {
				s.StartTLS()
				o.TLS = trust(s)
			} else {
				s.Start()
			}
			defer s.Close()
			c := newClient(t, o)
			var jobs []*job
			for i := range 4 {
				jobs = append(jobs, start(t, e.Loops()[i%2], func(task *loop.Task) {
					for _, query := range []string{"size=13&length", "size=400000&flush", "size=400000&length", "status=204", "size=100000&flush&close"} {
						for _, upload := range []int64{0, 100, 300000} {
							var resp Response
							req := Request{Method: "PUT", URL: s.URL + "/?" + query, Stream: strings.NewReader(strings.Repeat("u", int(upload))), StreamLength: upload}
							if upload == 100 {
								req.StreamLength = -1
							}
							if !assert.NoError(t, c.Do(task, nil, &req, &resp)) {
								return
							}
							assert.Contains(t, string(resp.Header("Echo")), fmt.Sprintf(" %d ", upload))
							n, err := resp.WriteTo(io.Discard)
							assert.NoError(t, err)
							if resp.ContentLength >= 0 {
								assert.Equal(t, resp.ContentLength, n)
							}
							resp.Close()
						}
					}
				}))
			}
			for _, j := range jobs {
				j.wait(t)
			}
		})
	}
}

// A connection that is opened too late for its request is used by the next one. Otherwise, with deadlines shorter
// than a dial, no request would succeed.
func TestDialsOutliveTheirRequests(t *testing.T) {
	e := loops(t, 1)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer up.Close()
	var dialer reactor.Dialer
	dialer.Bind(e)
	refuse := errors.New("refused")
	var refusing atomic.Bool
	c := newClient(t, Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if err := e.Current().Sleep(100 * time.Millisecond); err != nil {
			return nil, err
		}
		if refusing.Load() {
			return nil, refuse
		}
		return dialer.DialContext(ctx, network, addr)
	}})
	l := e.Loops()[0]
	hurried := func(task *loop.Task) {
		var resp Response
		err := c.Do(task, nil, &Request{URL: up.URL, Timeout: 10 * time.Millisecond}, &resp)
		var failed *Error
		if assert.ErrorAs(t, err, &failed) {
			assert.Equal(t, KindTimeout, failed.Kind)
			assert.Equal(t, StageDial, failed.Stage)
		}
	}
	start(t, l, hurried).wait(t)
	patient := start(t, l, func(task *loop.Task) {
		if assert.NoError(t, task.Sleep(200*time.Millisecond)) {
			_, body, err := c.Get(task, nil, up.URL, 100)
			assert.NoError(t, err)
			assert.Equal(t, "ok", string(body))
		}
	})
	patient.wait(t)
	assert.EqualValues(t, 1, c.Stats().Dials)

	// The connection of a cancelled task is used by another request as well.
	c.closeAllForTest(t, l)
	cancelled := start(t, l, func(task *loop.Task) {
		_, _, err := c.Get(task, nil, up.URL, 100)
		assert.ErrorIs(t, err, refuse)
	})
	eventually(t, "it dials", func() bool { return c.Stats().Dials == 2 })
	cancelled.cancel(l, refuse)
	cancelled.wait(t)
	start(t, l, func(task *loop.Task) {
		_, _, err := c.Get(task, nil, up.URL, 100)
		assert.NoError(t, err)
	}).wait(t)

	// A failed dial fails the request that started it, unless that request has another connection.
	refusing.Store(true)
	c.closeAllForTest(t, l)
	var jobs []*job
	for range 3 {
		jobs = append(jobs, start(t, l, func(task *loop.Task) {
			_, _, err := c.Get(task, nil, up.URL, 100)
			var failed *Error
			if assert.ErrorAs(t, err, &failed) {
				assert.Equal(t, KindDial, failed.Kind)
				assert.ErrorIs(t, err, refuse)
			}
		}))
	}
	for _, j := range jobs {
		j.wait(t)
	}
}

// closeAllForTest closes the idle connections of a loop, so that the next request dials.
func (c *Client) closeAllForTest(t *testing.T, l *loop.Loop) {
	t.Helper()
	eventually(t, "no dial is under way", func() bool { s := c.Stats(); return s.Open == s.Idle })
	done := make(chan struct{})
	l.Post(func() {
		for _, p := range *c.pools.Load() {
			if p.loop == l {
				p.closeIdle()
			}
		}
		close(done)
	})
	<-done
}
