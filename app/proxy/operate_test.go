package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOperators(t *testing.T) {
	g := newGroup(t, GroupOptions{Servers: weighted(1, 1, 1)})
	shares := func(g *Group) (got [3]int) {
		for range 600 {
			s := g.picked(0, nil)
			got[s.Addr[len("127.0.0.1:")]-'1']++
			g.finish(s, false)
		}
		return got
	}
	one, two := "127.0.0.1:1", "127.0.0.1:2"
	require.NoError(t, g.Drain(one))
	require.Equal(t, [3]int{0, 300, 300}, shares(g))
	require.Equal(t, Drained, g.Stats().Servers[0].State)
	require.NoError(t, g.Weigh(two, 5))
	require.Equal(t, [3]int{0, 500, 100}, shares(g))
	require.ErrorIs(t, g.Drain("127.0.0.1:9"), ErrUnknownServer)
	require.ErrorContains(t, g.Weigh(two, 257), "weight")

	later := newGroup(t, GroupOptions{Servers: append(weighted(1, 1, 1), ServerOptions{Addr: "127.0.0.1:4", Backup: true}), Policy: TwoChoices})
	later.Inherit(g)
	require.Equal(t, 0, shares(later)[0], "a later group inherits what was drained")
	require.Equal(t, 5, later.Stats().Servers[1].Weight, "and the weights")

	require.NoError(t, g.Undrain(one))
	require.NotZero(t, g.servers()[0].warmFrom.Load(), "it starts slowly")
	g.servers()[0].warmFrom.Store(0)
	require.NoError(t, g.Weigh(two, 0))
	require.Equal(t, [3]int{200, 200, 200}, shares(g))
	require.Equal(t, 0, shares(later)[0], "the groups are separate after that")
	require.Empty(t, g.orders)
}

func TestInheritance(t *testing.T) {
	z := serveZone(t)
	z.set("api.test", a("api.test", 300, 1), a("api.test", 300, 2))
	o := GroupOptions{Servers: []ServerOptions{{Addr: "api.test:80"}, {Addr: "127.0.0.9:80"}, {Addr: "127.0.0.7:80"}}, Names: Names{Server: z.addr}, Check: &Check{Interval: time.Hour}, FailuresMax: 1, EjectTime: time.Hour}
	before := newGroup(t, o)
	before.Start()
	eventually(t, before, "127.0.0.1 up, 127.0.0.2 up, 127.0.0.9 up, 127.0.0.7 up")
	before.servers()[0].set(isDown)
	before.take(before.servers()[1])
	before.finish(before.servers()[1], true)
	eventually(t, before, "127.0.0.1 down, 127.0.0.2 ejected, 127.0.0.9 up, 127.0.0.7 up")

	o.Servers = []ServerOptions{{Addr: "api.test:80", Weight: 7}, {Addr: "127.0.0.9:80"}, {Addr: "127.0.0.8:80"}}
	g := newGroup(t, o)
	g.Inherit(before)
	require.Equal(t, "127.0.0.1 down, 127.0.0.2 up, 127.0.0.9 up, 127.0.0.8 up", strings.ReplaceAll(g.states(), "ejected", "up"), "names need no new lookup")
	require.Equal(t, Ejected, g.Stats().Servers[1].State)
	require.Equal(t, 7, g.Stats().Servers[0].Weight)
	require.Zero(t, g.servers()[2].warmFrom.Load(), "known")
	require.NotZero(t, g.servers()[3].warmFrom.Load(), "new")

	o.Check, o.FailuresMax = nil, -1
	unchecked := newGroup(t, o)
	unchecked.Inherit(before)
	require.Equal(t, "127.0.0.1 up, 127.0.0.2 up, 127.0.0.9 up, 127.0.0.8 up", unchecked.states(), "what nothing would end is not inherited")
}

// A client with a cookie jar stays with its server, also while that is drained, until it is not available.
func TestSticky(t *testing.T) {
	t.Parallel()
	var servers []string
	for _, name := range []string{"a", "b", "c"} {
		servers = append(servers, backend(t, says(name)))
	}
	f := serve(t, GroupOptions{Name: "app", Servers: to(servers...), Sticky: &Sticky{MaxAge: time.Hour}}, Options{})
	jar := jarOf(t)
	ask := func() (body string, cookie *http.Cookie) {
		resp, err := jar.Get(f.url)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		all, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		for _, c := range resp.Cookies() {
			cookie = c
		}
		return string(all), cookie
	}
	first, cookie := ask()
	require.Equal(t, "tafe_server", cookie.Name)
	require.Equal(t, []any{"/", true, http.SameSiteLaxMode, 3600, false}, []any{cookie.Path, cookie.HttpOnly, cookie.SameSite, cookie.MaxAge, cookie.Secure})
	require.NotContains(t, cookie.Value, ":")
	for range 10 {
		body, again := ask()
		require.Equal(t, first, body)
		require.Nil(t, again, "it is not set again")
	}
	addr := servers[first[0]-'a']
	require.NoError(t, f.group.Drain(addr))
	body, _ := ask()
	require.Equal(t, first, body, "a drained server keeps its clients")
	_, others := get(t, f.url)
	require.NotEqual(t, first, others, "and gets no new ones")
	for _, s := range f.group.servers() {
		if s.Addr == addr {
			s.set(isDown)
		}
	}
	second, moved := ask()
	require.NotEqual(t, first, second)
	require.NotNil(t, moved, "the client is bound to another server")
	body, _ = ask()
	require.Equal(t, second, body)

	require.Contains(t, f.raw(t, "GET / HTTP/1.1\r\nHost: a\r\nCookie: tafe_server=unknown\r\n\r\n"), "200", "a cookie of no server")
}

func jarOf(t *testing.T) *http.Client {
	c := &http.Client{Jar: &memoryJar{}, Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// memoryJar is a cookie jar for one host.
type memoryJar struct{ all map[string]*http.Cookie }

func (j *memoryJar) SetCookies(_ *url.URL, cookies []*http.Cookie) {
	if j.all == nil {
		j.all = map[string]*http.Cookie{}
	}
	for _, c := range cookies {
		j.all[c.Name] = c
	}
}

func (j *memoryJar) Cookies(*url.URL) (cookies []*http.Cookie) {
	for _, c := range j.all {
		cookies = append(cookies, c)
	}
	return cookies
}

// A client waits for its own server before it is bound to another.
func TestStickyQueue(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var busy atomic.Int64
	mine := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		if busy.Add(1) == 1 {
			<-release
		}
		_, _ = io.WriteString(w, "mine")
	})
	f := serve(t, GroupOptions{Name: "app", Servers: to(mine, backend(t, says("other"))), Sticky: &Sticky{Cookie: "c"}, RequestsMax: 1, WaitTimeout: patience}, Options{})
	request := "GET / HTTP/1.1\r\nHost: a\r\nCookie: c=" + stickyID("app", mine) + "\r\n\r\n"
	answers := make(chan string, 2)
	for range 2 {
		go func() { answers <- f.raw(t, request) }()
	}
	require.Eventually(t, func() bool { return f.group.Stats().Waiting == 1 && busy.Load() == 1 }, patience, time.Millisecond)
	close(release)
	require.Equal(t, "200 mine", <-answers)
	require.Equal(t, "200 mine", <-answers)

	var held atomic.Bool
	again := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if held.CompareAndSwap(false, true) {
			<-again
		}
	}))
	t.Cleanup(slow.Close)
	addr := slow.Listener.Addr().String()
	f = serve(t, GroupOptions{Name: "app", Servers: to(addr, backend(t, says("other"))), Sticky: &Sticky{Cookie: "c"}, RequestsMax: 1, WaitTimeout: 10 * time.Millisecond}, Options{})
	request = "GET / HTTP/1.1\r\nHost: a\r\nCookie: c=" + stickyID("app", addr) + "\r\n\r\n"
	go func() { answers <- f.raw(t, request) }()
	require.Eventually(t, held.Load, patience, time.Millisecond)
	require.Equal(t, "200 other", f.raw(t, request), "after WaitTimeout another server answers")
	close(again)
	<-answers
}
