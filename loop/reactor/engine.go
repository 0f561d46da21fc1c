package reactor

// Engine: the reactors of a process, what they listen on, and their common
// bounds.

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"tafe/loop"
	"tafe/loop/internal/testmode"
)

// Config is what an Engine is made of.
type Config struct {
	// Addr to listen on, where there is one Listener and nothing to say about it.
	Addr string
	// Listeners, in place of Addr.
	Listeners []Listener
	// Inherited, if not nil, are sockets of systemd or of an earlier process, used
	// where their addresses are wanted.
	Inherited *Inherited
	// Loops is the number of event loops; at least 1.
	Loops int
	// Open is called on the loop for each accepted connection and returns its
	// handler; see Listener.Open.
	Open func(c *Conn) Handler
	// ConnMax bounds accepted connections of all loops together; beyond it a
	// connection is accepted and closed at once. 0: what the file descriptor limit
	// leaves, which also bounds any other value.
	ConnMax int
	// ConnMaxPerIP bounds accepted connections of one client address, the announced
	// one behind a PROXY header; 0: no bound. Unix sockets are not counted.
	ConnMaxPerIP int
	// DialMax bounds the outbound connections of all loops together; beyond it a
	// Dialer fails. 0: half of the file descriptors that ConnMax leaves.
	DialMax int
	Limits  Limits
	Log     *slog.Logger
	// Handoff is for how long a slice may hold its loop while others wait: then
	// another goroutine takes the loop over. 0: loop.HandoffTime; less than 0: never.
	// Where it is not off, Start raises GOMAXPROCS so that the steward and spare
	// goroutines find a P beside slices that compute; the kernel shares the CPUs
	// among them. See docs/decisions/007.
	Handoff time.Duration
	// Steward looks at the loops; nil: one of the engine's own. The caller starts it
	// and stops it after the engine.
	Steward *loop.Steward
	// Observe, if not nil, returns what is told of a loop's slices.
	Observe func(l *loop.Loop) loop.Observer
}

// Engine runs Loops on reactors. Its methods may be called by any goroutine.
type Engine struct {
	config   Config
	listens  []*listening
	reactors []*Reactor
	loops    []*loop.Loop
	base     time.Time

	conns        atomic.Int64 // accepted
	opening      atomic.Int64 // of these, those that have no handler of Config.Open yet
	dialed       atomic.Int64 // outbound, also those in the making
	refused      atomic.Uint64
	acceptErrors atomic.Uint64
	abandon      atomic.Bool // released tasks are not waited for any more
	steward      *loop.Steward
	spares       chan *Reactor // for goroutines that own no loop
	idleSpares   atomic.Int32
	perIP        perIP

	running  sync.WaitGroup // goroutines of the loops
	listenMu sync.Mutex     // of what listens holds
	exited   chan struct{}
	errMu    sync.Mutex
	exitErr  error
}

// Start listens and returns once every loop runs.
func Start(config Config) (*Engine, error) {
	if config.Loops < 1 {
		return nil, fmt.Errorf("reactor: %d loops, need at least 1", config.Loops)
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.Handoff == 0 {
		config.Handoff = testmode.Handoff(loop.HandoffTime)
	}
	if want := processorsFor(config.Loops); runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	var warnings []string
	config.ConnMax, config.DialMax, warnings = fileLimits(config.ConnMax, config.DialMax)
	for _, w := range warnings {
		config.Log.Warn(w)
	}
	wanted := config.Listeners
	if len(wanted) == 0 {
		wanted = []Listener{{Addr: config.Addr}}
	}
	listens, err := listen(wanted, config.Loops, config.Inherited)
	if err != nil {
		return nil, err
	}
	for _, l := range listens {
		if l.Open == nil {
			l.Open = config.Open
		}
	}
	e := &Engine{config: config, listens: listens, base: time.Now().Add(-time.Second), exited: make(chan struct{}),
		steward: config.Steward, spares: make(chan *Reactor)}
	if e.steward == nil {
		e.steward = loop.NewSteward()
	}
	if err := e.startLoops(); err != nil {
		e.closeListeners()
		for _, r := range e.reactors {
			r.close()
		}
		return nil, err
	}
	return e, nil
}

// processorsFor is how many Ps a process needs: more than the goroutines that can
// be busy at once, which are loops, released tasks, the steward and the collector.
func processorsFor(loops int) int { return 2*loops + 8 }

// startLoops makes all reactors and then runs them: a loop may be asked for the
// task of another from the first moment.
func (e *Engine) startLoops() error {
	for id := range e.config.Loops {
		r, err := newReactor(e, id, e.config.Log)
		if err != nil {
			return fmt.Errorf("reactor: %w", err)
		}
		e.reactors = append(e.reactors, r)
		e.loops = append(e.loops, r.loop)
		if e.config.Observe != nil {
			r.loop.Drive().SetObserver(e.config.Observe(r.loop))
		}
		if testmode.Always() && e.config.Handoff > 0 {
			r.loop.Drive().ForceHandoff(func(*loop.Task) bool { return true })
		}
		for _, l := range e.listens {
			if err := r.accept(l, id); err != nil {
				return fmt.Errorf("reactor: listen %s: %w", l.addr, err)
			}
		}
	}
	for _, r := range e.reactors {
		e.running.Add(1)
		go e.own(r, r.loop.Drive().Turn)
		e.steward.Watch(r.loop, e.config.Handoff)
	}
	if e.config.Steward == nil {
		e.steward.Start()
	}
	go func() {
		e.running.Wait()
		for _, l := range e.loops {
			e.steward.Forget(l)
		}
		if e.config.Steward == nil {
			e.steward.Stop()
		}
		e.closeListeners()
		for _, r := range e.reactors {
			r.close()
		}
		close(e.exited)
	}()
	return nil
}

// failed keeps the error that ended a loop, and ends the others.
func (e *Engine) failed(err error) {
	e.errMu.Lock()
	first := e.exitErr == nil
	if first {
		e.exitErr = fmt.Errorf("reactor: a loop ended: %w", err)
	}
	e.errMu.Unlock()
	if first {
		e.config.Log.Error("a loop ended", "error", err)
		e.shutdown()
	}
}

func (e *Engine) closeListeners() {
	e.listenMu.Lock()
	defer e.listenMu.Unlock()
	for _, l := range e.listens {
		l.close()
	}
}

// Addr is the address that is listened on, the first where there are several.
func (e *Engine) Addr() net.Addr { return e.listens[0].addr }

// Addrs are the addresses that are listened on, in the order of the Listeners.
func (e *Engine) Addrs() (all []net.Addr) {
	for _, l := range e.listens {
		all = append(all, l.addr)
	}
	return all
}

// Loops are the engine's loops; the slice must not be changed.
func (e *Engine) Loops() []*loop.Loop { return e.loops }

// Conns is the number of accepted connections that are open.
func (e *Engine) Conns() int { return int(e.conns.Load()) }

// Opening is how many of them Open has not been called for: their PROXY header or
// TLS handshake is under way.
func (e *Engine) Opening() int { return int(e.opening.Load()) }

// silentMin is for how long a loop must not have turned before it is stuck although
// it seems to wait: idle loops turn once a second.
const silentMin = 3 * time.Second

// Stuck lists the loops, by their ids, that have been held for at least d, or that
// nobody drives any more. Loops that were told to end are not in it. Any goroutine.
func (e *Engine) Stuck(d time.Duration) (ids []int) {
	for _, l := range e.loops {
		now := l.Clock()
		since, _, held := l.Observe().Slice().Load()
		if !held {
			since, held = l.Observe().Slice().Outside()
		}
		if (held && now-since >= int64(d) || now-l.Observe().TurnedAt() >= int64(max(d, silentMin))) && !l.Stopped() {
			ids = append(ids, l.ID())
		}
	}
	return ids
}

// Refused counts connections that ConnMax or ConnMaxPerIP turned away.
func (e *Engine) Refused() uint64 { return e.refused.Load() }

// AcceptErrors counts failed accepts, such as those for want of a descriptor.
func (e *Engine) AcceptErrors() uint64 { return e.acceptErrors.Load() }

// Dialed is the number of outbound connections that are open or in the making.
func (e *Engine) Dialed() int { return int(e.dialed.Load()) }

// ConnMax is the bound in force.
func (e *Engine) ConnMax() int { return e.config.ConnMax }

// Current returns the task that the calling goroutine is, or nil.
func (e *Engine) Current() *loop.Task {
	for _, l := range e.loops {
		if t := l.Current(); t != nil {
			return t
		}
	}
	return nil
}

// offLoops returns loop.ErrOnLoop when the calling goroutine is a loop's own.
func (e *Engine) offLoops() error {
	for _, l := range e.loops {
		if l.Drive().IsOwner() {
			return loop.ErrOnLoop
		}
	}
	return nil
}

// Done is closed when the engine has ended, by Stop or by a failure that Err
// then tells.
func (e *Engine) Done() <-chan struct{} { return e.exited }

// Err is why the engine ended; nil while it runs and after Stop.
func (e *Engine) Err() error {
	e.errMu.Lock()
	defer e.errMu.Unlock()
	return e.exitErr
}

// Sockets are the listening sockets, for a successor: see ServeHandover.
func (e *Engine) Sockets() []Socket {
	e.listenMu.Lock()
	defer e.listenMu.Unlock()
	return socketsOf(e.listens)
}

// HandedOver says that a successor has the listening sockets and polls them: the
// files of unix sockets stay when this engine closes its descriptors. Call it after
// StopAccepting.
func (e *Engine) HandedOver() {
	e.listenMu.Lock()
	defer e.listenMu.Unlock()
	for _, l := range e.listens {
		l.handOver()
	}
}

// StopAccepting takes the connections that are waiting to be accepted, and then
// no more. The sockets are closed unless keep: then another process has them. It
// returns when every loop has done so, or ctx is done.
func (e *Engine) StopAccepting(ctx context.Context, keep bool) error {
	var wg sync.WaitGroup
	for _, r := range e.reactors {
		wg.Add(1)
		if !r.loop.PostUnbounded(func() { r.stopAccepting(); wg.Done() }) {
			wg.Done()
		}
	}
	if err := waitFor(ctx, &wg); err != nil {
		return err
	}
	if !keep {
		e.closeListeners()
	}
	return nil
}

func waitFor(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends every loop: tasks are cancelled with loop.ErrShutdown, then unwound,
// and connections are closed. To end without breaking requests, drain first.
func (e *Engine) Stop(ctx context.Context) error {
	e.shutdown()
	select {
	case <-e.exited:
		return nil
	case <-ctx.Done():
	}
	// Tasks that run beside their loops can only be left behind.
	e.abandon.Store(true)
	left := 0
	for _, r := range e.reactors {
		left += r.loop.Observe().Released()
		r.Wake()
	}
	if left > 0 {
		e.config.Log.Error("stopped without waiting for code that runs on", "tasks", left, "stacks", e.releasedStacks())
	}
	select {
	case <-e.exited:
	case <-time.After(stopGrace): // a loop is held
	}
	return ctx.Err()
}

// shutdown asks every loop to end.
func (e *Engine) shutdown() {
	for _, r := range e.reactors {
		r.loop.PostUnbounded(r.shutdown)
	}
}

// reserveDial counts one more outbound connection unless there are too many.
func (e *Engine) reserveDial() bool {
	if e.dialed.Add(1) > int64(e.config.DialMax) {
		e.dialed.Add(-1)
		return false
	}
	return true
}

func (e *Engine) releaseDial() { e.dialed.Add(-1) }
