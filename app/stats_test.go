// The account of routes is tested for what it counts, and its histogram against the durations themselves.

package app

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

func TestHistogramBounds(t *testing.T) {
	require.True(t, slices.IsSorted(histogramBounds[:]))
	for _, c := range []struct {
		d    time.Duration
		want uint64
		why  string
	}{
		{-1, 1, "nobody waits for less than nothing"},
		{0, 1, "zero"},
		{time.Millisecond - 1, 1, "below"},
		{time.Millisecond, 1, "the bound itself is within"},
		{time.Millisecond + 1, 0, "beyond"},
		{time.Hour, 0, "beyond everything"},
		{1<<63 - 1, 0, "the longest there is"},
	} {
		var h Histogram
		h.Observe(c.d)
		require.Equal(t, c.want, h.AtMost(time.Millisecond), c.why)
		require.EqualValues(t, 1, h.Count(), c.why)
		require.Equal(t, max(c.d, 0), h.Sum, c.why)
	}
	var h Histogram
	for _, decade := range []time.Duration{1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10} {
		for _, n := range []time.Duration{1, 2, 5} {
			require.Contains(t, histogramBounds[:], int64(n*decade), "what AtMost is exact for")
		}
	}
	require.Zero(t, h.Quantile(0.5), "nothing was counted")
	h.Observe(time.Hour)
	require.Equal(t, 80*time.Second, h.Quantile(0.5), "the last bound")
}

func TestHistogramQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h, before Histogram
	var all []time.Duration
	for n := range 20_000 {
		if n == 10_000 {
			before = h
		}
		d := time.Duration(float64(int64(1000)<<random.IntN(20)) * (1 + random.Float64()))
		h.Observe(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999} {
		exact := all[int(q*float64(len(all)))]
		require.GreaterOrEqual(t, h.Quantile(q), exact, q)
		require.LessOrEqual(t, float64(h.Quantile(q)), 1.2701*float64(exact), q)
	}
	later := h
	later.Sub(&before)
	require.EqualValues(t, 10_000, later.Count())
	later.Add(&before)
	require.Equal(t, h, later)
}

func BenchmarkHistogram(b *testing.B) {
	var h Histogram
	for n := 0; b.Loop(); n++ {
		h.Observe(time.Duration(n&1023) * 10 * time.Microsecond)
	}
}

func TestRouteStats(t *testing.T) {
	a := demo(Options{})
	a.Get("/teapot", func(c *Context) error { return c.NoContent(418) }, Name("tea"))
	r := newRig(t, a, loop.Limits{})
	for _, request := range []string{
		"GET /teapot HTTP/1.1\r\nHost: a\r\n\r\n", "GET /teapot HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /teapot HTTP/1.1\r\nHost: a\r\n\r\n",
		"BREW /teapot HTTP/1.1\r\nHost: a\r\n\r\n", "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		r.dial().conn.Deliver([]byte(request))
	}
	s := r.hub.snapshot()
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
	}, got, "a method that nobody knows is no label of its own")
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
	r := newRig(t, version("/gone"), loop.Limits{})
	ask := func(path string) { r.dial().conn.Deliver([]byte("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")) }
	ask("/gone")
	ask("/slow") // ends when its App is two swaps old
	for range 20 {
		ask("/same")
		ask("/nowhere")
		r.hub.swap(version("/new"))
	}
	ask("/new")
	r.advance(2 * time.Hour)
	r.hub.swap(version("/new"))
	counts := map[string]uint64{}
	for _, s := range r.hub.snapshot().Routes {
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
