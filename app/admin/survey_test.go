// Tests of the survey with given counters and a fixed clock.

package admin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// counter is a loop with fixed counters.
type counter struct{ slices uint64 }

func (c *counter) Stats() reactor.Stats                 { return reactor.Stats{Stats: loop.Stats{Slices: c.slices}} }
func (c *counter) Times() (slices, lags loop.Histogram) { return slices, lags }
func (c *counter) Clock() int64                         { return int64(7 * time.Second) }
func (c *counter) TurnedAt() int64                      { return int64(3 * time.Second) }

func TestSurvey(t *testing.T) {
	r := newRig(t, nil)
	c := &counter{}
	s := &survey{clock: func() time.Time { return time.Unix(1_800_000_000, 0) }, server: r.server, loops: []loopSource{c}}
	c.slices = 6
	loops, requests := s.results()
	require.EqualValues(t, 6, loops[0].stats.Slices, "the current value, read without the loop")
	require.Equal(t, 4*time.Second, loops[0].sinceTurn)
	require.Positive(t, requests.ConnMax)
}
