package client

// This file owns the estimate of a host's latency. It refuses to know what is
// done with it.

import (
	"math/bits"
	"time"
)

const (
	latencyShift   = 14 // the first bucket ends at 2^14 ns, 16 us
	latencySteps   = 8  // buckets per doubling: a quantile is exact to 9%
	latencyBuckets = 22 * latencySteps
	latencyWeight  = 1024 // samples after which all counts are halved: older ones fade
	latencyFresh   = 16   // samples for which a quantile is not computed anew
)

// latency is a histogram of times in which old samples fade. It is for its
// pool's loop, or under its lock.
type latency struct {
	counts  [latencyBuckets]uint16
	total   int // sum of counts
	samples int // ever, saturating in effect
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

// latencyBound is where bucket i ends.
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

// quantile is a time that the share q of the recent samples stayed below.
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
