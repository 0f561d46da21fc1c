package watchdog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

func TestSparse(t *testing.T) {
	var all, before, h loop.Histogram
	s := Sparse{}
	for i := range int64(1000) {
		if i == 500 {
			before = all
		}
		all.Observe(time.Duration(i * 1e6))
		if i >= 500 {
			s.add(i * 1e6)
		}
	}
	require.Equal(t, s, sparseSince(&all, &before))
	s.AddTo(&h, 1)
	require.EqualValues(t, 500, h.Count())
	s.AddTo(&all, -1)
	require.Equal(t, before.Counts, all.Counts)
	Sparse{-1: 5, 1000: 5, 0: 5}.AddTo(&h, -1)
	require.EqualValues(t, 500, h.Count(), "a record from elsewhere")
}
