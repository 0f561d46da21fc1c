package simulate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func at(sorted []time.Duration, share float64) time.Duration {
	return sorted[int(share*float64(len(sorted)))]
}

// The simulated server has few states, so that some of its results are known without a simulation.
func TestSeed(t *testing.T) {
	for _, tc := range []struct {
		why        string
		order      Order
		concurrent int
		share      float64
		median     time.Duration // and p99, both within some percent: 0 is not checked
		p99        time.Duration
	}{
		{"no queue: one connection and rare requests", FIFO, 1, 0.01, floor, floor},
		{"at little load most requests find nothing before them", FIFO, 64, 0.05, floor, 0},
		{"a queue of heavy slices, in order of arrival", FIFO, 256, 0.6, 19_900 * time.Microsecond, 27_200 * time.Microsecond},
		{"light slices pass them", LightFirst, 256, 0.6, 17_700 * time.Microsecond, 22_100 * time.Microsecond},
	} {
		t.Run(tc.why, func(t *testing.T) {
			got := Seed(tc.order, tc.concurrent, tc.share)
			require.Len(t, got, requests-warm)
			require.GreaterOrEqual(t, got[0], floor, "nothing is faster than the floor")
			if tc.median > 0 {
				require.InEpsilon(t, float64(tc.median), float64(at(got, 0.5)), 0.03)
			}
			if tc.p99 > 0 {
				require.InEpsilon(t, float64(tc.p99), float64(at(got, 0.99)), 0.08)
			}
		})
	}
}

func TestCapacity(t *testing.T) {
	require.InEpsilon(t, 1/floor.Seconds(), newServer(FIFO, 1, 0).run(), 0.001, "one connection: a request at a time")
	for _, order := range []Order{FIFO, LightFirst} {
		require.InEpsilon(t, 1/workTime.Seconds(), newServer(order, 256, 0).run(), 0.01, "many connections: the core is never idle")
	}
}

func TestFewConnectionsQueueInFront(t *testing.T) {
	few, many := Seed(FIFO, 16, 0.9), Seed(FIFO, 512, 0.5)
	require.Greater(t, at(few, 0.99), at(many, 0.99), "requests wait for one of 16 connections")
	require.Equal(t, few, Seed(FIFO, 16, 0.9), "equal arguments, equal results")
}
