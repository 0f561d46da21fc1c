package client

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLatencyBuckets(t *testing.T) {
	last := -1
	for d := time.Microsecond; d < time.Minute; d += d/50 + 1 {
		i := latencyBucket(d)
		assert.GreaterOrEqual(t, i, last)
		assert.Less(t, d, latencyBound(i)+1, "bucket %d", i)
		if i > 0 {
			assert.GreaterOrEqual(t, d, latencyBound(i-1), "bucket %d", i)
		}
		last = i
	}
	assert.Equal(t, 0, latencyBucket(-time.Second), "a clock may do anything")
	assert.Equal(t, latencyBuckets-1, latencyBucket(time.Hour))
}

func TestLatencyQuantile(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var l latency
	var all []time.Duration
	for range latencyWeight - 1 {
		d := time.Duration(dice.ExpFloat64() * float64(10*time.Millisecond))
		all = append(all, d)
		l.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.9, 0.95, 0.99} {
		want := all[int(q*float64(len(all)))]
		l.cached = 0
		assert.InEpsilon(t, want, l.quantile(q), 0.15, "%v", q)
	}
}

func TestLatencyFollowsChange(t *testing.T) {
	var l latency
	for range 2000 {
		l.add(time.Millisecond)
	}
	assert.Less(t, l.quantile(0.95), 2*time.Millisecond)
	for range 4000 {
		l.add(20 * time.Millisecond)
	}
	assert.Greater(t, l.quantile(0.95), 19*time.Millisecond)
	for range 8000 {
		l.add(time.Millisecond)
	}
	assert.Less(t, l.quantile(0.95), 2*time.Millisecond)
	assert.Less(t, l.total, latencyWeight)
}

func BenchmarkLatency(b *testing.B) {
	var l latency
	for i := 0; b.Loop(); i++ {
		l.add(time.Duration(i&1023) * time.Microsecond)
		_ = l.quantile(0.95)
	}
}
