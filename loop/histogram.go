// Histogram: distributions of durations, counted without allocation.

package loop

import (
	"math/bits"
	"time"
)

// histogramSize is the number of buckets of a Histogram: ten for each decade from 1 us to
// 100 s, and one for longer durations.
const histogramSize = 8*10 + 1

// histogramBounds are the inclusive upper ends of all buckets but the last, in ns. They are
// the ISO 3 series R'10, which contains 1, 2 and 5 of each decade.
var histogramBounds = func() (bounds [histogramSize - 1]int64) {
	decade := int64(100)
	for i := range bounds {
		if i%10 == 0 {
			decade *= 10
		}
		bounds[i] = decade / 100 * [...]int64{100, 125, 160, 200, 250, 315, 400, 500, 630, 800}[i%10]
	}
	return bounds
}()

// histogramFirst is the bucket of the smallest duration of each length in bits.
var histogramFirst = func() (first [65]uint8) {
	for length := range first {
		smallest := uint64(1) << length >> 1
		for int(first[length]) < len(histogramBounds) && uint64(histogramBounds[first[length]]) < smallest {
			first[length]++
		}
	}
	return first
}()

// Histogram counts durations in buckets of which each is about a quarter longer than the
// one before. It is a value without pointers, for one writer.
type Histogram struct {
	Counts [histogramSize]uint64
	Sum    time.Duration
}

// Observe counts d, in about 4 ns (BenchmarkHistogram). A negative d counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.Counts[HistogramBucket(d)]++
	h.Sum += d
}

// HistogramBucket returns the index in Histogram.Counts of the bucket for d.
func HistogramBucket(d time.Duration) int {
	d = max(d, 0)
	i := int(histogramFirst[bits.Len64(uint64(d))])
	for i < len(histogramBounds) && int64(d) > histogramBounds[i] {
		i++
	}
	return i
}

// Add adds the counts of o.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.Counts {
		h.Counts[i] += n
	}
	h.Sum += o.Sum
}

// Sub subtracts the counts of o, an earlier state of h.
func (h *Histogram) Sub(o *Histogram) {
	for i, n := range o.Counts {
		h.Counts[i] -= n
	}
	h.Sum -= o.Sum
}

// Count returns the number of durations counted.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// AtMost returns the number of durations that were no longer than d. It is exact where d is
// 1, 2 or 5 times a power of ten from 1 us to 50 s; otherwise it undercounts by up to one
// bucket.
func (h *Histogram) AtMost(d time.Duration) (n uint64) {
	for i, bound := range histogramBounds {
		if bound > int64(d) {
			break
		}
		n += h.Counts[i]
	}
	return n
}

// Quantile returns a duration that the fraction q of all does not exceed. It is at most a
// quarter too long. It is 0 when nothing was counted, and 100 s for longer ones.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := min(uint64(q*float64(total)), total-1)
	for i, c := range h.Counts[:len(histogramBounds)] {
		if rank < c {
			return time.Duration(histogramBounds[i])
		}
		rank -= c
	}
	return time.Duration(histogramBounds[len(histogramBounds)-1])
}
