package hub

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/app"
	own "tafe/app/websocket"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// appOf serves h as events at /events, and as WebSockets at /ws, which publish what they receive.
func appOf(h *Hub) *app.App {
	a := app.New(app.Options{Log: quiet()})
	a.Get("/events", h.ServeSSE)
	a.Get("/ws", func(c *app.Context) error {
		ws, err := c.WebSocket(own.Options{Origins: []string{"*"}, Compress: true})
		if err != nil {
			return err
		}
		if _, err := h.Join(ws); err != nil {
			return err
		}
		return ws.Serve(func(m *own.Message) error {
			return h.Publish(Message{Event: app.Event{Data: string(m.Data)}})
		}, nil)
	})
	return a
}

// rig is a hub on a test loop.
type rig struct {
	t    *testing.T
	loop *looptest.Loop
	hub  *Hub
	open func(*reactor.Conn) reactor.Handler
}

func newRig(t *testing.T, o Options, lo looptest.Options) *rig {
	r := &rig{t: t, loop: looptest.New(t, lo), hub: New(o)}
	r.open = appOf(r.hub).Opener(r.loop.Loop)
	return r
}

func (r *rig) events(headers string) *looptest.Peer {
	p := r.loop.Open(r.open)
	p.Send([]byte("GET /events HTTP/1.1\r\nHost: a\r\n" + headers + "\r\n"))
	return p
}

func (r *rig) publish(ids ...int) {
	for _, id := range ids {
		require.NoError(r.t, r.hub.Publish(Message{Event: app.Event{ID: fmt.Sprint(id), Data: fmt.Sprint("m", id)}}))
	}
	r.loop.Settle()
}

// ids returns the IDs of the events that p has received since the last call.
func ids(p *looptest.Peer) string {
	var all []string
	for line := range strings.Lines(string(p.Received())) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			all = append(all, strings.TrimSpace(id))
		}
	}
	return strings.Join(all, " ")
}

func TestPublish(t *testing.T) {
	for seed := range uint64(5) {
		r := newRig(t, Options{}, looptest.Options{Seed: seed})
		r.publish(1)
		a, b := r.events(""), r.events("")
		require.Zero(t, r.loop.Stats().TasksAlive, "clients have no tasks")
		r.publish(2, 3)
		require.Equal(t, "2 3", ids(a), "from the join on")
		require.Equal(t, "2 3", ids(b))
		b.Close()
		r.publish(4)
		require.Equal(t, "4", ids(a))
		require.Equal(t, 1, r.hub.Stats().Clients)
		late := r.events("Last-Event-ID: 2\r\n")
		require.Equal(t, "3 4", ids(late), "what it has missed")
		unknown := r.events("Last-Event-ID: 99\r\n")
		r.publish(5)
		require.Equal(t, "5", ids(unknown))
		require.Equal(t, "5", ids(late))
		for _, p := range []*looptest.Peer{a, late, unknown} {
			p.Reset()
		}
		require.Equal(t, Stats{Published: 5}, r.hub.Stats())
		require.Empty(t, r.hub.shards, "nothing of a loop without clients is kept")
	}
}

// Loops write to many clients in batches: what is ready meanwhile runs between them, and every client gets every message once, whoever joins and leaves.
func TestManyClients(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{})
	const n = 3*batchMax + 7
	var peers []*looptest.Peer
	for range n {
		peers = append(peers, r.events(""))
	}
	for _, p := range peers {
		p.Received()
	}
	for i := 1; i <= 3; i++ {
		require.NoError(t, r.hub.Publish(Message{Event: app.Event{ID: fmt.Sprint(i), Data: "x"}}))
	}
	r.loop.Settle()
	for i, p := range peers {
		require.Equal(t, "1 2 3", ids(p), "client %d", i)
	}
	for i, p := range peers {
		if i%3 != 0 {
			p.Reset()
		}
	}
	r.publish(4)
	for i, p := range peers {
		if i%3 == 0 {
			require.Equal(t, "4", ids(p), "client %d", i)
		}
	}
	require.Equal(t, (n+2)/3, r.hub.Stats().Clients)
}

func TestSlowClients(t *testing.T) {
	for _, tc := range []struct {
		why    string
		slow   SlowPolicy
		resume string
		stats  Stats
	}{
		{"misses messages", SlowDrop, "28 29 30", Stats{Clients: 2, Published: 30, Dropped: 24}},
		{"is disconnected", SlowClose, "", Stats{Clients: 1, Published: 30, Disconnected: 1}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			r := newRig(t, Options{QueueMax: 3, UnsentMax: 100, Slow: tc.slow}, looptest.Options{})
			fast, slow := r.events(""), r.events("")
			slow.Received()
			slow.Stall()
			for i := 1; i <= 30; i++ {
				r.publish(i)
			}
			require.Len(t, strings.Fields(ids(fast)), 30)
			require.Equal(t, tc.stats.Disconnected, r.hub.Stats().Disconnected)
			slow.Resume()
			got := ids(slow)
			if tc.slow == SlowDrop {
				require.True(t, strings.HasPrefix(got, "1 2 3"), got)
				require.True(t, strings.HasSuffix(got, tc.resume), got)
				stats := r.hub.Stats()
				require.EqualValues(t, 30-len(strings.Fields(got)), stats.Dropped)
				return
			}
			require.Equal(t, tc.stats, r.hub.Stats())
			require.True(t, slow.Gone())
		})
	}
}

func TestBounds(t *testing.T) {
	h := New(Options{QueueMax: 5, QueueBytesMax: 100})
	for range 20 {
		require.NoError(t, h.Publish(Message{Event: app.Event{Data: strings.Repeat("x", 30)}}))
		require.LessOrEqual(t, h.bytes, 100)
		require.LessOrEqual(t, len(h.kept), 3)
	}
	for range 20 {
		require.NoError(t, h.Publish(Message{Event: app.Event{Data: "x"}}))
	}
	require.Len(t, h.kept, 5)
	require.NoError(t, h.Publish(Message{Event: app.Event{Data: strings.Repeat("x", 1000)}}))
	require.Len(t, h.kept, 1, "the last one is kept in any case")
	require.Error(t, h.Publish(Message{Event: app.Event{ID: "a\nb"}}))
	h.Close()
	require.ErrorIs(t, h.Publish(Message{}), ErrClosed)
}

func TestHandoffsAndDisconnects(t *testing.T) {
	scenario := func(t *testing.T, l *looptest.Loop) {
		r := &rig{t: t, loop: l, hub: New(Options{})}
		r.open = appOf(r.hub).Opener(l.Loop)
		p := r.events("")
		ws := l.Open(r.open)
		ws.Send([]byte("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
		ws.Received()
		r.publish(1)
		ws.Send([]byte("\x81\x81\x00\x00\x00\x00a"))
		r.publish(2)
		if !l.Cut() {
			require.Equal(t, "1 2", ids(p))
			require.Equal(t, "\x81\x02m1\x81\x01a\x81\x02m2", string(ws.Received()))
		}
		p.Reset()
		ws.Reset()
		require.Zero(t, r.hub.Stats().Clients)
	}
	t.Run("handoffs", func(t *testing.T) { looptest.Handoffs(t, looptest.Options{}, scenario) })
	t.Run("disconnects", func(t *testing.T) { looptest.Disconnects(t, looptest.Options{}, scenario) })
}

func TestClose(t *testing.T) {
	r := newRig(t, Options{}, looptest.Options{})
	p := r.events("")
	r.publish(1)
	r.hub.Close()
	r.loop.Settle()
	require.True(t, strings.HasSuffix(string(p.Received()), "\n\n\r\n0\r\n\r\n"), "the stream ends in order")
	require.True(t, p.Ended())
	late := r.events("")
	require.True(t, strings.HasSuffix(string(late.Received()), "\r\n0\r\n\r\n"))
	require.Zero(t, r.hub.Stats().Clients)
}

// serve runs a server for a test.
func serve(t *testing.T, h *Hub, loops int) *app.Server {
	s, err := app.Listen(appOf(h), app.ServerConfig{Addr: "127.0.0.1:0", Loops: loops})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if !s.Draining() {
			require.NoError(t, s.Stop(ctx))
		}
	})
	return s
}

// Clients on several loops, of both kinds, get what several goroutines publish, in the same order.
func TestClientsOnAllLoops(t *testing.T) {
	h := New(Options{QueueMax: 10_000})
	s := serve(t, h, 3)
	const clients, publishers, each = 30, 4, 50
	var all sync.WaitGroup
	got := make([][]string, clients)
	for i := range clients {
		all.Add(1)
		if i%2 == 0 {
			c, _, err := websocket.DefaultDialer.Dial("ws://"+s.Addr().String()+"/ws", nil)
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
			go func() {
				defer all.Done()
				defer func() { _ = c.Close() }()
				for range publishers * each {
					_, p, err := c.ReadMessage()
					if err != nil {
						return
					}
					got[i] = append(got[i], string(p))
				}
			}()
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		request, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.Addr().String()+"/events", nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		go func() {
			defer all.Done()
			defer func() { _ = resp.Body.Close() }()
			lines := bufio.NewScanner(resp.Body)
			for len(got[i]) < publishers*each && lines.Scan() {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					got[i] = append(got[i], data)
				}
			}
		}()
	}
	require.Eventually(t, func() bool { return h.Stats().Clients == clients }, patience, time.Millisecond)
	for p := range publishers {
		all.Go(func() {
			for i := range each {
				if err := h.Publish(Message{Event: app.Event{Data: fmt.Sprint(p, ".", i)}}); err != nil {
					panic(err)
				}
			}
		})
	}
	all.Wait()
	require.Len(t, got[0], publishers*each)
	for i := range got {
		require.Equal(t, got[0], got[i], "client %d", i)
	}
	require.Eventually(t, func() bool { return h.Stats().Clients == 0 }, patience, time.Millisecond)
}

func TestDrain(t *testing.T) {
	h := New(Options{})
	s := serve(t, h, 2)
	c, _, err := websocket.DefaultDialer.Dial("ws://"+s.Addr().String()+"/ws", nil)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	resp, err := http.Get("http://" + s.Addr().String() + "/events")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(ctx) }()
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err, "the stream ends in order")
	_, _, err = c.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
	require.NoError(t, <-drained)
	require.Zero(t, h.Stats().Clients)
}

func TestLeave(t *testing.T) {
	h := New(Options{})
	a := app.New(app.Options{Log: quiet()})
	members := make(chan *Member, 1)
	a.Get("/ws", func(c *app.Context) error {
		ws, err := c.WebSocket(own.Options{})
		if err != nil {
			return err
		}
		m, err := h.Join(ws)
		if err != nil {
			return err
		}
		members <- m
		return ws.Serve(func(*own.Message) error { m.Leave(); return nil }, nil)
	})
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Stop(t.Context())) }()
	for _, beside := range []bool{true, false} {
		c, _, err := websocket.DefaultDialer.Dial("ws://"+s.Addr().String()+"/ws", nil)
		require.NoError(t, err)
		m := <-members
		require.Equal(t, 1, h.Stats().Clients)
		if beside {
			m.Leave()
		} else {
			require.NoError(t, c.WriteMessage(websocket.TextMessage, nil))
		}
		require.Eventually(t, func() bool { return h.Stats().Clients == 0 }, patience, time.Millisecond)
		m.Leave()
		require.NoError(t, c.Close())
	}
}

// Under net/http the stream is written by the task of its handler.
func TestUnderNetHTTP(t *testing.T) {
	h := New(Options{QueueMax: 100})
	site := httptest.NewServer(appOf(h))
	defer site.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", site.URL+"/events", nil)
	require.NoError(t, err)
	resp, err := site.Client().Do(request)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return h.Stats().Clients == 1 }, patience, time.Millisecond)
	for i := range 3 {
		require.NoError(t, h.Publish(Message{Event: app.Event{ID: fmt.Sprint(i), Data: "x"}}))
	}
	h.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "id: 0\ndata: x\n\nid: 1\ndata: x\n\nid: 2\ndata: x\n\n", string(body))
	require.Eventually(t, func() bool { return h.Stats().Clients == 0 }, patience, time.Millisecond)
}
