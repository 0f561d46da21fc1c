package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

const (
	post100 = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	echoed  = "HTTP/1.1 200 OK\r\n" + stamp + "Content-Length: 3\r\n\r\nabc"
)

// Times out of the rig's clock: a message that stands still is given up, at the time and in the way its state asks for.
func TestTimeouts(t *testing.T) {
	noStamp := func(s string) string { // the clock has moved
		for _, line := range strings.SplitAfter(s, "\r\n") {
			if strings.HasPrefix(line, "Date: ") {
				s = strings.ReplaceAll(s, line, "")
			}
		}
		return s
	}
	for _, c := range []struct {
		why, send string
		after     time.Duration // still open until just before
		want      string
		reason    string
	}{
		{"nothing was ever sent: closed without a word", "", 75 * time.Second, "", ""},
		{"part of a head", "GET /plain", 10 * time.Second, refusal("408 Request Timeout", "the request head did not arrive in time"), "head-timeout"},
		{"one empty line counts as a beginning", "\r\n", 10 * time.Second, refusal("408 Request Timeout", "the request head did not arrive in time"), "head-timeout"},
		{"idle after an answer", "GET /plaintext" + get, 75 * time.Second, text("200 OK", hello), ""},
		{"part of the next head", "GET /plaintext" + get + "G", 10 * time.Second,
			text("200 OK", hello) + refusal("408 Request Timeout", "the request head did not arrive in time"), "head-timeout"},
		{"part of a body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", 30 * time.Second,
			text("408 Request Timeout", "the request body did not arrive in time\n", closes), "body-timeout"},
		{"part of a chunk", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na", 30 * time.Second,
			text("408 Request Timeout", "the request body did not arrive in time\n", closes), "body-timeout"},
		{"part of an unread body", "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", 30 * time.Second,
			text("200 OK", "not read"), "body-timeout"},
	} {
		r := newRig(t, demo(Options{}), reactor.Limits{})
		p := r.dial()
		p.send(c.send)
		r.advance(c.after - time.Millisecond)
		require.False(t, p.eof || p.closed, c.why)
		r.advance(2 * time.Millisecond)
		require.True(t, p.eof, c.why)
		require.Equal(t, noStamp(c.want), noStamp(p.taken()), c.why)
		if c.reason != "" {
			require.EqualValues(t, 1, r.state.reasons.snapshot()[c.reason], c.why)
		}
		r.advance(time.Minute)
		require.Empty(t, r.state.conns, c.why)
	}
}

// A head that trickles in does not get more time by it; a body does, as long as enough of it comes.
func TestTimeoutsOfSlowMessages(t *testing.T) {
	r := newRig(t, demo(Options{}), reactor.Limits{})
	p := r.dial()
	for i := 0; i < 12 && !p.eof; i++ {
		p.send("G")
		r.advance(time.Second)
	}
	require.True(t, p.eof, "a byte a second is no head")

	p = r.dial()
	p.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n")
	for range 50 {
		p.send("x")
		r.advance(29 * time.Second)
	}
	require.Contains(t, p.taken(), " 408 ", "a byte in half a minute is no body")

	p = r.dial()
	p.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n")
	for range 5 {
		r.advance(29 * time.Second)
		p.send(strings.Repeat("x", 10_000))
	}
	require.True(t, strings.HasSuffix(p.taken(), strings.Repeat("x", 50_000)), "a slow body is a body, as long as enough of it comes")

	p = r.dial()
	for range 5 {
		p.send("GET /plaintext" + get)
		r.advance(74 * time.Second)
	}
	require.Equal(t, 5, strings.Count(p.taken(), hello), "the idle time begins anew with each answer")
}

func TestHandlerTimeout(t *testing.T) {
	a := New(Options{Log: quiet, HandlerTimeout: time.Second})
	var deadline time.Time
	wait := func(c *Context) error {
		deadline, _ = c.Deadline()
		return c.Sleep(time.Minute)
	}
	a.Get("/wait", wait)
	a.Get("/patient", wait, Timeout(10*time.Second))
	a.Get("/ignores", func(c *Context) error { _ = c.Sleep(time.Minute); return nil })
	a.Get("/answers", func(c *Context) error { _ = c.Sleep(time.Minute); return c.String(200, hello) })
	a.Get("/midway", func(c *Context) error {
		_, _ = c.Stream(200, "").Write([]byte(hello))
		return c.Sleep(time.Minute)
	})
	for _, c := range []struct {
		why, path, want string
		after           time.Duration
		cut             bool
	}{
		{"the error of the wait", "/wait", "HTTP/1.1 503 ", time.Second, false},
		{"a route with its own time", "/patient", "HTTP/1.1 503 ", 10 * time.Second, false},
		{"a handler that does not look", "/ignores", "HTTP/1.1 503 ", time.Second, false},
		{"a handler that has something better", "/answers", "HTTP/1.1 200 ", time.Second, false},
		{"too late to say so: the client sees a truncated body", "/midway", "HTTP/1.1 200 ", time.Second, true},
	} {
		r := newRig(t, a, reactor.Limits{})
		p := r.dial()
		p.send("GET " + c.path + get)
		before := p.taken()
		r.advance(c.after - time.Millisecond)
		require.Empty(t, p.taken(), c.why)
		r.advance(2 * time.Millisecond)
		got := before + p.taken()
		require.True(t, strings.HasPrefix(got, c.want), "%s: %s", c.why, got)
		require.Equal(t, 1, strings.Count(got, "HTTP/1.1"), c.why)
		require.Equal(t, c.cut, p.closed, c.why)
		require.NotContains(t, got, "\r\n0\r\n\r\n", c.why)
	}
	require.False(t, deadline.IsZero())
}

func TestExpectContinue(t *testing.T) {
	const interim = "HTTP/1.1 100 Continue\r\n\r\n"
	for _, c := range []struct {
		why, head, body, first, then string
		eof                          bool
	}{
		{"asked for when the body is read", post100, "abc", interim, echoed, false},
		{"never if the handler answers without reading: the client may send the body or not",
			strings.Replace(post100, "/echo", "/unread", 1), "abc", text("200 OK", "not read", closes), "", true},
		{"nor if the route does not exist", strings.Replace(post100, "/echo", "/no", 1), "abc", text("404 Not Found", "Not Found\n", closes), "", true},
		{"a client that does not wait needs no leave", post100 + "a", "bc", "", echoed, false},
		{"nor one that sent everything", post100 + "abc", "", echoed, "", false},
		{"HTTP/1.0 knows no 100", strings.Replace(post100, "HTTP/1.1", "HTTP/1.0", 1), "abc", "",
			strings.Replace(echoed, "\r\n\r\nabc", "\r\nConnection: close\r\n\r\nabc", 1), true},
	} {
		r := newRig(t, demo(Options{}), reactor.Limits{})
		p := r.dial()
		p.send(c.head)
		require.Equal(t, c.first, p.taken(), c.why)
		p.send(c.body)
		require.Equal(t, c.then, p.taken(), c.why)
		require.Equal(t, c.eof, p.eof, c.why)
	}
}

// Wherever a handler waits, the client may leave: the wait ends with ErrClientGone, and nothing stays behind.
func TestClientLeaves(t *testing.T) {
	for _, c := range []struct {
		why, body string
		wait      func(c *Context) error
	}{
		{"while the handler sleeps", "abc", func(c *Context) error { return c.Sleep(time.Hour) }},
		{"before it waits again", "abc", func(c *Context) error { _ = c.Sleep(time.Hour); return c.Yield() }},
		{"while it waits for the body", "a", func(c *Context) error { _, err := c.Body(); return err }},
		{"while it reads the body", "a", func(c *Context) error { _, err := io.ReadAll(c.BodyReader()); return err }},
		{"while it waits for the client to read", "abc", func(c *Context) error {
			_, err := c.Stream(200, "").Write(make([]byte, 1<<20))
			return err
		}},
		{"before it writes", "abc", func(c *Context) error {
			_ = c.Sleep(time.Hour)
			_, err := c.Stream(200, "").Write([]byte(hello))
			return err
		}},
		{"while a context made of it is waited for", "abc", func(c *Context) error {
			ctx, cancel := context.WithCancel(c)
			defer cancel()
			_ = c.Sleep(time.Hour)
			<-ctx.Done()
			return context.Cause(ctx)
		}},
	} {
		var ended error
		a := New(Options{Log: quiet})
		a.Post("/", func(x *Context) error { ended = c.wait(x); return ended })
		r := newRig(t, a, reactor.Limits{OutboundMax: 64 << 10})
		p := r.dial()
		p.room = 1000
		p.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n" + c.body)
		require.NoError(t, ended, "%s: it has not waited", c.why)
		require.Equal(t, 1, r.state.active, c.why)
		p.hangUp()
		require.ErrorIs(t, ended, ErrClientGone, c.why)
		require.ErrorIs(t, ended, context.Canceled, c.why)
		require.Zero(t, r.state.active, c.why)
		require.Empty(t, r.state.conns, c.why)
		require.EqualValues(t, 1, r.state.reasons.snapshot()["client-gone"], c.why)
	}
}

// A handler's view of its request does not change while more bytes arrive.
func TestViewsStayValid(t *testing.T) {
	for _, first := range []string{"3\r\n\r\nabc", "3\r\n\r\n"} {
		a := New(Options{Log: quiet})
		a.Post("/views/{name}", func(c *Context) error {
			path, name, header, body := c.Path(), c.Param("name"), c.Header("X-Sender"), []byte(nil)
			if first != "3\r\n\r\n" {
				body, _ = c.Body()
			}
			if err := c.Sleep(time.Second); err != nil {
				return err
			}
			if body == nil {
				body, _ = c.Body()
			}
			return c.String(200, fmt.Sprint(path, name, header, string(body)))
		})
		r := newRig(t, a, reactor.Limits{})
		p := r.dial()
		p.send("POST /views/one HTTP/1.1\r\nHost: a\r\nX-Sender: me\r\nContent-Length: " + first)
		if first == "3\r\n\r\n" {
			p.send("abc")
		}
		for range 100 {
			p.send("POST /views/two HTTP/1.1\r\nHost: a\r\nX-Sender: you\r\nContent-Length: 3\r\n\r\nxyz" + strings.Repeat(" ", 0))
		}
		r.advance(time.Second + time.Millisecond)
		require.Contains(t, p.taken(), "/views/oneonemeabc")
		for range 100 {
			r.advance(time.Second + time.Millisecond)
			require.Contains(t, p.taken(), "/views/twotwoyouxyz")
		}
	}
}

// A body that ends too early is not to be taken for a whole one.
func TestBrokenStreams(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		why   string
		write func(s *Stream) error
	}{
		{"an error midway", func(s *Stream) error { _, _ = s.Write([]byte("part")); return boom }},
		{"a panic midway", func(s *Stream) error { _, _ = s.Write([]byte("part")); panic(boom) }},
		{"less than announced", func(s *Stream) error {
			s.c.SetHeader("Content-Length", "10")
			_, err := s.Write([]byte("part"))
			return err
		}},
		{"more than announced", func(s *Stream) error {
			s.c.SetHeader("Content-Length", "5")
			_, _ = s.Write([]byte("part"))
			_, err := s.Write([]byte("part"))
			return err
		}},
	} {
		a := New(Options{Log: quiet})
		a.Get("/", func(x *Context) error { return c.write(x.Stream(200, "")) })
		r := newRig(t, a, reactor.Limits{})
		p := r.dial()
		p.send("GET /" + get + "GET /" + get)
		got := p.taken()
		require.True(t, p.closed, "%s: %s", c.why, got)
		require.Equal(t, 1, strings.Count(got, "part"), c.why)
		require.Equal(t, 1, strings.Count(got, "HTTP/1.1"), c.why)
		require.NotContains(t, got, "\r\n0\r\n", c.why)
	}
}

// A client that does not read holds up only itself, and not forever.
func TestClientThatDoesNotRead(t *testing.T) {
	a := demo(Options{})
	body := strings.Repeat("x", 10<<10)
	a.Get("/large", func(c *Context) error { return c.String(200, body) })
	r := newRig(t, a, reactor.Limits{OutboundMax: 64 << 10, WriteTimeout: 10 * time.Second})
	p, other := r.dial(), r.dial()
	p.room = 0
	p.send(strings.Repeat("GET /large"+get, 100))
	answered := r.state.counts.Requests
	require.Less(t, answered, uint64(10), "requests are not answered into memory without bound")
	other.send("GET /plaintext" + get)
	require.Equal(t, text("200 OK", hello), other.taken())
	for range 100 {
		p.read(20 << 10)
		r.advance(time.Second)
	}
	require.Equal(t, 100, strings.Count(p.taken(), body), "it gets everything as it reads on")
	p.room = 0
	p.send(strings.Repeat("GET /large"+get, 100))
	r.advance(21 * time.Second)
	require.True(t, p.closed)
	require.EqualValues(t, 1, r.state.reasons.snapshot()["write-timeout"])
}

// An endless stream to a client that takes nothing ends after WriteTimeout, although its handler writes on and never fills the output;
// one to a client that takes a little now and then goes on.
func TestStreamToAStalledClient(t *testing.T) {
	for _, takes := range []int{0, 20 << 10} { // every 5 s
		ended := error(nil)
		a := New(Options{Log: quiet})
		a.Get("/events", func(c *Context) error {
			s := c.Stream(200, "text/event-stream")
			for ended == nil {
				_, ended = s.Write(make([]byte, 4<<10))
				if ended == nil {
					ended = s.Flush()
				}
				if ended == nil {
					ended = c.Sleep(time.Second)
				}
			}
			return ended
		})
		r := newRig(t, a, reactor.Limits{WriteTimeout: 10 * time.Second})
		p := r.dial()
		p.room = 1000
		p.send("GET /events" + get)
		for range 12 {
			r.advance(5 * time.Second)
			p.read(takes)
		}
		if takes > 0 {
			require.NoError(t, ended)
			require.False(t, p.closed)
			p.hangUp()
			continue
		}
		require.True(t, p.closed)
		require.ErrorIs(t, ended, ErrClientGone)
		require.EqualValues(t, 1, r.state.reasons.snapshot()["write-timeout"])
		require.Less(t, r.now.Load(), int64(65*time.Second))
	}
}

// chainMax is loop's: so many pipelined requests of one connection run before others have their turn.
const chainMax = 32

// One connection's pipeline is cut into turns, so that others are served in between.
func TestPipelineIsFair(t *testing.T) {
	r := newRig(t, demo(Options{}), reactor.Limits{})
	greedy, other := r.dial(), r.dial()
	greedy.deliver([]byte(strings.Repeat("GET /plaintext"+get, 1000)))
	require.EqualValues(t, chainMax, r.state.counts.Requests)
	other.deliver([]byte("GET /plaintext" + get))
	require.Equal(t, text("200 OK", hello), other.taken(), "served before the rest of the pipeline")
	require.LessOrEqual(t, r.state.counts.Requests, uint64(2*chainMax+1))
	r.settle()
	require.Equal(t, 1000, strings.Count(greedy.taken(), hello))
}

// The answers to pipelined requests leave together: one write for up to chainMax of them.
func TestPipelinedAnswersLeaveTogether(t *testing.T) {
	for _, c := range []struct {
		why      string
		requests int
		writes   int
	}{
		{"one", 1, 1},
		{"a few", 16, 1},
		{"as many as one chain has", chainMax, 1},
		{"one more", chainMax + 1, 2},
		{"many", 10 * chainMax, 10},
	} {
		r := newRig(t, demo(Options{}), reactor.Limits{})
		p := r.dial()
		p.send(strings.Repeat("GET /plaintext"+get, c.requests))
		require.Equal(t, strings.Repeat(text("200 OK", hello), c.requests), p.taken(), c.why)
		require.Equal(t, c.writes, p.writes, c.why)
	}
	r := newRig(t, demo(Options{}), reactor.Limits{})
	p := r.dial()
	p.send("GET /plaintext" + get + "POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcHEAD /users/7" + get + "GET /nowhere" + get + "NOT HTTP\r\n\r\n")
	require.Equal(t, 5, strings.Count(p.taken(), "HTTP/1.1 "), "answers of all kinds")
	require.Equal(t, 1, p.writes)
}

// Draining ends idle connections at once, others with the answer they wait for.
func TestDrain(t *testing.T) {
	r := newRig(t, demo(Options{}), reactor.Limits{})
	idle, busy, reading := r.dial(), r.dial(), r.dial()
	idle.send("GET /plaintext" + get)
	busy.send("GET /sleep?ms=1000" + get)
	reading.send("GET /plaint")
	idle.taken()
	drained := false
	r.loop.Post(func() { r.state.drain(func() { drained = true }) })
	r.settle()
	require.True(t, idle.eof)
	require.Empty(t, idle.taken())
	require.False(t, busy.eof)
	idle.hangUp()
	late := r.dial()
	late.send("GET /plaintext" + get)
	require.Equal(t, text("200 OK", hello, closes), late.taken(), "a late request is served, once")
	require.True(t, late.eof)
	reading.send("ext" + get)
	require.Equal(t, text("200 OK", hello, closes), reading.taken())
	reading.hangUp()
	require.False(t, drained)
	r.advance(time.Second + time.Millisecond)
	require.Contains(t, busy.taken(), closes)
	require.True(t, busy.eof)
	require.False(t, drained, "its last bytes may still be on their way")
	busy.hangUp()
	require.True(t, drained)
}

// A Context that became the parent of other contexts is not recycled under them.
func TestContextOutlivesItsRequest(t *testing.T) {
	type key struct{}
	a := New(Options{Log: quiet})
	var kept context.Context
	var cancel context.CancelFunc
	var first *Context
	a.Get("/", func(c *Context) error {
		c.Set(key{}, "mine")
		if first == nil {
			first = c
			kept, cancel = context.WithCancel(c)
		}
		return c.String(200, c.RequestID())
	})
	r := newRig(t, a, reactor.Limits{})
	p := r.dial()
	p.send("GET /" + get)
	p.send("GET /" + get)
	<-kept.Done() // with its request, not by this:
	defer cancel()
	require.ErrorIs(t, kept.Err(), context.Canceled)
	require.Equal(t, "mine", kept.Value(key{}))
	require.NotContains(t, r.state.free, first)
	require.Len(t, r.state.free, 1)
	require.Nil(t, r.state.free[0].Get(key{}), "the next request starts empty")
}

// Contexts derived from a Context need no goroutine each.
func TestDerivedContextsStartNoGoroutine(t *testing.T) {
	a := New(Options{Log: quiet})
	var kept []context.Context
	var cancels []func()
	started := 0
	a.Get("/", func(c *Context) error {
		before := runtime.NumGoroutine()
		for range 100 {
			ctx, cancel := context.WithTimeout(c, time.Hour)
			kept, cancels = append(kept, ctx), append(cancels, cancel)
		}
		started = runtime.NumGoroutine() - before
		return c.Sleep(time.Minute)
	})
	r := newRig(t, a, reactor.Limits{})
	p := r.dial()
	p.send("GET /" + get)
	p.hangUp()
	for _, ctx := range kept {
		<-ctx.Done()
		require.ErrorIs(t, ctx.Err(), ErrClientGone)
	}
	for _, cancel := range cancels {
		cancel()
	}
	require.Less(t, started, 50)
}

func TestTooManyTasks(t *testing.T) {
	r := newRig(t, demo(Options{}), reactor.Limits{Limits: loop.Limits{TaskMax: 1}})
	p, q := r.dial(), r.dial()
	p.send("GET /sleep?ms=10" + get)
	q.send("GET /plaintext" + get)
	require.Equal(t, refusal("503 Service Unavailable", "too many requests are being served"), q.taken())
	r.advance(time.Second)
	require.Contains(t, p.taken(), "slept 10")
}

// Beyond TaskMax, some requests are refused by tasks of their own, within the middlewares; the rest without them.
func TestTooManyTasksWithinMiddlewares(t *testing.T) {
	const reserved = 16
	o := Options{}
	var reasons []string
	o.AccessLog = func(e *Entry) { reasons = append(reasons, e.Reason) }
	a := demo(o)
	a.Use(func(next Handler) Handler {
		return func(c *Context) error {
			c.SetHeader("Access-Control-Allow-Origin", "*")
			if c.Query("slow") != "" {
				if err := c.Sleep(time.Second); err != nil {
					return err
				}
			}
			return next(c)
		}
	})
	a.Group("", func(next Handler) Handler {
		return func(c *Context) error { c.SetHeader("X-Group", "1"); return next(c) }
	}).Get("/group", func(*Context) error { panic("not reached") }, Blocking())
	r := newRig(t, a, reactor.Limits{Limits: loop.Limits{TaskMax: 1}})
	busy := r.dial()
	busy.send("GET /sleep?ms=2000" + get)
	for _, c := range []struct{ why, send, wants string }{
		{"a request", "GET /plaintext" + get, "too many requests are being served (request "},
		{"the route's middlewares too", "GET /group" + get, "X-Group: 1\r\n"},
		{"no route", "GET /nowhere" + get, "too many requests are being served (request "},
		{"JSON", "GET /json HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n", `"error":"too many requests are being served"`},
		{"a body that is still arriving", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", "too many requests are being served (request "},
	} {
		p := r.dial()
		p.send(c.send + "GET /plaintext" + get)
		got := p.taken()
		require.True(t, strings.HasPrefix(got, "HTTP/1.1 503 Service Unavailable\r\n"), "%s: %s", c.why, got)
		require.Contains(t, got, c.wants, c.why)
		require.Contains(t, got, "Access-Control-Allow-Origin: *\r\n", c.why)
		require.Contains(t, got, closes, c.why)
		require.Equal(t, 1, strings.Count(got, "HTTP/1.1 "), "%s: the connection is over", c.why)
		require.True(t, p.eof, c.why)
	}
	slow := make([]*peer, reserved)
	for i := range slow {
		slow[i] = r.dial()
		slow[i].send("GET /plaintext?slow=1" + get)
	}
	last := r.dial()
	last.send("GET /plaintext" + get)
	require.Equal(t, refusal("503 Service Unavailable", "too many requests are being served"), last.taken(), "no task is left")
	r.advance(1100 * time.Millisecond)
	for _, p := range slow {
		require.Contains(t, p.taken(), "Access-Control-Allow-Origin: *\r\n")
	}
	require.EqualValues(t, 5+reserved+1, r.state.reasons.snapshot()["too-many-tasks"])
	require.Equal(t, slices.Repeat([]string{"too-many-tasks"}, 5+reserved+1), reasons)
	r.advance(1100 * time.Millisecond)
	require.Contains(t, busy.taken(), "slept 2000")
	busy.send("GET /plaintext" + get)
	require.Contains(t, busy.taken(), hello)
}
