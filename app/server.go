// Server: Listen, Swap, Drain, Stop and Stats. Package reactor has the sockets; http1.go handles their connections.

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

// stopGrace is the time that running tasks have to end after Drain has cancelled them.
const stopGrace = 5 * time.Second

// ServerConfig configures Listen. Fields that are not described here are those of reactor.Config.
type ServerConfig struct {
	Addr         string     // address of a single plain listener, "host:port" or "unix:/path"; ignored if Listeners is set
	Listeners    []Listener // addresses with TLS, PROXY protocol or redirects
	Inherited    *reactor.Inherited
	Loops        int // event loops, at least 1
	ConnMax      int
	ConnMaxPerIP int
	DialMax      int
	Limits       reactor.Limits
	Handoff      time.Duration // longest slice before a loop is handed over; 0: loop.HandoffTime; negative: never
	Steward      *loop.Steward
	Observe      func(l *loop.Loop) loop.Observer
	Ready        func(e *reactor.Engine) error
}

// Server is a listening App. Its methods are safe for concurrent use.
type Server struct {
	app       atomic.Pointer[App]
	engine    *reactor.Engine
	states    []atomic.Pointer[loopState] // by loop ID
	draining  atomic.Bool
	announced atomic.Bool
	endsKept  atomic.Bool
}

// Listen starts to serve a. It returns when the server accepts connections, or with an error if it cannot listen. Drain or Stop ends it.
func Listen(a *App, config ServerConfig) (*Server, error) {
	a.freeze()
	s := &Server{states: make([]atomic.Pointer[loopState], max(config.Loops, 0))}
	s.app.Store(a)
	engine, err := reactor.Start(reactor.Config{
		Listeners: s.listeners(config), Inherited: config.Inherited, Loops: config.Loops, ConnMax: config.ConnMax,
		ConnMaxPerIP: config.ConnMaxPerIP, DialMax: config.DialMax, Limits: config.Limits, Handoff: config.Handoff, Steward: config.Steward, Log: a.options.Log, Observe: config.Observe, Ready: config.Ready,
	})
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	s.engine = engine
	return s, nil
}

// stateOf returns the state of l, and creates it on first use. On the loop only.
func (s *Server) stateOf(l *loop.Loop) *loopState {
	own := &s.states[l.ID()]
	if own.Load() == nil {
		own.Store(newLoopState(s.app.Load(), l, time.Now))
	}
	return own.Load()
}

// Opener returns a function that opens connections of a on l. It is for loops without a Server, such as those of package looptest. It ends
// registration. Call it once per loop, and call the result on that loop.
func (a *App) Opener(l *loop.Loop) func(*reactor.Conn) reactor.Handler {
	a.freeze()
	return newLoopState(a, l, time.Now).open
}

// swap replaces the App for requests that begin after it. On the loop only.
func (ls *loopState) swap(a *App) {
	ls.app = a
	ls.http2.Limits = &a.http2Limits
	ls.traffic.adopt(a.Routes())
	ls.messages = nil // of routes of the previous App; open connections have theirs
}

// App returns the App that is served.
func (s *Server) App() *App { return s.app.Load() }

// Swap replaces the App that is served. Requests that begin afterwards use a; requests in progress continue with the previous App. Swap
// returns nil when every loop uses a, or the error of ctx; loops that were held until then use a as soon as they are free. After the
// server has ended it returns loop.ErrClosed. Swap does not close the previous App; see App.Close.
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

// Addr returns the first listening address.
func (s *Server) Addr() net.Addr { return s.engine.Addr() }

// Addrs returns the listening addresses in the order of ServerConfig.Listeners.
func (s *Server) Addrs() []net.Addr { return s.engine.Addrs() }

// Engine returns the engine that runs the server's loops.
func (s *Server) Engine() *reactor.Engine { return s.engine }

// Done returns a channel that is closed when the server has ended, by Drain, Stop or a failure.
func (s *Server) Done() <-chan struct{} { return s.engine.Done() }

// Draining reports whether Drain or Announce was called. Load balancers should send no new requests.
func (s *Server) Draining() bool { return s.announced.Load() || s.draining.Load() }

// Announce makes Draining report true. Requests are served as before, so that load balancers can react before Drain is called.
func (s *Server) Announce() { s.announced.Store(true) }

// EndKept adds Connection: close to every further response. Idle connections stay open until they have had one more request, or Drain
// closes them. Further calls have no effect.
func (s *Server) EndKept() {
	if !s.endsKept.CompareAndSwap(false, true) {
		return
	}
	for _, l := range s.engine.Loops() {
		l.PostUnbounded(func() { s.stateOf(l).closeAfter = true }) // false: the loop has ended, with its connections
	}
}

// Drain shuts the server down gracefully. It accepts the connections that are already queued and then refuses new ones; after
// Engine.HandedOver the listeners belong to another process instead, and the files of unix sockets are kept. Every further response closes
// its connection, idle connections are closed at once, and connections without a first request within a second.
//
// When all connections are closed and no handler runs, or when ctx is done, the loops stop. Hijacked connections are waited for last.
// The error is that of ctx if requests were cut off, or that of stopping the loops. Closing hijacked connections is not an error. A second
// call returns an error and has no effect. Stop ends a drain early.
func (s *Server) Drain(ctx context.Context) error {
	if !s.draining.CompareAndSwap(false, true) {
		return errors.New("app: the server is draining already")
	}
	_ = s.engine.StopAccepting(ctx, false) // a held loop stops accepting when it is free
	var cut error
	for opening := 1; opening > 0 && cut == nil && !s.ended(); {
		opening = s.engine.Opening() // read before drainLoops, which then waits for those that have opened since
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

// awaitTaken waits for hijacked connections and their handlers, after all others are closed.
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

// takenPoll is the interval at which a drain checks hijacked connections.
const takenPoll = 10 * time.Millisecond

func (s *Server) taken() bool {
	for i := range s.states {
		if ls := s.states[i].Load(); ls != nil && ls.taken.Load() > 0 {
			return true
		}
	}
	return false
}

// ended reports whether the engine has ended.
func (s *Server) ended() bool {
	select {
	case <-s.engine.Done():
		return true
	default:
		return false
	}
}

// openingPoll is the interval at which a drain checks for PROXY headers and TLS handshakes in progress.
const openingPoll = 5 * time.Millisecond

// drainLoops waits until the connections that are open now are closed.
func (s *Server) drainLoops(ctx context.Context) error {
	loops := s.engine.Loops()
	drained := make(chan struct{}, len(loops))
	for _, l := range loops {
		if !l.PostUnbounded(func() { s.stateOf(l).drain(func() { drained <- struct{}{} }) }) {
			return nil // ended
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

// Stop ends the server immediately. It cancels handlers with loop.ErrShutdown and closes all connections. The error is that of ctx, if
// the loops have not ended by then.
func (s *Server) Stop(ctx context.Context) error { return s.engine.Stop(ctx) }

// Stats are the counters of a server and of its loops.
type Stats struct {
	Counters
	Refused      uint64     // connections refused by ConnMax or ConnMaxPerIP
	AcceptErrors uint64     // failed accept calls, such as those with EMFILE
	ConnMax      int        // in effect, after clamping to the limit on open files
	Loops        []Counters // by loop ID
}

// Stats returns the current counters of all loops. It reads them without the loops' help, so it works while loops are held. The values are
// not a consistent snapshot: each may be from a slightly different time.
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
