package watchdog

// Distributions of durations: counters in buckets that grow with the value.

import "math/bits"

// Buckets begin at 1.024 us and double every four: each is at most 25% wide. The
// last begins at 60 s.
const (
	histogramShift = 10
	histogramSub   = 2 // bits: 4 buckets for each power of two
	histogramSize  = 27 << histogramSub
)

// Histogram counts durations. Its owner alone writes it, one word at a time.
type Histogram struct {
	Counts [histogramSize]uint64
	Sum    uint64 // ns
}

// bucketOf is the index of the bucket for a duration in ns.
func bucketOf(ns int64) int {
	u := uint64(max(ns, 0)) >> (histogramShift - histogramSub)
	if u < 1<<histogramSub {
		return int(u)
	}
	e := bits.Len64(u) - histogramSub - 1
	return min((e+1)<<histogramSub+int(u>>e)&(1<<histogramSub-1), histogramSize-1)
}

// bucketEnd is the first duration in ns beyond a bucket.
func bucketEnd(i int) int64 {
	i++
	if i < 1<<histogramSub {
		return int64(i) << (histogramShift - histogramSub)
	}
	e := i>>histogramSub - 1
	m := 1<<histogramSub + i&(1<<histogramSub-1)
	return int64(m) << e << (histogramShift - histogramSub)
}

func (h *Histogram) add(ns int64) {
	h.Counts[bucketOf(ns)]++
	h.Sum += uint64(max(ns, 0))
}

// Merge adds another histogram.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.Counts {
		h.Counts[i] += n
	}
	h.Sum += other.Sum
}

// Count is the number of durations.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile returns a duration in ns that the fraction q of all does not
// exceed, up to a quarter too long; 0 when empty.
func (h *Histogram) Quantile(q float64) int64 {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := min(uint64(q*float64(total)), total-1)
	for i, c := range h.Counts {
		if rank < c {
			return bucketEnd(i)
		}
		rank -= c
	}
	return bucketEnd(histogramSize - 1)
}

// Sparse is a histogram as records carry it: bucket to count.
type Sparse map[int]int64

func (s Sparse) add(ns int64) { s[bucketOf(ns)]++ }

// Add counts what s counts, n times: -1 takes it away.
func (h *Histogram) Add(s Sparse, n int64) {
	for i, c := range s {
		if i >= 0 && i < histogramSize {
			h.Counts[i] = uint64(max(int64(h.Counts[i])+n*c, 0))
		}
	}
}

// copyWords copies a histogram that its owner may be writing.
//
//go:norace
func copyWords(from *Histogram) Histogram { return *from }
