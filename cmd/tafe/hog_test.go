// Each way of /hog holds its loop for at least the given time.

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHoldsHold(t *testing.T) {
	for name, hold := range holds() {
		const d = 5 * time.Millisecond
		before := time.Now()
		require.NoError(t, hold(d), name)
		require.GreaterOrEqual(t, time.Since(before), d, name)
		require.NoError(t, hold(0), name)
	}
	require.Len(t, holds(), 6)
}
