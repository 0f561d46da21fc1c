// This file owns the life of a listening App: from Listen over Drain to the end. Sockets are loop's, messages http1.go's.

package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"tafe/loop"
	"tafe/loop/reactor"
)

// stopGrace is what the loops get to end what runs, once nothing more is waited for.
const stopGrace = 5 * time.Second

// ServerConfig is where an App listens, and on what; see reactor.Config for the fields.
type ServerConfig struct {
	Addr         string     // where there is one Listener and nothing to say about it
	Listeners    []Listener // in place of Addr
	Inherited    *reactor.Inherited
	Loops        int // at least 1
	ConnMax      int
	ConnMaxPerIP int
	DialMax      int
	Limits       reactor.Limits
	Handoff      time.Duration // 0: loop.HandoffTime; less than 0: off
	Steward      *loop.Steward
	Observe      func(l *loop.Loop) loop.Observer
}

// Server is a listening App. Its methods may be called by any goroutine.
type Server struct {
	app       atomic.Pointer[App]
	engine    *reactor.Engine
	states    []atomic.Pointer[loopState] // each belongs to the loop with its index
	draining  atomic.Bool
	announced atomic.Bool
}

// Listen serves a until Drain or Stop. It returns once the address is listened on.
func Listen(a *App, config ServerConfig) (*Server, error) {
	a.freeze()
	s := &Server{states: make([]atomic.Pointer[loopState], max(config.Loops, 0))}
	s.app.Store(a)
	engine, err := reactor.Start(reactor.Config{
		Listeners: s.listeners(config), Inherited: config.Inherited, Loops: config.Loops, ConnMax: config.ConnMax,
		ConnMaxPerIP: config.ConnMaxPerIP, DialMax: config.DialMax, Limits: config.Limits, Handoff: config.Handoff, Steward: config.Steward, Log: a.options.Log, Observe: config.Observe,
	})
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	s.engine = engine
	return s, nil
}

// hub returns the loop's hub, made when first needed. On the loop only.
func (s *Server) stateOf(l *loop.Loop) *loopState {
	own := &s.states[l.ID()]
	if own.Load() == nil {
		own.Store(newLoopState(s.app.Load(), l, time.Now))
	}
	return own.Load()
}

// Opener returns what opens connections of a on l, for a loop that no Server runs: a test's, with looptest. Registration
// has ended with it. Call it once for a loop: what it returns is that loop's own.
func (a *App) Opener(l *loop.Loop) func(*reactor.Conn) reactor.Handler {
	a.freeze()
	return newLoopState(a, l, time.Now).open
}

// swap has a served from now on. On the loop only.
func (ls *loopState) swap(a *App) {
	ls.app = a
	ls.traffic.adopt(a.router.routes)
}

// App is what is served.
func (s *Server) App() *App { return s.app.Load() }

// Swap has a served instead, from the next request of every connection on; requests that are being served are not
// disturbed. It returns once every loop has taken a, or with the error of ctx: loops that are held take it later.
func (s *Server) Swap(ctx context.Context, a *App) error {
	a.freeze()
	a.inherit(s.app.Load())
	s.app.Store(a)
	loops := s.engine.Loops()
	swapped := make(chan struct{}, len(loops))
	for _, l := range loops {
		if !l.PostUnbounded(func() { s.stateOf(l).swap(s.app.Load()); swapped <- struct{}{} }) {
			return loop.ErrClosed
		}
	}
	for range loops {
		select {
		case <-swapped:
		case <-s.engine.Done():
			return loop.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("app: a loop is held: %w", context.Cause(ctx))
		}
	}
	return nil
}

// Addr is the address that is listened on, the first where there are several.
func (s *Server) Addr() net.Addr { return s.engine.Addr() }

// Addrs are the addresses that are listened on, in the order of the Listeners.
func (s *Server) Addrs() []net.Addr { return s.engine.Addrs() }

// Engine is what the server runs on.
func (s *Server) Engine() *reactor.Engine { return s.engine }

// Done is closed when the server has ended, by Drain, by Stop or by a failure.
func (s *Server) Done() <-chan struct{} { return s.engine.Done() }

// Draining tells whether Drain or Announce was called: whoever balances load should send no more.
func (s *Server) Draining() bool { return s.announced.Load() || s.draining.Load() }

// Announce has Draining say so already, while all is served as before: a Drain follows when balancers have noticed.
func (s *Server) Announce() { s.announced.Store(true) }

// EndKept has every answer from now on end its connection, and leaves idle connections open: clients that ask meanwhile are told before a
// Drain closes them.
func (s *Server) EndKept() {
	for _, l := range s.engine.Loops() {
		l.Post(func() { s.stateOf(l).closeAfter = true })
	}
}

// Drain ends the server without breaking what it has begun: every answer from now on ends its connection, idle connections
// are closed at once, those without a first request within a second, and when all that were open are gone and no handler runs, or ctx is
// done, the loops stop. Connections that handlers have taken (Context.Hijack) are waited for last.
// New connections are refused from then on, once those that wait to be accepted are; after Engine.HandedOver they are another
// process's, and the files of unix sockets stay. The error is that of ctx if requests had to be cut off, not if taken
// connections had to, or that of stopping. A second call is an error at once, and changes nothing; Stop cuts the drain short.
func (s *Server) Drain(ctx context.Context) error {
	if !s.draining.CompareAndSwap(false, true) {
		return errors.New("app: the server is draining already")
	}
	_ = s.engine.StopAccepting(ctx, false) // of a loop that is held: it stops when it can
	var cut error
	for opening := 1; opening > 0 && cut == nil && !s.ended(); {
		opening = s.engine.Opening() // first: what has opened since is a connection that a loop waits for
		if cut = s.drainLoops(ctx); opening > 0 {
			time.Sleep(openingPoll)
		}
	}
	if cut == nil {
		s.awaitTaken(ctx)
	}
	stop, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	return errors.Join(cut, s.engine.Stop(stop))
}

// awaitTaken waits for what handlers do on connections that they have taken: nothing else is open.
func (s *Server) awaitTaken(ctx context.Context) {
	tick := time.NewTicker(takenPoll)
	defer tick.Stop()
	for s.engine.Conns() > 0 || s.taken() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-s.engine.Done():
			return
		}
	}
}

// takenPoll is how often a drain looks for the end of taken connections.
const takenPoll = 10 * time.Millisecond

func (s *Server) taken() bool {
	for i := range s.states {
		if ls := s.states[i].Load(); ls != nil && ls.taken.Load() > 0 {
			return true
		}
	}
	return false
}

// ended tells whether the engine has.
func (s *Server) ended() bool {
	select {
	case <-s.engine.Done():
		return true
	default:
		return false
	}
}

// openingPoll is how often a drain looks for PROXY headers and TLS handshakes that are under way.
const openingPoll = 5 * time.Millisecond

// drainLoops waits until the connections that the loops have now are gone.
func (s *Server) drainLoops(ctx context.Context) error {
	loops := s.engine.Loops()
	drained := make(chan struct{}, len(loops))
	for _, l := range loops {
		if !l.PostUnbounded(func() { s.stateOf(l).drain(func() { drained <- struct{}{} }) }) {
			return nil // the server has ended
		}
	}
	for range loops {
		select {
		case <-drained:
		case <-ctx.Done():
			return fmt.Errorf("app: requests were cut off: %w", context.Cause(ctx))
		case <-s.engine.Done():
			return nil
		}
	}
	return nil
}

// Stop ends the server at once: handlers are cancelled with loop.ErrShutdown, connections closed.
func (s *Server) Stop(ctx context.Context) error { return s.engine.Stop(ctx) }

// Stats are what a server and its loops count.
type Stats struct {
	Counters
	Refused uint64 // connections beyond ConnMax or ConnMaxPerIP
	// AcceptErrors are accepts that failed, such as those for want of a descriptor.
	AcceptErrors uint64
	ConnMax      int
	Loops        []Counters // of each
}

// Stats returns the counters of all loops as they are now. The loops are not asked, so that it works while they are held: each number
// is one that was right, but they need not be of the same moment. Any goroutine.
func (s *Server) Stats() Stats {
	stats := Stats{Refused: s.engine.Refused(), AcceptErrors: s.engine.AcceptErrors(), ConnMax: s.engine.ConnMax()}
	stats.Reasons = map[string]uint64{}
	stats.Loops = make([]Counters, len(s.states))
	for i := range s.states {
		if ls := s.states[i].Load(); ls != nil {
			stats.Loops[i] = ls.snapshot()
			stats.add(stats.Loops[i])
		}
	}
	return stats
}
