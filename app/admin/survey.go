// Counters of the loops and of the server. They are read while loops run or are held, without
// involving them.

package admin

import (
	"time"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/reactor"
)

// loopSnapshot is the state of a loop's counters at one time.
type loopSnapshot struct {
	at           time.Time
	sinceTurn    time.Duration // time since the loop last turned
	stats        reactor.Stats
	slices, lags loop.Histogram
}

// loopSource is a loop whose counters can be read.
type loopSource interface {
	Stats() reactor.Stats
	Times() (slices, lags loop.Histogram)
	Clock() int64
	TurnedAt() int64
}

// survey reads all counters. Any goroutine may use it.
type survey struct {
	clock  func() time.Time
	loops  []loopSource
	server *app.Server
}

// engineLoop is a loop of the server's engine with its connections.
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

// results returns the current counters of the loops and of the server.
func (s *survey) results() ([]loopSnapshot, app.Stats) {
	all := make([]loopSnapshot, len(s.loops))
	for i, l := range s.loops {
		t := &all[i]
		t.at, t.sinceTurn, t.stats = s.clock(), max(time.Duration(l.Clock()-l.TurnedAt()), 0), l.Stats()
		t.slices, t.lags = l.Times()
	}
	return all, s.server.Stats()
}
