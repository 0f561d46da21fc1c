package load

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(path string, status int, body int64) Request {
	return Request{Name: path, Raw: []byte("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"), Status: status, BodyBytes: body}
}

// serve starts a net/http server and gives its address.
func serve(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// plan ends by count in a closed loop: a busy machine takes longer, and finds the same.
func plan(addr netip.AddrPort, requests ...Request) Plan {
	return Plan{Addr: addr, Conns: 4, Warmup: 10 * time.Millisecond, Window: time.Minute, EndedMax: 200, CPU: -1, Requests: requests, Seed: 1}
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func TestClosedLoop(t *testing.T) {
	for _, tc := range []struct {
		why    string
		change func(*Plan)
	}{
		{"one at a time", func(*Plan) {}},
		{"pipelined", func(p *Plan) { p.Depth = 16 }},
		{"a connection for each request", func(p *Plan) { p.Reconnect = true }},
		{"a body larger than the socket takes at once", func(p *Plan) {
			body := make([]byte, 4<<20)
			head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(body))
			p.Requests[0].Raw = append([]byte(head), body...)
			p.EndedMax = 10
		}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			var served atomic.Int64
			p := plan(serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				served.Add(1)
				hello(w, r)
			}), get("/", 200, 5))
			tc.change(&p)
			res, err := Run(p)
			require.NoError(t, err)
			require.Empty(t, res.Errors)
			require.Positive(t, res.Answered)
			require.Equal(t, res.Answered, res.Classes[0].Latency.TotalCount(), "each answer of the window has its latency")
			require.LessOrEqual(t, res.Answered, served.Load())
			require.Positive(t, res.CPU)
		})
	}
}

func TestErrorsHaveTheirClass(t *testing.T) {
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}
	for _, tc := range []struct {
		why, class string
		handler    http.HandlerFunc
	}{
		{"another status", ErrorStatus, http.NotFound},
		{"another length", ErrorLength, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hell") }},
		{"closed in the middle of a body", ErrorClosed, raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")},
		{"closed without a word", ErrorClosed, raw("")},
		{"no HTTP", ErrorMalformed, raw("220 smtp.example ESMTP\r\n\r\n")},
		{"an answer too many", ErrorMalformed, raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")},
	} {
		t.Run(tc.why, func(t *testing.T) {
			res, err := Run(plan(serve(t, tc.handler), get("/", 200, 5)))
			require.NoError(t, err)
			require.Zero(t, res.Answered, "a wrong answer is none")
			require.Positive(t, res.Errors[tc.class], "%v", res.Errors)
		})
	}
}

func TestRefusedConnectionsEndTheRun(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	addr := netip.MustParseAddrPort(l.Addr().String())
	require.NoError(t, l.Close())
	_, err = Run(plan(addr, get("/", 200, 5)))
	require.ErrorIs(t, err, errRefused)
}

// A server that never answers must not make the requests disappear that were due while it was silent: that omission is
// what an open loop is for.
func TestOpenLoopCountsWhatASilentServerDelays(t *testing.T) {
	release := make(chan struct{})
	addr := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	p := plan(addr, get("/", 200, 5))
	p.Rate, p.Even, p.Timeout = 1000, true, 50*time.Millisecond
	p.Window, p.EndedMax = 100*time.Millisecond, 0
	res, err := Run(p)
	require.NoError(t, err)
	require.Zero(t, res.Answered)
	due := res.Classes[0].Latency.TotalCount()
	require.InDelta(t, float64(p.Window)/1e6, float64(due), 3, "one a millisecond was due in the window")
	require.GreaterOrEqual(t, res.Errors[ErrorTimeout]+res.Errors[ErrorUnsent], due, "%v", res.Errors)
}

func TestOpenLoopAnswersAllThatWasDue(t *testing.T) {
	p := plan(serve(t, hello), get("/", 200, 5), get("/other", 200, 5))
	p.Rate, p.Requests[1].Share = 2000, 0.25
	p.Window, p.EndedMax = 100*time.Millisecond, 0
	res, err := Run(p)
	require.NoError(t, err)
	require.Empty(t, res.Errors)
	first, second := res.Classes[0].Latency.TotalCount(), res.Classes[1].Latency.TotalCount()
	require.InDelta(t, 200, float64(first+second), 80, "exponential gaps: the mean, and four deviations and more around it")
	require.Greater(t, first, second, "three of four are of the first kind")
	require.Positive(t, second)
}

// A server may close idle connections whenever it likes: that loses no request of an open loop that was not sent.
func TestOpenLoopSurvivesIdleCloses(t *testing.T) {
	var once sync.Map
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, seen := once.LoadOrStore(r.RemoteAddr, true); seen {
			w.Header().Set("Connection", "close")
		}
		hello(w, r)
	})
	p := plan(addr, get("/", 200, 5))
	p.Rate = 1000
	res, err := Run(p)
	require.NoError(t, err)
	require.Empty(t, res.Errors)
	require.Positive(t, res.Answered)
}

func TestEdgesSeeTheWindow(t *testing.T) {
	var served, atStart, atEnd atomic.Int64
	p := plan(serve(t, func(w http.ResponseWriter, r *http.Request) { served.Add(1); hello(w, r) }), get("/", 200, 5))
	p.AtStart = func() { atStart.Store(served.Load()) }
	p.AtEnd = func() { atEnd.Store(served.Load()) }
	res, err := Run(p)
	require.NoError(t, err)
	require.InDelta(t, float64(atEnd.Load()-atStart.Load()), float64(res.Answered), float64(2*p.Conns), "answers and requests differ by what is in flight")
}

func TestPlansThatMakeNoSense(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:1")
	for _, tc := range []struct {
		why    string
		change func(*Plan)
	}{
		{"load goes to this machine only", func(p *Plan) { p.Addr = netip.MustParseAddrPort("192.0.2.1:80") }},
		{"no connection", func(p *Plan) { p.Conns = 0 }},
		{"nothing to send", func(p *Plan) { p.Requests = nil }},
		{"an empty request", func(p *Plan) { p.Requests[0].Raw = nil }},
		{"no time", func(p *Plan) { p.Window = 0 }},
		{"pipelining on a schedule", func(p *Plan) { p.Depth, p.Rate = 2, 10 }},
		{"a new connection each time on a schedule", func(p *Plan) { p.Reconnect, p.Rate = true, 10 }},
		{"fields are missing", func(p *Plan) { p.HTTP2 = true }},
		{"HTTP/2 with two kinds of request", func(p *Plan) { p.HTTP2, p.Requests = true, []Request{get2("/", 200, 5), get2("/", 200, 5)} }},
		{"HTTP/2 with a body of several frames", func(p *Plan) { p.HTTP2, p.Requests = true, []Request{post2("/", make([]byte, 20_000), 5)} }},
		{"shares leave nothing for the first", func(p *Plan) {
			p.Requests = append(p.Requests, Request{Name: "b", Raw: []byte("x"), Share: 1})
		}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			p := plan(addr, get("/", 200, 5))
			tc.change(&p)
			_, err := Run(p)
			require.Error(t, err)
		})
	}
}

func TestFifoKeepsOrderWhileItGrows(t *testing.T) {
	var q fifo[int]
	next := 0
	for i := range 1000 {
		q.push(i)
		if i%3 == 2 {
			require.Equal(t, next, q.pop())
			next++
		}
	}
	for q.len() > 0 {
		require.Equal(t, next, q.pop())
		next++
	}
	require.Equal(t, 1000, next)
}

func TestHold(t *testing.T) {
	var open atomic.Int64
	park := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/park" {
			<-park
		}
		hello(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	defer s.Close()
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	hold := Holding{Addr: addr, Conns: 300, Request: get("/", 200, 5), Until: Answered, Limit: 10 * time.Second}
	h, err := Hold(hold)
	require.NoError(t, err)
	require.EqualValues(t, 300, open.Load())
	h.Close()
	parked := hold
	parked.Conns, parked.Request, parked.Until = 10, get("/park", 200, 5), Sent
	h, err = Hold(parked)
	require.NoError(t, err, "no answer is waited for")
	close(park)
	h.Close()
	for _, tc := range []struct {
		why    string
		change func(*Holding)
	}{
		{"status 200", func(h *Holding) { h.Request.Status = 404 }},
		{"descriptors", func(h *Holding) { h.Conns = 1 << 30 }},
		{"loopback", func(h *Holding) { h.Addr = netip.MustParseAddrPort("192.0.2.1:80") }},
	} {
		wrong := hold
		tc.change(&wrong)
		_, err := Hold(wrong)
		require.ErrorContains(t, err, tc.why)
	}
}

func TestHoldStreams(t *testing.T) {
	park := make(chan struct{})
	var parked atomic.Int64
	addr := serve2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/park" {
			parked.Add(1)
			<-park
		}
		hello(w, r)
	})
	h, err := Hold(Holding{Addr: addr, Conns: 150, Streams: 2, Request: get2("/", 200, 5), Until: Answered, Limit: 10 * time.Second})
	require.NoError(t, err)
	h.Close()
	h, err = Hold(Holding{Addr: addr, Conns: 3, Streams: 100, Request: get2("/park", 200, 5), Until: Sent, Limit: 10 * time.Second})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return parked.Load() == 300 }, 20*time.Second, time.Millisecond, "all requests arrive")
	close(park)
	h.Close()
	_, err = Hold(Holding{Addr: addr, Conns: 1, Streams: 1, Request: get2("/", 404, 5), Until: Answered, Limit: 10 * time.Second})
	require.ErrorContains(t, err, "status 200")
}

// feed is a server of events that sends each message to all clients when they are told to.
func feed(t *testing.T) (addr netip.AddrPort, publish func(message string)) {
	var mu sync.Mutex
	clients := map[chan string]bool{}
	ended := make(chan struct{})
	addr = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		c := make(chan string, 10)
		mu.Lock()
		clients[c] = true
		mu.Unlock()
		control := http.NewResponseController(w)
		_ = control.Flush()
		for {
			select {
			case m := <-c:
				_, _ = io.WriteString(w, m)
				_ = control.Flush()
			case <-ended:
				return
			}
		}
	})
	t.Cleanup(func() { close(ended) })
	return addr, func(message string) {
		mu.Lock()
		defer mu.Unlock()
		for c := range clients {
			c <- message
		}
	}
}

func TestDeliver(t *testing.T) {
	addr, publish := feed(t)
	h, err := Hold(Holding{Addr: addr, Conns: 200, Request: get("/", 200, -1), Until: Begun, Limit: 10 * time.Second})
	require.NoError(t, err)
	defer h.Close()
	deliver := func() *Result {
		res, err := h.Deliver('~', func() error {
			publish("not the end: the message comes in two pieces")
			publish("~")
			return nil
		}, 20*time.Second)
		require.NoError(t, err)
		return res
	}
	res := deliver()
	require.EqualValues(t, 200, res.Answered)
	require.EqualValues(t, 200, res.Classes[0].Latency.TotalCount())
	require.GreaterOrEqual(t, res.Classes[1].Latency.Max(), res.Classes[0].Latency.Max(), "the last is the slowest")
	window := res.Window
	res.Join(deliver())
	require.EqualValues(t, 400, res.Answered)
	require.EqualValues(t, 2, res.Classes[1].Latency.TotalCount())
	require.Greater(t, res.Window, window)
	_, err = h.Deliver('~', func() error { return nil }, time.Millisecond)
	require.ErrorContains(t, err, "200 of 200 connections have no message")
}
