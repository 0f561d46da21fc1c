package admin

// The survey: what each loop last told of itself. A loop is asked again only when it has answered, so that one that is held
// does not find a heap of questions when it comes back.

import (
	"context"
	"sync"
	"time"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/reactor"
)

// answerMax is how long an answer is waited for: loops that turn take microseconds, and those that are held must not hold
// the admin listener.
const answerMax = 200 * time.Millisecond

// told is what a loop said of itself.
type told struct {
	at           time.Time
	stats        reactor.Stats
	slices, lags loop.Histogram
}

// poster is a loop as the survey sees it.
type poster interface {
	Post(fn func()) bool
	Stats() reactor.Stats
	Times() (slices, lags loop.Histogram)
}

// surveyed is a loop with the counters of its connections.
type surveyed struct {
	*loop.Loop
	reactor *reactor.Reactor
}

func (l surveyed) Stats() reactor.Stats { return l.reactor.Stats() }

type respondent struct {
	loop     poster
	last     told
	answered chan struct{} // closed by the answer to the last question; nil: none is open
}

// survey may be used by any goroutine.
type survey struct {
	clock  func() time.Time
	server interface {
		Stats(ctx context.Context) app.Stats
	}

	refreshing sync.Mutex // one round at a time

	mu       sync.Mutex
	loops    []*respondent
	requests app.Stats
}

func newSurvey(server *app.Server, clock func() time.Time) *survey {
	s := &survey{clock: clock, server: server}
	for _, l := range server.Engine().Loops() {
		s.loops = append(s.loops, &respondent{loop: surveyed{l, reactor.Of(l)}, last: told{at: clock()}})
	}
	return s
}

// refresh asks every loop and waits for the answers, as long as they may take.
func (s *survey) refresh(ctx context.Context) {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	patience, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	late := answerMax
	for _, r := range s.loops {
		answered := s.ask(r)
		if answered == nil {
			continue // the loop has ended
		}
		select {
		case <-answered:
		case <-patience.Done():
			late = answerMax / 10 // who has not answered by now will not
		}
	}
	patience, cancel = context.WithTimeout(ctx, late)
	defer cancel()
	requests := s.server.Stats(patience)
	s.mu.Lock()
	s.requests = requests
	s.mu.Unlock()
}

// ask puts the question to a loop unless it still has one, and returns what its answer will close; nil: it takes none.
func (s *survey) ask(r *respondent) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.answered != nil {
		return r.answered
	}
	answered := make(chan struct{})
	r.answered = answered
	posted := r.loop.Post(func() {
		t := told{at: s.clock(), stats: r.loop.Stats()}
		t.slices, t.lags = r.loop.Times()
		s.mu.Lock()
		r.last, r.answered = t, nil
		s.mu.Unlock()
		close(answered)
	})
	if !posted {
		r.answered = nil
		return nil
	}
	return answered
}

// results are what the loops last told, and the requests they answered.
func (s *survey) results() ([]told, app.Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := make([]told, len(s.loops))
	for i, r := range s.loops {
		last[i] = r.last
	}
	return last, s.requests
}
