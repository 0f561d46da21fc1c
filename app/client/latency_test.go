package client

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLatencyQuantile(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var l latency
	var all []time.Duration
	for range latencyHalving - 1 {
		d := time.Duration(dice.ExpFloat64() * float64(10*time.Millisecond))
		all = append(all, d)
		l.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.9, 0.95, 0.99} {
		want := all[int(q*float64(len(all)))]
		l.cached = 0
		got := l.quantile(q)
		assert.GreaterOrEqual(t, got, want, "%v", q)
		assert.LessOrEqual(t, got, want*5/4, "%v", q)
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
	assert.LessOrEqual(t, l.recent.Count(), uint64(2*latencyHalving))
}

func BenchmarkLatency(b *testing.B) {
	var l latency
	for i := 0; b.Loop(); i++ {
		l.add(time.Duration(i&1023) * time.Microsecond)
		_ = l.quantile(0.95)
	}
}
