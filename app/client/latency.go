// The estimate of a host's latency.

package client

import (
	"time"

	"tafe/loop"
)

const (
	latencyHalving = 512 // samples after which all counts are halved, so that old samples fade
	latencyFresh   = 16  // samples for which a computed quantile is reused
)

// latency is a histogram in which old samples fade. It is used on the loop of its
// pool, or under the lock of the shared pool.
type latency struct {
	recent  loop.Histogram
	samples int // since the start
	stale   int // samples since cached was computed
	cached  time.Duration
}

func (l *latency) add(d time.Duration) {
	l.recent.Observe(d)
	l.samples++
	l.stale++
	if l.samples%latencyHalving == 0 {
		for i := range l.recent.Counts {
			l.recent.Counts[i] /= 2
		}
	}
}

// quantile returns a duration that the fraction q of the recent samples does not exceed. It is at most a quarter too long.
func (l *latency) quantile(q float64) time.Duration {
	if l.cached == 0 || l.stale >= latencyFresh {
		l.cached, l.stale = l.recent.Quantile(q), 0
	}
	return l.cached
}
