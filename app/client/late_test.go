package client

// Late responses.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// lateHost is the state of the only host in the loop's pool.
func lateHost(l *loop.Loop, c *Client) (open, idle, late int) {
	done := make(chan bool)
	l.Post(func() {
		defer close(done)
		for _, p := range *c.pools.Load() {
			for _, h := range p.hosts {
				open, idle, late = open+h.open, idle+len(h.idle), late+h.late
			}
		}
	})
	<-done
	return open, idle, late
}

// A late response keeps its connection and never reaches another request.
func TestLateAnswerKeepsTheConnection(t *testing.T) {
	e := loops(t, 1)
	l := e.Loops()[0]
	site := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(site.Close)
	const patience = 200 * time.Millisecond
	giveUp := map[string]func(task *loop.Task, do func(*loop.Task, context.Context, *Request) error) error{
		"a timeout": func(task *loop.Task, do func(*loop.Task, context.Context, *Request) error) error {
			return do(task, nil, &Request{Timeout: patience})
		},
		"a deadline of a group": func(task *loop.Task, do func(*loop.Task, context.Context, *Request) error) (err error) {
			g := task.Group()
			g.SetDeadline(patience)
			_ = g.Go(func(child *loop.Task) error { err = do(child, nil, &Request{}); return err })
			_, _ = g.Settle()
			return err
		},
		"a context that ends": func(task *loop.Task, do func(*loop.Task, context.Context, *Request) error) error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return do(task, ctx, &Request{})
		},
		"a sibling that fails": func(task *loop.Task, do func(*loop.Task, context.Context, *Request) error) (err error) {
			g := task.Group()
			_ = g.Go(func(child *loop.Task) error { err = do(child, nil, &Request{}); return err })
			_ = g.Go(func(child *loop.Task) error { _ = child.Sleep(patience); return errors.New("failed") })
			_ = g.All()
			return err
		},
	}
	for why, give := range giveUp {
		for _, secure := range []bool{false, true} {
			for _, framing := range []string{"length", "chunks", "head only"} {
				t.Run(fmt.Sprintf("%s/tls=%v/%s", why, secure, framing), func(t *testing.T) {
					ln, err := net.Listen("tcp", "127.0.0.1:0")
					require.NoError(t, err)
					scheme := "http://"
					if secure {
						scheme = "https://"
						ln = tls.NewListener(ln, &tls.Config{Certificates: site.TLS.Certificates, MinVersion: tls.VersionTLS12})
					}
					release := make(chan bool)
					p := serveOn(t, ln, func(w *wire) {
						for n := 0; ; n++ {
							req, _ := w.request()
							if req == nil {
								return
							}
							if n == 1 {
								<-release
							}
							id := req.URL.Path[1:]
							switch {
							case req.Method == "HEAD":
								w.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
							case framing == "chunks":
								w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(id), id))
								w.send("0\r\n\r\n")
							default:
								w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(id)))
								w.send(id)
							}
						}
					})
					c := newClient(t, Options{TLS: trust(site), LateTimeout: 10 * time.Second, LateMax: 1, DialTimeout: time.Minute})
					start(t, l, func(task *loop.Task) {
						_, _, err := c.Get(task, nil, scheme+p.addr+"/first", 100) // connected: what comes is the wait
						require.NoError(t, err)
						err = give(task, func(task *loop.Task, ctx context.Context, req *Request) error {
							var resp Response
							req.URL = scheme + p.addr + "/late"
							if framing == "head only" {
								req.Method = "HEAD"
							}
							return c.Do(task, ctx, req, &resp)
						})
						var e *Error
						require.ErrorAs(t, err, &e)
						require.Contains(t, []Kind{KindTimeout, KindCancelled}, e.Kind)
						require.Equal(t, StageHead, e.Stage)
						close(release)
						for c.Stats().Late == 0 {
							require.NoError(t, task.Sleep(time.Millisecond))
						}
						for i := range 3 {
							want := fmt.Sprint("mine", i)
							_, body, err := c.Get(task, nil, scheme+p.addr+"/"+want, 100)
							require.NoError(t, err)
							require.Equal(t, want, string(body))
						}
					}).wait(t)
					assert.EqualValues(t, 1, p.conns.Load())
					assert.EqualValues(t, 1, c.Stats().Dials)
					assert.EqualValues(t, 1, c.Stats().Late)
				})
			}
		}
	}
}

// The slower request of a hedge keeps its connection as well.
func TestLateAnswerOfASlowerTry(t *testing.T) {
	e := loops(t, 1)
	release := make(chan bool)
	var slow atomic.Int32
	p := serve(t, func(w *wire) {
		for {
			req, _ := w.request()
			if req == nil {
				return
			}
			id := req.URL.Path[1:]
			if id == "slow" && slow.Add(1) == 1 {
				<-release
			}
			w.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(id), id))
		}
	})
	c := newClient(t, Options{LateTimeout: 10 * time.Second, Hedge: Hedge{SamplesMin: 5, BudgetPercent: 100, DelayMin: 50 * time.Millisecond}})
	start(t, e.Loops()[0], func(task *loop.Task) {
		ask := func(path string) (string, bool) {
			var resp Response
			defer resp.Close()
			require.NoError(t, c.Do(task, nil, &Request{URL: p.url(path), Hedge: path != "/mine"}, &resp))
			b, err := resp.ReadAll(100)
			require.NoError(t, err)
			return string(b), resp.Hedged
		}
		for range 10 { // latencies to go by
			ask("/warm")
		}
		body, hedged := ask("/slow")
		require.Equal(t, "slow", body)
		require.True(t, hedged)
		close(release)
		for c.Stats().Late == 0 {
			require.NoError(t, task.Sleep(time.Millisecond))
		}
		for range 3 {
			body, _ := ask("/mine")
			require.Equal(t, "mine", body)
		}
	}).wait(t)
	eventually(t, "all are kept", func() bool { s := c.Stats(); return s.Open == int(s.Dials) && s.Idle == s.Open })
	assert.EqualValues(t, 2, slow.Load())
}

// A late response that times out, is too long or has arrived in part closes the connection.
func TestLateAnswersAreBounded(t *testing.T) {
	e := loops(t, 1)
	l := e.Loops()[0]
	gone := errors.New("gone")
	// ask cancels when the peer has received all n requests.
	ask := func(t *testing.T, c *Client, p *peer, asked chan bool, n int) {
		var jobs []*job
		for range n {
			jobs = append(jobs, start(t, l, func(task *loop.Task) {
				_, _, err := c.Get(task, nil, p.url("/"), 1<<20)
				assert.ErrorIs(t, err, gone)
			}))
		}
		for range n {
			<-asked
		}
		for _, j := range jobs {
			j.cancel(l, gone)
			j.wait(t)
		}
	}
	silent := func(t *testing.T) (*peer, chan bool) {
		asked := make(chan bool)
		return serve(t, func(w *wire) { _, _ = w.request(); asked <- true; w.drain() }), asked
	}
	t.Run("none comes", func(t *testing.T) {
		p, asked := silent(t)
		c := newClient(t, Options{LateTimeout: time.Second})
		ask(t, c, p, asked, 3)
		open, idle, late := lateHost(l, c)
		assert.Equal(t, [3]int{3, 0, 3}, [3]int{open, idle, late})
		eventually(t, "closed", func() bool { open, _, late := lateHost(l, c); return open == 0 && late == 0 })
		assert.Zero(t, c.Stats().Late)
	})
	t.Run("more than may wait", func(t *testing.T) {
		p, asked := silent(t)
		c := newClient(t, Options{LateTimeout: 10 * time.Second, LateMax: 2})
		ask(t, c, p, asked, 5)
		open, _, late := lateHost(l, c)
		assert.Equal(t, [2]int{2, 2}, [2]int{open, late})
		require.True(t, l.Post(func() { c.Close() }))
		p.closeAll()
		eventually(t, "closed", func() bool { _, _, late := lateHost(l, c); return late == 0 })
	})
	for why, parts := range map[string][2]string{
		"a part has come":                    {"HTTP/1.1 200", " OK\r\nContent-Length: 1\r\n\r\na"},
		"an interim answer has come":         {"HTTP/1.1 103 Early Hints\r\n\r\n", hello},
		"too long":                           {"", "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("a", 70000)},
		"too long in chunks":                 {"", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30000\r\n" + strings.Repeat("a", 0x30000) + "\r\n0\r\n\r\n"},
		"more than an answer":                {"", hello + hello},
		"not HTTP":                           {"", "pong\r\n\r\n"},
		"the end of the connection is named": {"", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"},
		"the end of the connection is all":   {"", "HTTP/1.1 200 OK\r\n\r\na"},
	} {
		t.Run(why, func(t *testing.T) {
			asked, release, closed := make(chan bool, 16), make(chan bool), make(chan bool)
			var dialer reactor.Dialer
			dialer.Bind(e)
			p := serve(t, func(w *wire) {
				_, _ = w.request()
				w.send(parts[0])
				if parts[0] == "" {
					asked <- true
				}
				<-release
				w.send(parts[1])
				if strings.HasSuffix(why, "is all") {
					return
				}
				w.drain()
				close(closed)
			})
			c := newClient(t, Options{LateTimeout: 10 * time.Second, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				n, err := dialer.DialContext(ctx, network, addr)
				return tapped{n, asked}, err
			}})
			ask(t, c, p, asked, 1)
			close(release)
			if !strings.HasSuffix(why, "is all") {
				<-closed
			}
			eventually(t, "closed", func() bool { open, _, late := lateHost(l, c); return open == 0 && late == 0 })
		})
	}
}

// tapped reports when a part of a response has been read.
type tapped struct {
	net.Conn
	read chan bool
}

func (c tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil {
		select { // the client looks at it before it waits again
		case c.read <- true:
		default:
		}
	}
	return n, err
}

func (c tapped) Arrived() bool       { return c.Conn.(arrivalReporter).Arrived() }
func (c tapped) KeepOnCancel(k bool) { c.Conn.(cancelKeeper).KeepOnCancel(k) }

// A loop that stops does not wait for late responses.
func TestLateAnswersEndWithTheirLoop(t *testing.T) {
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Open: func(c *reactor.Conn) reactor.Handler { c.Close(); return mute{} },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(t, err)
	p := serve(t, func(w *wire) { w.drain() })
	c := newClient(t, Options{LateTimeout: time.Hour, LateMax: 1})
	ask := func(timeout time.Duration) *job {
		return start(t, e.Loops()[0], func(task *loop.Task) {
			var resp Response
			assert.Error(t, c.Do(task, nil, &Request{URL: p.url("/"), Timeout: timeout}, &resp))
		})
	}
	eventually(t, "one is late", func() bool {
		ask(20 * time.Millisecond).wait(t)
		_, _, late := lateHost(e.Loops()[0], c)
		return late == 1
	})
	waiting := ask(0)
	eventually(t, "one is late, one waits", func() bool { open, _, late := lateHost(e.Loops()[0], c); return open == 2 && late == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, e.Stop(ctx))
	<-waiting.done
	assert.Zero(t, c.Stats().Open)
}
