// The survey is tested with loops whose numbers the test sets, and a clock that stands still.

package admin

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/reactor"
)

// counter is a loop that has counted.
type counter struct{ slices uint64 }

func (c *counter) Stats() reactor.Stats                 { return reactor.Stats{Stats: loop.Stats{Slices: c.slices}} }
func (c *counter) Times() (slices, lags loop.Histogram) { return slices, lags }
func (c *counter) Clock() int64                         { return int64(7 * time.Second) }
func (c *counter) TurnedAt() int64                      { return int64(3 * time.Second) }

// slowServer answers when its time is up.
type slowServer struct {
	silent   []int
	patience []time.Duration
}

func (s *slowServer) Stats(ctx context.Context) app.Stats {
	deadline, _ := ctx.Deadline()
	s.patience = append(s.patience, time.Until(deadline))
	return app.Stats{ConnMax: 7, Silent: s.silent}
}

func TestSurvey(t *testing.T) {
	c, server := &counter{}, &slowServer{silent: []int{0}}
	s := &survey{clock: func() time.Time { return time.Unix(1_800_000_000, 0) }, server: server, loops: []counted{c}}
	c.slices = 6
	loops, requests := s.results()
	require.EqualValues(t, 6, loops[0].stats.Slices, "as it is now, and nobody was asked")
	require.Equal(t, 4*time.Second, loops[0].silent)
	require.Zero(t, requests.ConnMax)
	s.refresh(t.Context())
	_, requests = s.results()
	require.Equal(t, 7, requests.ConnMax)
	s.refresh(t.Context())
	require.Greater(t, server.patience[0], answerAgain)
	require.LessOrEqual(t, server.patience[1], answerAgain, "a loop that has not answered is not waited for again")
}
