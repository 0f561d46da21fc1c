package watchdog

import (
	"time"

	"tafe/loop"
)

// Sparse is a loop.Histogram as records carry it: bucket to count.
type Sparse map[int]int64

func (s Sparse) add(ns int64) { s[loop.HistogramBucket(time.Duration(ns))]++ }

// AddTo counts in h what s counts, n times: -1 takes it away.
func (s Sparse) AddTo(h *loop.Histogram, n int64) {
	for i, c := range s {
		if i >= 0 && i < len(h.Counts) {
			h.Counts[i] = uint64(max(int64(h.Counts[i])+n*c, 0))
		}
	}
}

// sparseSince is what now has more than an earlier state of it.
func sparseSince(now, earlier *loop.Histogram) Sparse {
	s := Sparse{}
	for i, c := range now.Counts {
		if c > earlier.Counts[i] {
			s[i] = int64(c - earlier.Counts[i])
		}
	}
	return s
}
