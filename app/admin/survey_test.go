// The survey is tested with loops that turn when the test says so, and a clock that stands still.

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

// manualLoop keeps what was posted until turn, or is another goroutine that turns by itself.
type manualLoop struct {
	posted []func()
	lively bool
	ended  bool
	slices uint64
}

func (l *manualLoop) Post(fn func()) bool {
	switch {
	case l.ended:
		return false
	case l.lively:
		go fn()
	default:
		l.posted = append(l.posted, fn)
	}
	return true
}

func (l *manualLoop) Stats() reactor.Stats { return reactor.Stats{Stats: loop.Stats{Slices: l.slices}} }

func (l *manualLoop) Times() (slices, lags loop.Histogram) { return slices, lags }

func (l *manualLoop) turn() {
	for _, fn := range l.posted {
		fn()
	}
	l.posted = nil
}

type manualServer struct{}

func (manualServer) Stats(context.Context) app.Stats { return app.Stats{ConnMax: 7} }

func TestSurvey(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	lively, stuck := &manualLoop{lively: true}, &manualLoop{}
	s := &survey{clock: func() time.Time { return now }, server: manualServer{}, loops: []*respondent{
		{loop: lively, last: told{at: now}}, {loop: stuck, last: told{at: now}},
	}}
	require.Empty(t, s.stuck(), "all is well at the start")
	for range 6 {
		lively.slices++
		s.refresh(t.Context())
		now = now.Add(time.Second)
	}
	last, requests := s.results()
	require.EqualValues(t, 6, last[0].stats.Slices, "what it told last")
	require.Equal(t, 7, requests.ConnMax)
	require.Equal(t, []int{1}, s.stuck())
	require.Len(t, stuck.posted, 1, "a loop that is held is asked once, however often others want to know")
	stuck.turn()
	require.Empty(t, s.stuck(), "it turned")

	stuck.ended = true
	for range 6 {
		s.refresh(t.Context())
		now = now.Add(time.Second)
	}
	require.Equal(t, []int{1}, s.stuck(), "a loop that has ended does not turn")
}
