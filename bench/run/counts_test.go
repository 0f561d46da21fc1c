package run

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
)

func TestCounts(t *testing.T) {
	h := hdrhistogram.New(1000, int64(time.Minute), 3)
	for us := int64(1); us < 10_000_000; us += 1 + us/50 {
		require.NoError(t, h.RecordValue(us*1000))
	}
	counts := NewCounts(h)
	var n int64
	for i, c := range counts {
		n += c.N
		require.True(t, i == 0 || c.Step > counts[i-1].Step, "ascending")
	}
	require.Equal(t, h.TotalCount(), n, "every latency is there")
	require.InEpsilon(t, 1, counts[0].Micros(), 0.021)
	require.InEpsilon(t, micros(h.Max()), counts[len(counts)-1].Micros(), 0.011)

	text, err := json.Marshal(counts[:3])
	require.NoError(t, err)
	require.Regexp(t, `^"1:\d+ \d+:\d+ \d+:\d+"$`, string(text))
	var again Counts
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, counts[:3], again)
	for _, bad := range []string{"x:1", "1", "1:", "1:x"} {
		require.Error(t, again.UnmarshalText([]byte(bad)), bad)
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]float64{0: 0, 123456: 123500, 0.00123456: 0.001235, 1.5: 1.5, -98765: -98770} {
		require.InDelta(t, want, short(v), 1e-12)
	}
}
