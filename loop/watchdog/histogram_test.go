package watchdog

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBucketsCoverEveryDurationOnce(t *testing.T) {
	require.Zero(t, bucketOf(-5), "a clock that went back is no crash")
	last := int64(0)
	for i := range histogramSize - 1 {
		end := bucketEnd(i)
		require.Greater(t, end, last)
		require.Equal(t, i, bucketOf(end-1), "the last of bucket %d", i)
		require.Equal(t, i+1, bucketOf(end), "the first beyond bucket %d", i)
		if i > 2<<histogramSub {
			require.LessOrEqual(t, float64(end-last), 0.26*float64(last), "width of bucket %d", i)
		}
		last = end
	}
	require.Equal(t, histogramSize-1, bucketOf(1<<62))
	require.Greater(t, last, int64(60e9), "a minute has a bucket of its own")
}

func TestQuantile(t *testing.T) {
	var h Histogram
	require.Zero(t, h.Quantile(0.99), "empty")
	for i := range int64(1000) {
		h.add((i + 1) * 1e6)
	}
	require.EqualValues(t, 1000, h.Count())
	require.InEpsilon(t, 500e6, h.Quantile(0.5), 0.26)
	require.InEpsilon(t, 990e6, h.Quantile(0.99), 0.26)
	var other Histogram
	other.Add(h.minus(&Histogram{}), 1)
	require.Equal(t, h.Counts, other.Counts)
	other.Add(h.minus(&Histogram{}), -1)
	require.Zero(t, other.Count())
}
