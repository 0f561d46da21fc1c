// The histogram against the durations themselves.

package loop

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHistogramBounds(t *testing.T) {
	require.True(t, slices.IsSorted(histogramBounds[:]))
	for _, c := range []struct {
		d    time.Duration
		want uint64
		why  string
	}{
		{-1, 1, "a negative duration counts as zero"},
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
