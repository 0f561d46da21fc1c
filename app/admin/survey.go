package admin

// The survey: what the loops and the server have counted. Loops are read while they run, or while they are held; only the
// server's account of requests is asked for by Post, and waited for briefly.

import (
	"context"
	"sync"
	"time"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/reactor"
)

const (
	// answerMax is how long the account of requests is waited for: loops that turn take microseconds, and those that are held
	// must not hold the admin listener. After one that did not answer, the next wait is answerAgain.
	answerMax   = 200 * time.Millisecond
	answerAgain = 20 * time.Millisecond
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
	server interface {
		Stats(ctx context.Context) app.Stats
	}

	refreshing sync.Mutex // one round at a time

	mu       sync.Mutex
	requests app.Stats
}

// engineLoop is a loop with its connections.
type engineLoop struct {
	*loop.Loop
	reactor *reactor.Reactor
}

func (l engineLoop) Stats() reactor.Stats { return l.reactor.Stats() }

func newSurvey(server *app.Server, clock func() time.Time) *survey {
	s := &survey{clock: clock, server: server}
	for _, l := range server.Engine().Loops() {
		s.loops = append(s.loops, engineLoop{l, reactor.Of(l)})
	}
	return s
}

// refresh asks for the account of requests.
func (s *survey) refresh(ctx context.Context) {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	patience := answerMax
	if len(s.answers().Silent) > 0 {
		patience = answerAgain
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	requests := s.server.Stats(ctx)
	s.mu.Lock()
	s.requests = requests
	s.mu.Unlock()
}

// answers are the requests as of the last refresh.
func (s *survey) answers() app.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// results are what the loops have counted by now, and the requests as of the last refresh.
func (s *survey) results() ([]told, app.Stats) {
	all := make([]told, len(s.loops))
	for i, l := range s.loops {
		t := &all[i]
		t.at, t.silent, t.stats = s.clock(), max(time.Duration(l.Clock()-l.TurnedAt()), 0), l.Stats()
		t.slices, t.lags = l.Times()
	}
	return all, s.answers()
}
