// The account of routes is tested for what it counts.

package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

func TestRouteStats(t *testing.T) {
	a := demo(Options{})
	a.Get("/teapot", func(c *Context) error { return c.NoContent(418) }, Name("tea"))
	r := newRig(t, a, reactor.Limits{})
	for _, request := range []string{
		"GET /teapot HTTP/1.1\r\nHost: a\r\n\r\n", "GET /teapot HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /teapot HTTP/1.1\r\nHost: a\r\n\r\n",
		"BREW /teapot HTTP/1.1\r\nHost: a\r\n\r\n", "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		r.dial().deliver([]byte(request))
	}
	s := r.state.snapshot()
	got := map[string][]Answers{}
	for _, route := range s.Routes {
		name := "none"
		if route.Route != nil {
			name = route.Route.Name
		}
		var n uint64
		for _, answers := range route.Answers {
			n += answers.Count
		}
		require.Equal(t, n, route.Duration.Count(), name)
		got[name] = route.Answers
	}
	require.Equal(t, map[string][]Answers{
		"tea":  {{"GET", 418, 2}, {"HEAD", 418, 1}},
		"none": {{"other", 405, 1}, {"GET", 404, 1}},
	}, got, "an unknown method has no label of its own")
	require.EqualValues(t, 5, s.Queued.Count())
}

// A swap neither loses what was counted nor lets the account grow.
func TestRouteStatsOutliveTheirApp(t *testing.T) {
	version := func(pattern string) *App {
		a := New(Options{Log: quiet})
		a.Get("/same", func(c *Context) error { return c.NoContent(204) })
		a.Get("/slow", func(c *Context) error { return c.Sleep(time.Hour) })
		a.Get(pattern, func(c *Context) error { return c.NoContent(204) })
		a.freeze()
		return a
	}
	r := newRig(t, version("/gone"), reactor.Limits{})
	ask := func(path string) { r.dial().deliver([]byte("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")) }
	ask("/gone")
	ask("/slow") // ends when its App is two swaps old
	for range 20 {
		ask("/same")
		ask("/nowhere")
		r.state.swap(version("/new"))
	}
	ask("/new")
	r.advance(2 * time.Hour)
	r.state.swap(version("/new"))
	counts := map[string]uint64{}
	for _, s := range r.state.snapshot().Routes {
		name := "none"
		if s.Route != nil {
			name = s.Route.Name
		}
		require.Len(t, s.Answers, 1, name)
		require.Equal(t, s.Answers[0].Count, s.Duration.Count(), name)
		require.NotContains(t, counts, name, "one account for each name")
		counts[name] = s.Answers[0].Count
	}
	require.Equal(t, map[string]uint64{"/same": 20, "none": 20, "/gone": 1, "/slow": 1, "/new": 1}, counts)
}
