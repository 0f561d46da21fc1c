// Sparse: a Histogram without empty buckets, for JSON.

package watchdog

import (
	"time"

	"tafe/loop"
)

// Sparse is a loop.Histogram in a record: a map from bucket index to count. Empty buckets are left
// out.
type Sparse map[int]int64

func (s Sparse) add(ns int64) { s[loop.HistogramBucket(time.Duration(ns))]++ }

// AddTo adds the counts of s to h, n times. An n of -1 subtracts them.
func (s Sparse) AddTo(h *loop.Histogram, n int64) {
	for i, c := range s {
		if i >= 0 && i < len(h.Counts) {
			h.Counts[i] = uint64(max(int64(h.Counts[i])+n*c, 0))
		}
	}
}

// sparseSince returns the counts that now has in excess of an earlier state.
func sparseSince(now, earlier *loop.Histogram) Sparse {
	s := Sparse{}
	for i, c := range now.Counts {
		if c > earlier.Counts[i] {
			s[i] = int64(c - earlier.Counts[i])
		}
	}
	return s
}
