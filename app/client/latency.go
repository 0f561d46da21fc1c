// The estimate of a host's latency.

package client

import (
	"math/bits"
	"time"
)

const (
	latencyShift   = 14 // the first bucket ends at 2^14 ns, 16 us
	latencySteps   = 8  // buckets per doubling: a quantile is accurate to 9%
	latencyBuckets = 22 * latencySteps
	latencyWeight  = 1024 // samples after which all counts are halved, so that old samples fade
	latencyFresh   = 16   // samples for which a computed quantile is reused
)

// latency is a histogram in which old samples fade. It is used on the loop of its
// pool, or under the lock of the shared pool.
type latency struct {
	counts  [latencyBuckets]uint16
	total   int // sum of counts
	samples int // since the start
	stale   int // samples since cached was computed
	cached  time.Duration
}

func latencyBucket(d time.Duration) int {
	n := uint64(max(d, 0)) >> latencyShift
	if n == 0 {
		return 0
	}
	octave := bits.Len64(n)
	// The three bits after the leading one.
	fraction := int((uint64(d) >> (latencyShift + octave - 1 - 3)) & (latencySteps - 1))
	return min((octave-1)*latencySteps+fraction+1, latencyBuckets-1)
}

// latencyBound returns the upper bound of bucket i.
func latencyBound(i int) time.Duration {
	octave, fraction := i/latencySteps, i%latencySteps
	return time.Duration((latencySteps + uint64(fraction)) << (latencyShift + octave - 3))
}

func (l *latency) add(d time.Duration) {
	l.counts[latencyBucket(d)]++
	l.total++
	l.samples++
	l.stale++
	if l.total < latencyWeight {
		return
	}
	l.total = 0
	for i := range l.counts {
		l.counts[i] /= 2
		l.total += int(l.counts[i])
	}
}

// quantile returns an upper bound of the fraction q of the recent samples.
func (l *latency) quantile(q float64) time.Duration {
	if l.cached > 0 && l.stale < latencyFresh {
		return l.cached
	}
	above := int(float64(l.total) * (1 - q))
	for i := latencyBuckets - 1; i >= 0; i-- {
		if above -= int(l.counts[i]); above < 0 {
			l.cached, l.stale = latencyBound(i), 0
			break
		}
	}
	return l.cached
}
