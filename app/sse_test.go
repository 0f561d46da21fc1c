package app

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

func TestAppendEvent(t *testing.T) {
	for _, tc := range []struct {
		why   string
		event Event
		want  string
	}{
		{"all fields", Event{ID: "7", Name: "tick", Data: "x", Retry: 1500 * time.Millisecond}, "event: tick\nid: 7\nretry: 1500\ndata: x\n\n"},
		{"data alone", Event{Data: "x"}, "data: x\n\n"},
		{"nothing", Event{}, "\n"},
		{"lines", Event{Data: "a\nb\r\nc\rd"}, "data: a\ndata: b\ndata: c\ndata: d\n\n"},
		{"an empty line", Event{Data: "a\n\nb"}, "data: a\ndata: \ndata: b\n\n"},
		{"a line break at the end is data", Event{Data: "a\n"}, "data: a\ndata: \n\n"},
		{"a space at the start is kept", Event{Data: " a"}, "data:  a\n\n"},
		{"no field can be forged", Event{Data: "a\nid: 9\n\nevent: b"}, "data: a\ndata: id: 9\ndata: \ndata: event: b\n\n"},
		{"an ID with a line break", Event{ID: "1\n2"}, ""},
		{"an ID with NUL", Event{ID: "1\x00"}, ""},
		{"a name with a line break", Event{Name: "a\rb"}, ""},
	} {
		b, err := AppendEvent(nil, &tc.event)
		require.Equal(t, tc.want == "", err != nil, tc.why)
		if err == nil {
			require.Equal(t, tc.want, string(b), tc.why)
		}
	}
}

// eventApp streams events until the handler is cancelled, and reports the error with which it ended.
func eventApp(o SSEOptions, send func(c *Context, s *SSE) error) (*App, chan error) {
	ended := make(chan error, 10)
	a := New(Options{Log: quiet})
	a.Get("/events", func(c *Context) error {
		s, err := c.SSE(o)
		if err == nil {
			err = send(c, s)
		}
		ended <- err
		return err
	}, Timeout(time.Minute))
	return a, ended
}

// endOf returns the error of a handler that has ended.
func endOf(t *testing.T, ended chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		t.Fatal("the handler runs on")
		return nil
	}
}

// openOn opens a connection to a on a test loop.
func openOn(l *looptest.Loop, a *App) *looptest.Peer { return l.Open(a.Opener(l.Loop)) }

// eventBody returns the chunks of what p has received, joined, without the head.
func eventBody(t *testing.T, p *looptest.Peer) string {
	t.Helper()
	all := string(p.Received())
	if i := strings.Index(all, "\r\n\r\n"); strings.HasPrefix(all, "HTTP/") && i >= 0 {
		all = all[i+4:]
	}
	var body strings.Builder
	for all != "" {
		size, rest, ok := strings.Cut(all, "\r\n")
		require.True(t, ok, all)
		n := 0
		for _, d := range []byte(size) {
			n = n*16 + strings.IndexByte("0123456789abcdef", d)
		}
		if n == 0 {
			body.WriteString("END")
			return body.String()
		}
		body.WriteString(rest[:n])
		all = rest[n+2:]
	}
	return body.String()
}

func TestSSE(t *testing.T) {
	a, ended := eventApp(SSEOptions{Retry: 3 * time.Second}, func(c *Context, s *SSE) error {
		if err := s.Send(Event{ID: "1", Data: "after " + s.LastEventID()}); err != nil {
			return err
		}
		if err := c.Sleep(2 * time.Minute); err != nil { // longer than the timeout of the route
			return err
		}
		if err := s.Comment("soon\nover"); err != nil {
			return err
		}
		return s.Send(Event{Data: "bye"})
	})
	l := looptest.New(t, looptest.Options{})
	p := openOn(l, a)
	p.Send([]byte("GET /events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 41\r\n\r\n"))
	head := string(p.Received())
	for _, line := range []string{"HTTP/1.1 200 OK\r\n", "Content-Type: text/event-stream\r\n", "Cache-Control: no-cache\r\n", "X-Accel-Buffering: no\r\n"} {
		require.Contains(t, head, line)
	}
	require.Contains(t, head, "retry: 3000\n\n")
	require.Contains(t, head, "id: 1\ndata: after 41\n\n")
	l.Advance(50 * time.Second)
	require.Equal(t, ":\n\n:\n\n:\n\n", eventBody(t, p), "a heartbeat every 15 s")
	l.Advance(71 * time.Second)
	body := eventBody(t, p)
	require.True(t, strings.HasSuffix(body, ": soon\n: over\n\ndata: bye\n\nEND"), body)
	require.NoError(t, endOf(t, ended))
	require.False(t, p.Ended(), "the connection is kept")
	p.Send([]byte("HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n"))
	l.Advance(3 * time.Minute)
	require.NoError(t, endOf(t, ended))
	require.NotContains(t, string(p.Received()), "data:")
}

// With handoffs at every point, the events stay whole.
func TestSSEWithHandoffs(t *testing.T) {
	looptest.Handoffs(t, looptest.Options{}, func(t *testing.T, l *looptest.Loop) {
		a, ended := eventApp(SSEOptions{Heartbeat: time.Second}, func(c *Context, s *SSE) error {
			for range 3 {
				if err := s.Send(Event{Data: "x"}); err != nil {
					return err
				}
				if err := c.Sleep(1500 * time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		})
		p := openOn(l, a)
		p.Send([]byte("GET /events HTTP/1.1\r\nHost: a\r\n\r\n"))
		l.Advance(10 * time.Second)
		require.Equal(t, strings.Repeat("data: x\n\n:\n\n", 3)+"END", eventBody(t, p))
		require.NoError(t, endOf(t, ended))
	})
}

func TestSSEClientLeaves(t *testing.T) {
	looptest.Disconnects(t, looptest.Options{}, func(t *testing.T, l *looptest.Loop) {
		a, ended := eventApp(SSEOptions{}, func(c *Context, s *SSE) error {
			for {
				if err := s.Send(Event{Data: "x"}); err != nil {
					return err
				}
				if err := c.Sleep(time.Minute); err != nil {
					return err
				}
			}
		})
		p := openOn(l, a)
		p.Send([]byte("GET /events HTTP/1.1\r\nHost: a\r\n\r\n"))
		l.Advance(90 * time.Second)
		p.CloseWrite()
		require.ErrorIs(t, endOf(t, ended), ErrClientGone, "also when the client has only ended its sending side")
	})
}

func TestSSESlowClient(t *testing.T) {
	for _, tc := range []struct {
		why    string
		policy SlowPolicy
		check  func(t *testing.T, sent int, err error, s *SSE)
	}{
		{"waits, until the write timeout", SlowWait, func(t *testing.T, sent int, err error, _ *SSE) {
			require.Less(t, sent, 1000)
			require.ErrorIs(t, err, ErrClientGone)
		}},
		{"drops", SlowDrop, func(t *testing.T, sent int, err error, s *SSE) {
			require.NoError(t, err)
			require.Equal(t, 1000, sent)
			require.Greater(t, s.Dropped(), uint64(900))
			require.Less(t, s.Dropped(), uint64(1000))
		}},
		{"closes", SlowClose, func(t *testing.T, sent int, err error, _ *SSE) {
			require.Less(t, sent, 1000)
			require.ErrorIs(t, err, ErrSlowClient)
		}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			sent := 0
			var stream *SSE
			a, ended := eventApp(SSEOptions{Slow: tc.policy, QueueBytesMax: 1000}, func(c *Context, s *SSE) error {
				stream = s
				if err := c.Sleep(time.Second); err != nil {
					return err
				}
				for range 1000 {
					if err := s.Send(Event{Data: strings.Repeat("x", 50)}); err != nil {
						return err
					}
					sent++
				}
				return nil
			})
			l := looptest.New(t, looptest.Options{Limits: reactor.Limits{OutboundMax: 10_000}})
			p := openOn(l, a)
			p.Send([]byte("GET /events HTTP/1.1\r\nHost: a\r\n\r\n"))
			p.Received()
			p.Stall()
			l.Advance(time.Minute)
			tc.check(t, sent, endOf(t, ended), stream)
		})
	}
}

func TestDrainEndsEventStreams(t *testing.T) {
	a, ended := eventApp(SSEOptions{}, func(c *Context, s *SSE) error { return c.Sleep(time.Hour) })
	a.Get("/detached", func(c *Context) error {
		e, err := DetachEvents(c, SSEOptions{}, func() { ended <- nil })
		if err != nil {
			return err
		}
		event, err := EncodeEvent(&Event{Data: "x"})
		require.NoError(t, err)
		defer c.task.Leave(c.task.Enter())
		e.Send(event)
		return nil
	})
	s := serve(t, a, 1)
	var bodies []io.Reader
	for _, request := range []string{"GET /events HTTP/1.1", "GET /detached HTTP/1.1", "GET /detached HTTP/1.0"} {
		conn := dial(t, s)
		_, err := io.WriteString(conn, request+"\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		bodies = append(bodies, resp.Body)
	}
	counted(t, s, func(now Stats) bool { return now.EventStreams == 3 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Drain(ctx))
	for i, want := range []string{"", "data: x\n\n", "data: x\n\n"} {
		body, err := io.ReadAll(bodies[i])
		require.NoError(t, err, "the streams end, and are not cut off")
		require.Equal(t, want, string(body))
	}
	require.ErrorIs(t, errors.Join(endOf(t, ended), endOf(t, ended), endOf(t, ended)), ErrDraining)
	require.Empty(t, reasonsOf(t, s), "this is no failure")
}

func TestSSEUnderNetHTTP(t *testing.T) {
	a, _ := eventApp(SSEOptions{}, func(c *Context, s *SSE) error {
		_, err := DetachEvents(c, SSEOptions{}, nil)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return s.Send(Event{Data: "x"})
	})
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/events", nil))
	require.Equal(t, "data: x\n\n", w.Body.String())
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
}

// The client of a detached stream is noticed when it leaves, gets heartbeats, and is dropped when it does not read.
func TestDetachedEvents(t *testing.T) {
	var stream *EventClient
	closed := 0
	a := New(Options{Log: quiet})
	a.Get("/", func(c *Context) (err error) {
		stream, err = DetachEvents(c, SSEOptions{Heartbeat: 10 * time.Second}, func() { closed++ })
		return err
	})
	event, err := EncodeEvent(&Event{Data: "x"})
	require.NoError(t, err)
	l := looptest.New(t, looptest.Options{Limits: reactor.Limits{WriteTimeout: time.Second}})
	open := a.Opener(l.Loop)
	for _, tc := range []struct {
		why   string
		leave func(p *looptest.Peer)
	}{
		{"the client ends its sending side", func(p *looptest.Peer) { p.CloseWrite() }},
		{"a reset", func(p *looptest.Peer) { p.Reset() }},
		{"the client does not read", func(p *looptest.Peer) {
			p.Stall()
			l.On(func() { stream.Send(event) })
			l.Advance(5 * time.Second)
		}},
		{"it is dropped", func(*looptest.Peer) { l.On(stream.CloseSlow); l.Settle() }},
		{"the stream ends", func(*looptest.Peer) { l.On(stream.End); l.Settle() }},
	} {
		closed = 0
		p := l.Open(open)
		p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
		require.Zero(t, l.Stats().TasksAlive, "it has no task")
		p.Send([]byte("ignored"))
		l.On(func() { require.True(t, stream.Send(event)) })
		l.Settle()
		require.Equal(t, "data: x\n\n", eventBody(t, p))
		l.Advance(25 * time.Second)
		require.Equal(t, ":\n\n:\n\n", eventBody(t, p))
		tc.leave(p)
		l.Advance(3 * time.Second)
		require.Equal(t, 1, closed, tc.why)
		l.On(func() { require.False(t, stream.Send(event)) })
		require.Zero(t, l.Stats().Conns)
	}
}
