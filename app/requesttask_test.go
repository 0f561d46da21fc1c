package app

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// While a handler is busy with something else, its connection holds a bounded part of the body; the rest waits at the client.
func TestUploadWhileHandlerWaits(t *testing.T) {
	piece := strings.Repeat("0123456789abcdef", 4<<10) // 64 KiB
	const pieces, inboundMax = 50, 256 << 10
	for _, chunked := range []bool{false, true} {
		var got []byte
		a := New(Options{Log: quiet})
		a.Post("/", func(x *Context) error {
			if err := x.Sleep(time.Second); err != nil {
				return err
			}
			first := make([]byte, 100)
			n, err := x.BodyReader().Read(first)
			require.NoError(t, err)
			rest, err := x.Body()
			got = append(append(got, first[:n]...), rest...)
			return errors.Join(err, x.NoContent(204))
		})
		r := newRig(t, a, reactor.Limits{InboundMax: inboundMax})
		p := r.dial()
		if chunked {
			p.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		} else {
			p.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + itoa(pieces*len(piece)) + "\r\n\r\n")
		}
		for range pieces {
			if chunked {
				p.send("10000\r\n" + piece + "\r\n")
			} else {
				p.send(piece)
			}
		}
		if chunked {
			p.send("0\r\n\r\n")
		}
		p.send("GET /next" + get)
		require.LessOrEqual(t, len(p.conn.Input()), inboundMax+len(piece), "chunked: %t", chunked)
		require.Greater(t, len(p.in), pieces*len(piece)/2, "the client is held back; chunked: %t", chunked)
		r.advance(2 * time.Second)
		require.True(t, strings.Repeat(piece, pieces) == string(got), "%d bytes, chunked: %t", len(got), chunked)
		require.Contains(t, p.taken(), "404 Not Found", "the next request is found behind it, chunked: %t", chunked)
	}
}

func TestRequestIDs(t *testing.T) {
	for _, c := range []struct {
		why, sent string
		trust     bool
		want      string // "": generated
	}{
		{"none was sent", "", true, ""},
		{"one was sent", "X-Request-ID: abc-1\r\n", true, "abc-1"},
		{"but is not trusted", "X-Request-ID: abc-1\r\n", false, ""},
		{"but is too long", "X-Request-ID: " + strings.Repeat("a", 65) + "\r\n", true, ""},
		{"as long as it may be", "X-Request-ID: " + strings.Repeat("a", 64) + "\r\n", true, strings.Repeat("a", 64)},
		{"but is no token", "X-Request-ID: a b\r\n", true, ""},
		{"but is empty", "X-Request-ID:\r\n", true, ""},
	} {
		a := New(Options{Log: quiet, TrustRequestID: c.trust, RequestIDHeader: "X-Request-ID"})
		var seen []string
		a.Get("/", func(x *Context) error {
			seen = append(seen, x.RequestID())
			return x.NoContent(204)
		})
		r := newRig(t, a, reactor.Limits{})
		p := r.dial()
		p.send("GET / HTTP/1.1\r\nHost: a\r\n" + c.sent + "\r\n")
		p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.Len(t, seen, 2)
		if c.want != "" {
			require.Equal(t, c.want, seen[0], c.why)
		} else {
			require.Len(t, seen[0], requestIDBytes, c.why)
			require.Equal(t, seen[0][:9], seen[1][:9], "%s: the loop's own prefix", c.why)
		}
		require.NotEqual(t, seen[0], seen[1], c.why)
		require.Contains(t, p.taken(), "X-Request-ID: "+seen[0]+"\r\n", c.why)
	}
}

func TestGeneratedIDsDoNotRepeat(t *testing.T) {
	h := newLoopState(New(Options{}), nil, time.Now)
	seen := map[string]bool{}
	for range 100_000 {
		id := string(h.nextID())
		require.False(t, seen[id])
		seen[id] = true
	}
	copy(h.ids[9:], "zzzzzzzzzzz")
	require.Equal(t, "00000000000", string(h.nextID()[9:]), "it wraps after 36^11")
}

func TestAccessLog(t *testing.T) {
	var entries []Entry
	a := New(Options{Log: quiet, TrustRequestID: true, AccessLog: func(e *Entry) {
		kept := *e
		kept.Context = nil
		for _, s := range []*string{&kept.Method, &kept.Target, &kept.RequestID, &kept.UserAgent, &kept.Referer} {
			*s = strings.Clone(*s)
		}
		entries = append(entries, kept)
	}})
	a.Get("/wait/{what}", func(c *Context) error {
		if err := c.Sleep(time.Second); err != nil {
			return err
		}
		return c.String(200, hello)
	})
	a.Get("/panic", func(*Context) error { panic("boom") })
	r := newRig(t, a, reactor.Limits{})
	p := r.dial()
	p.send("GET /wait/a?b=c HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nReferer: http://r\r\nX-Request-ID: r1\r\n\r\n" +
		"GET /wait/b HTTP/1.0\r\nX-Request-ID: r2\r\nConnection: keep-alive\r\n\r\n" +
		"HEAD /panic HTTP/1.1\r\nHost: a\r\nX-Request-ID: r3\r\n\r\nGET /%zz HTTP/1.1\r\nHost: a\r\n\r\n")
	r.advance(3 * time.Second)
	q := r.dial()
	q.send("GET /wait/a" + get)
	q.hangUp()
	q = r.dial()
	q.send("\x16\x03\x01")
	require.Len(t, entries, 6)
	for i := range entries {
		e := &entries[i]
		require.False(t, e.Time.IsZero())
		require.Equal(t, "192.0.2.1:1234", e.Remote)
		if i < 2 {
			require.InDelta(t, time.Second, e.Timing.Total-e.Timing.Queued, float64(time.Millisecond), "of the rig's clock")
			require.InDelta(t, time.Duration(i)*time.Second, e.Timing.Queued, float64(time.Millisecond))
			require.InDelta(t, time.Second, e.Timing.Backend, float64(time.Millisecond))
		}
		require.Equal(t, "192.0.2.1", e.ClientIP)
		e.Time, e.Timing, e.Remote, e.ClientIP = time.Time{}, Timing{}, "", ""
	}
	entries[4].RequestID = "generated"
	require.Equal(t, []Entry{
		{Method: "GET", Target: "/wait/a?b=c", Proto: "HTTP/1.1", Route: "/wait/{what}", Status: 200, Bytes: 13, RequestID: "r1", UserAgent: "test", Referer: "http://r"},
		{Method: "GET", Target: "/wait/b", Proto: "HTTP/1.0", Route: "/wait/{what}", Status: 200, Bytes: 13, RequestID: "r2"},
		{Method: "HEAD", Target: "/panic", Proto: "HTTP/1.1", Route: "/panic", Status: 500, RequestID: "r3", Reason: "panic"},
		{Method: "GET", Target: "/%zz", Proto: "HTTP/1.1", Status: 400, Reason: "bad-escape"},
		{Method: "GET", Target: "/wait/a", Proto: "HTTP/1.1", Route: "/wait/{what}", RequestID: "generated", Reason: "client-gone"},
		{Status: 400, Reason: "tls-hello"},
	}, entries)
}

// Failures of the server are logged with route, request and cause. Errors of clients do not flood the log.
func TestFailuresAreLogged(t *testing.T) {
	var out bytes.Buffer
	a := New(Options{Log: slog.New(slog.NewTextHandler(&out, nil)), TrustRequestID: true})
	a.Get("/panic", func(*Context) error { panic("boom") })
	a.Get("/secret", func(*Context) error { return errors.New("password is hunter2") })
	a.Get("/teapot", func(*Context) error { return Error(418, "") })
	a.Get("/busy", func(*Context) error { return &HTTPError{Status: 503, Err: errors.New("no backend")} })
	r := newRig(t, a, reactor.Limits{})
	for _, c := range []struct {
		why, path string
		want      []string
	}{
		{"a panic, with its stack", "/panic", []string{"level=ERROR", "boom", "reason=panic", "request_id=r1", "route=/panic", "TestFailuresAreLogged"}},
		{"an error whose text the client does not get", "/secret", []string{"level=ERROR", "hunter2", "request_id=r1"}},
		{"a failure that was foreseen", "/busy", []string{"level=WARN", "no backend"}},
		{"a client's mistake", "/teapot", nil},
	} {
		out.Reset()
		r.dial().send("GET " + c.path + " HTTP/1.1\r\nHost: a\r\nX-Request-ID: r1\r\n\r\n")
		if c.want == nil {
			require.Empty(t, out.String(), c.why)
		}
		for _, want := range c.want {
			require.Contains(t, out.String(), want, c.why)
		}
		require.NotContains(t, out.String(), `\n"`, "%s: no attribute ends in a line break", c.why)
	}
	out.Reset()
	r.advance(2 * time.Second)
	for range 10 * refusalLinesMax {
		r.dial().send("\x16")
	}
	require.Equal(t, refusalLinesMax, strings.Count(out.String(), "reason=tls-hello"))
	require.EqualValues(t, 10*refusalLinesMax, r.state.reasons.snapshot()["tls-hello"], "all are counted")
	r.advance(2 * time.Second)
	r.dial().send("\x16")
	require.Contains(t, out.String(), "count="+itoa(9*refusalLinesMax), "suppressed lines are counted")
}

func TestRouteBudgetReachesTheTask(t *testing.T) {
	var got []time.Duration
	a := New(Options{Log: quiet})
	h := func(x *Context) error {
		got = append(got, x.task.Budget())
		return x.NoContent(204)
	}
	a.Get("/own", h, Budget(3*time.Millisecond))
	a.Get("/loops", h)
	r := newRig(t, a, reactor.Limits{Limits: loop.Limits{SliceBudget: 7 * time.Millisecond}})
	p := r.dial()
	for range 2 { // tasks are reused: a budget must not stay
		p.send("GET /own" + get)
		p.send("GET /loops" + get)
		p.send("GET /nowhere" + get)
	}
	own, loops := 3*time.Millisecond, 7*time.Millisecond
	require.Equal(t, []time.Duration{own, loops, own, loops}, got)
}

// Logs, the task's description and counters show Route.Name; the Context has the pattern.
func TestRouteName(t *testing.T) {
	var out bytes.Buffer
	var entries []Entry
	a := New(Options{Log: slog.New(slog.NewTextHandler(&out, nil)), AccessLog: func(e *Entry) { entries = append(entries, *e) }})
	a.Get("/users/{id}", func(c *Context) error {
		return errors.New(c.Route())
	}, Name("user"))
	r := newRig(t, a, reactor.Limits{})
	p := r.dial()
	p.send("GET /users/7" + get)
	require.Contains(t, p.taken(), " 500 ")
	require.Len(t, entries, 1)
	require.Equal(t, "user", entries[0].Route, "the access log")
	require.Contains(t, out.String(), "error=/users/{id}", "Context.Route")
	require.Contains(t, out.String(), "route=user", "the error log")
	routes := r.state.snapshot().Routes
	require.Len(t, routes, 1)
	require.Equal(t, "user", routes[0].Route.Name, "the metrics")
}
