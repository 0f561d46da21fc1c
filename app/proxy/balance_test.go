package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newGroup(t *testing.T, o GroupOptions) *Group {
	o.Log = quiet
	g, err := NewGroup(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// picked is the server of pick.
func (g *Group) picked(key uint64, tried []*server) *server {
	s, _ := g.pick(key, tried)
	return s
}

func (g *Group) servers() []*server { return g.roster.Load().servers }

func weighted(weights ...int) (servers []ServerOptions) {
	for i, w := range weights {
		servers = append(servers, ServerOptions{Addr: fmt.Sprintf("127.0.0.1:%d", i+1), Weight: w})
	}
	return servers
}

func TestPoliciesShareByWeight(t *testing.T) {
	for _, p := range Policies {
		t.Run(string(p), func(t *testing.T) {
			g := newGroup(t, GroupOptions{Servers: weighted(5, 3, 2), Policy: p})
			const n = 20_000
			got := map[string]int{}
			var flying []*server
			for i := range n {
				s := g.picked(hashKey(fmt.Sprint("user", i)), nil)
				got[s.Addr]++
				flying = append(flying, s)
				if len(flying) > 100 { // some are always in flight
					g.finish(flying[0], false)
					flying = flying[1:]
				}
			}
			for i, share := range []float64{0.5, 0.3, 0.2} {
				require.InDelta(t, share, float64(got[fmt.Sprintf("127.0.0.1:%d", i+1)])/n, 0.05)
			}
		})
	}
}

func TestRoundRobinIsSmooth(t *testing.T) {
	g := newGroup(t, GroupOptions{Servers: weighted(4, 2)})
	order := ""
	for range 6 {
		order += g.picked(0, nil).Addr[len("127.0.0.1:"):]
	}
	require.Contains(t, "112112112112", order, "never three in a row")
}

func TestHashKeepsKeysWhenServersGo(t *testing.T) {
	g := newGroup(t, GroupOptions{Servers: weighted(1, 1, 1, 1), Policy: Hashed})
	before := map[int]string{}
	for i := range 4000 {
		s := g.picked(hashKey(fmt.Sprint(i)), nil)
		g.finish(s, false)
		before[i] = s.Addr
	}
	gone := g.servers()[2]
	gone.set(isDown)
	moved := 0
	for i := range 4000 {
		s := g.picked(hashKey(fmt.Sprint(i)), nil)
		g.finish(s, false)
		require.NotEqual(t, gone, s)
		if s.Addr != before[i] && before[i] != gone.Addr {
			moved++
		}
	}
	require.Zero(t, moved, "only the keys of the lost server move")
}

func TestHashSparesTheOverloaded(t *testing.T) {
	g := newGroup(t, GroupOptions{Servers: weighted(1, 1, 1, 1), Policy: Hashed})
	got := map[*server]int{}
	for range 400 { // one key, and nothing ends
		got[g.picked(hashKey("hot"), nil)]++
	}
	require.Len(t, got, 4, "one hot key does not bury one server")
	for _, n := range got {
		require.LessOrEqual(t, n, 400/4*overloadPercent/100+1)
	}
}

func TestWhoIsAsked(t *testing.T) {
	g := newGroup(t, GroupOptions{Servers: append(weighted(1, 1), ServerOptions{Addr: "127.0.0.1:9", Backup: true}), RequestsMax: 2})
	a, b, backup := g.servers()[0], g.servers()[1], g.servers()[2]
	require.True(t, backup.Backup)
	require.Equal(t, b, g.picked(0, []*server{a}), "not the one that was tried")
	g.finish(b, false)
	a.set(isDown)
	require.Equal(t, b, g.picked(0, nil))
	require.Equal(t, b, g.picked(0, nil))
	require.Equal(t, backup, g.picked(0, nil), "both full or down: the backup")
	require.Equal(t, backup, g.picked(0, nil))
	require.Nil(t, g.picked(0, nil), "all full")
	g.finish(b, false)
	require.Equal(t, b, g.picked(0, []*server{b}), "the same server is retried if there is no other")
}

func TestEjection(t *testing.T) {
	g := newGroup(t, GroupOptions{Servers: weighted(1, 1, 1), FailuresMax: 3, EjectTime: time.Hour, EjectTimeMax: 3 * time.Hour})
	fail := func(s *server, n int) {
		for range n {
			s.active.Add(1)
			g.finish(s, true)
		}
	}
	a, b := g.servers()[0], g.servers()[1]
	fail(a, 2)
	a.active.Add(1)
	g.finish(a, false)
	fail(a, 2)
	require.True(t, g.available(a, g.clock()), "a success in between")
	fail(a, 1)
	require.False(t, g.available(a, g.clock()))
	require.Equal(t, Ejected, g.Stats().Servers[0].State)
	fail(b, 10)
	require.True(t, g.available(b, g.clock()), "at most half of three")
	a.ejected.Store(0) // its time is over, and it fails again
	fail(a, 3)
	require.Greater(t, a.ejected.Load()-g.clock(), int64(119*time.Minute), "twice as long")
	lone := newGroup(t, GroupOptions{Servers: weighted(1), FailuresMax: 1})
	lone.servers()[0].active.Add(1)
	lone.finish(lone.servers()[0], true)
	require.True(t, lone.available(lone.servers()[0], lone.clock()), "a lone server is never ejected")
}

func TestHealthCheck(t *testing.T) {
	var sick atomic.Bool
	var asked atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.URL.Path + " " + r.Host)
		if sick.Load() {
			w.WriteHeader(500)
		}
		_, _ = io.WriteString(w, "x")
	}))
	t.Cleanup(s.Close)
	g := newGroup(t, GroupOptions{Servers: to(s.Listener.Addr().String()), Host: "up.example",
		Check: &Check{Path: "/health", Interval: time.Millisecond, Rise: 2, Fall: 2}})
	g.Start()
	state := func(want State) {
		require.Eventually(t, func() bool { return g.Stats().Servers[0].State == want }, patience, time.Millisecond)
	}
	require.Eventually(t, func() bool { return asked.Load() != nil }, patience, time.Millisecond)
	require.Equal(t, "GET /health up.example", asked.Load())
	state(Up)
	sick.Store(true)
	state(Down)
	require.Nil(t, g.picked(0, nil))
	sick.Store(false)
	state(Up)
	require.NotNil(t, g.picked(0, nil))
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for _, c := range []struct {
		o    GroupOptions
		want string
	}{
		{GroupOptions{}, "no server"},
		{GroupOptions{Servers: []ServerOptions{{Addr: "a:1", Backup: true}}}, "other than backups"},
		{GroupOptions{Servers: to("nowhere")}, "neither host:port"},
		{GroupOptions{Servers: to("a:99999")}, "neither host:port"},
		{GroupOptions{Servers: to("a:1", "a:1")}, "twice"},
		{GroupOptions{Servers: []ServerOptions{{Addr: "a:1", Weight: 1000}}}, "weight"},
		{GroupOptions{Servers: to("a:1"), Policy: "random"}, "unknown policy"},
	} {
		_, err := NewGroup(c.o)
		require.ErrorContains(t, err, c.want)
	}
	g := newGroup(t, GroupOptions{Servers: to("a:1")})
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{HashBy: "moon"}, "not client"},
		{Options{HashBy: "header:a b"}, "not client"},
		{Options{StripPrefix: "api"}, "prefix"},
		{Options{AddPrefix: "/a/../b"}, "prefix"},
		{Options{AddPrefix: "/a b"}, "prefix"},
		{Options{Request: Rules{Set: []Field{{Name: "X-A", Value: "b\r\nHost: evil"}}}}, "X-A"},
		{Options{Request: Rules{Set: []Field{{Name: "Transfer-Encoding", Value: "chunked"}}}}, "Transfer-Encoding"},
		{Options{Response: Rules{Remove: []string{"a b"}}}, "a b"},
	} {
		_, err := New(g, c.o)
		require.ErrorContains(t, err, c.want)
	}
}
