package admin

// The survey: what the loops and the server have counted. Both are read while the loops run, or while they are held: nobody is asked.

import (
	"time"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/reactor"
)

// told is what a loop has counted at a moment.
type told struct {
	at           time.Time
	silent       time.Duration // since the loop last turned
	stats        reactor.Stats
	slices, lags loop.Histogram
}

// counted is a loop as the survey sees it.
type counted interface {
	Stats() reactor.Stats
	Times() (slices, lags loop.Histogram)
	Clock() int64
	TurnedAt() int64
}

// survey may be used by any goroutine.
type survey struct {
	clock  func() time.Time
	loops  []counted
	server *app.Server
}

// engineLoop is a loop with its connections.
type engineLoop struct {
	loop.LoopView
	loop    *loop.Loop
	reactor *reactor.Reactor
}

func (l engineLoop) Clock() int64 { return l.loop.Clock() }

func (l engineLoop) Stats() reactor.Stats { return l.reactor.Stats() }

func newSurvey(server *app.Server, clock func() time.Time) *survey {
	s := &survey{clock: clock, server: server}
	for _, l := range server.Engine().Loops() {
		s.loops = append(s.loops, engineLoop{l.Observe(), l, reactor.Of(l)})
	}
	return s
}

// results are what the loops and the server have counted by now.
func (s *survey) results() ([]told, app.Stats) {
	all := make([]told, len(s.loops))
	for i, l := range s.loops {
		t := &all[i]
		t.at, t.silent, t.stats = s.clock(), max(time.Duration(l.Clock()-l.TurnedAt()), 0), l.Stats()
		t.slices, t.lags = l.Times()
	}
	return all, s.server.Stats()
}
