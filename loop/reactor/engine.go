// This file has the Engine: the reactors of a process, their listeners and their
// common limits. handoff.go has the goroutines that own the loops.

package reactor

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

// Config configures an Engine.
type Config struct {
	// Addr is the address to listen on, where a single Listener without options is
	// enough.
	Addr string
	// Listeners replace Addr.
	Listeners []Listener
	// Inherited, if not nil, holds sockets of systemd or of a predecessor. A
	// Listener uses the one that is bound to its address.
	Inherited *Inherited
	// Loops is the number of event loops, at least 1.
	Loops int
	// Open is called on the loop for each accepted connection of a Listener without
	// an Open of its own. It returns the connection's Handler and must not wait.
	Open func(c *Conn) Handler
	// ConnMax limits the accepted connections of all loops together. Connections
	// beyond it are accepted and closed at once. The limit of open files bounds it;
	// 0 means as many as that allows.
	ConnMax int
	// ConnMaxPerIP limits the accepted connections of one client address, which is
	// the one in the PROXY header where there is one. 0: no limit. Unix sockets are
	// not counted.
	ConnMaxPerIP int
	// DialMax limits the outbound connections of all loops together; beyond it a
	// Dialer returns ErrTooManyDials. 0: an eighth of the limit of open files, but
	// at least 32 and at most 4096.
	DialMax int
	Limits  Limits
	Log     *slog.Logger // nil: slog.Default()
	// Handoff is how long a slice may hold its loop while other work waits; then
	// another goroutine takes the loop over. 0: loop.HandoffTime; negative: never.
	Handoff time.Duration
	// Steward watches the loops. nil: the engine has its own. Otherwise the caller
	// starts it, and stops it after the engine.
	Steward *loop.Steward
	// Observe, if not nil, returns the observer of a loop's slices.
	Observe func(l *loop.Loop) loop.Observer
	// Ready, if not nil, is called by Start when the loops run and no connection has
	// been accepted. It may dial. Start fails with its error.
	Ready func(e *Engine) error
}

// Engine runs the loops of a process. Any goroutine may call its methods.
type Engine struct {
	config    Config
	listeners []*listening
	reactors  []*Reactor
	loops     []*loop.Loop
	base      time.Time

	conns        atomic.Int64 // accepted and open
	opening      atomic.Int64 // those of conns for which Open has not been called
	dialed       atomic.Int64 // outbound, open or connecting
	refused      atomic.Uint64
	acceptErrors atomic.Uint64
	abandon      atomic.Bool // Stop no longer waits for released tasks
	steward      *loop.Steward
	spares       chan *Reactor // hands a loop to an idle spare goroutine
	idleSpares   atomic.Int32
	perIP        perIP

	running  sync.WaitGroup // loops that have not ended
	listenMu sync.Mutex     // guards the fields of listeners
	exited   chan struct{}
	errMu    sync.Mutex
	exitErr  error
}

// Start opens the listeners and runs the loops. It returns once every loop accepts
// connections.
// For the process it raises the soft limit of open files to the hard one, and
// GOMAXPROCS to at least 2*Loops + 8, so that the steward and spare goroutines find
// a P while slices compute; see docs/decisions/007. Unless GOGC is set in the
// environment, it lets the heap grow to 32 MiB before a garbage collection begins.
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
	keepHeapMin()
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
	e := &Engine{config: config, listeners: listens, base: time.Now().Add(-time.Second), exited: make(chan struct{}),
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
	if err := e.accept(); err != nil {
		e.shutdown()
		<-e.exited
		return nil, err
	}
	return e, nil
}

// accept polls the listening sockets, once the owner is ready.
func (e *Engine) accept() error {
	if e.config.Ready != nil {
		if err := e.config.Ready(e); err != nil {
			return err
		}
	}
	polled := make(chan error, len(e.reactors))
	for id, r := range e.reactors {
		if !r.loop.PostUnbounded(func() { polled <- r.addListeners(e.listeners, id) }) {
			polled <- loop.ErrClosed
		}
	}
	var first error
	for range e.reactors {
		if err := <-polled; first == nil {
			first = err
		}
	}
	return first
}

// processorsFor returns the GOMAXPROCS that a process needs: more than the
// goroutines that can be busy at once, which are loops, released tasks, the steward
// and the garbage collector.
func processorsFor(loops int) int { return 2*loops + 8 }

// startLoops makes all reactors before it runs any: a running loop may ask the
// others for their current task.
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
	}
	for _, r := range e.reactors {
		e.running.Add(1)
		go e.runLoop(r, r.loop.Drive().Turn)
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

// loopFailed records the error of a loop that ended by itself, and ends the others.
func (e *Engine) loopFailed(err error) {
	e.errMu.Lock()
	first := e.exitErr == nil
	if first {
		e.exitErr = fmt.Errorf("reactor: event loop failed: %w", err)
	}
	e.errMu.Unlock()
	if first {
		e.config.Log.Error("event loop failed; shutting down", "error", err)
		e.shutdown()
	}
}

func (e *Engine) closeListeners() {
	e.listenMu.Lock()
	defer e.listenMu.Unlock()
	for _, l := range e.listeners {
		l.close()
	}
}

// Addr returns the address of the first Listener, as bound.
func (e *Engine) Addr() net.Addr { return e.listeners[0].addr }

// Addrs returns the addresses of the Listeners, as bound, in their order.
func (e *Engine) Addrs() (all []net.Addr) {
	for _, l := range e.listeners {
		all = append(all, l.addr)
	}
	return all
}

// Loops returns the engine's loops. The caller must not change the slice.
func (e *Engine) Loops() []*loop.Loop { return e.loops }

// Conns returns the number of accepted connections that are open.
func (e *Engine) Conns() int { return int(e.conns.Load()) }

// Opening returns how many of Conns are still in the PROXY header or the TLS handshake.
func (e *Engine) Opening() int { return int(e.opening.Load()) }

// silentMin is how long ago the last turn of a loop without a running slice must be
// for the loop to count as stuck. Idle loops turn once a second.
const silentMin = 3 * time.Second

// Stuck returns the ids of the loops that a slice, a callback or a posted function has
// held for at least d, and of those whose last turn was at least d, and at least 3
// seconds, ago. Loops that were told to stop are left out.
func (e *Engine) Stuck(d time.Duration) (ids []int) {
	for _, l := range e.loops {
		now := l.Clock()
		since, _, held := l.Observe().Slice().Load()
		if !held {
			since, held = l.Observe().Slice().BetweenTasks()
		}
		if (held && now-since >= int64(d) || now-l.Observe().TurnedAt() >= int64(max(d, silentMin))) && !l.Stopped() {
			ids = append(ids, l.ID())
		}
	}
	return ids
}

// Refused returns the number of connections closed because of ConnMax or
// ConnMaxPerIP.
func (e *Engine) Refused() uint64 { return e.refused.Load() }

// AcceptErrors returns the number of failed accepts, for example for lack of file
// descriptors.
func (e *Engine) AcceptErrors() uint64 { return e.acceptErrors.Load() }

// Dialed returns the number of outbound connections that are open or connecting.
func (e *Engine) Dialed() int { return int(e.dialed.Load()) }

// ConnMax returns the limit of accepted connections in force.
func (e *Engine) ConnMax() int { return e.config.ConnMax }

// Current returns the task that runs on the calling goroutine, or nil.
func (e *Engine) Current() *loop.Task {
	for _, l := range e.loops {
		if t := l.Current(); t != nil {
			return t
		}
	}
	return nil
}

// offLoops returns loop.ErrOnLoop if the calling goroutine owns a loop.
func (e *Engine) offLoops() error {
	for _, l := range e.loops {
		if l.Drive().IsOwner() {
			return loop.ErrOnLoop
		}
	}
	return nil
}

// Done returns a channel that is closed when the engine has ended, by Stop or
// because of an error, which Err returns.
func (e *Engine) Done() <-chan struct{} { return e.exited }

// Err returns the error that ended the engine. It is nil while the engine runs and
// after Stop.
func (e *Engine) Err() error {
	e.errMu.Lock()
	defer e.errMu.Unlock()
	return e.exitErr
}

// Sockets returns the listening sockets, for ServeHandover.
func (e *Engine) Sockets() []Socket {
	e.listenMu.Lock()
	defer e.listenMu.Unlock()
	return socketsOf(e.listeners)
}

// HandedOver records that a successor polls the listening sockets: when this engine
// closes them, the files of unix sockets stay. Call it after StopAccepting.
func (e *Engine) HandedOver() {
	e.listenMu.Lock()
	defer e.listenMu.Unlock()
	for _, l := range e.listeners {
		l.markHandedOver()
	}
}

// StopAccepting accepts the queued connections and then no more. It returns when
// every loop has done so, or ctx is done. Then it closes the sockets, unless keep,
// which is for sockets that another process uses.
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

// waitFor waits for wg or ctx.
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

// Stop ends every loop: it cancels tasks with loop.ErrShutdown, unwinds them, and
// closes the connections. Requests in flight fail; drain first to avoid that. When
// ctx is done, Stop no longer waits for released tasks: it logs their stacks, waits
// up to a second for the loops, and returns the context's error.
func (e *Engine) Stop(ctx context.Context) error {
	e.shutdown()
	select {
	case <-e.exited:
		return nil
	case <-ctx.Done():
	}
	// Released tasks cannot be stopped from outside.
	e.abandon.Store(true)
	left := 0
	for _, r := range e.reactors {
		left += r.loop.Observe().Released()
		r.Wake()
	}
	if left > 0 {
		e.config.Log.Error("stopped without waiting for released tasks", "tasks", left, "stacks", e.releasedStacks())
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

// reserveDial counts one more outbound connection. It reports false beyond DialMax.
func (e *Engine) reserveDial() bool {
	if e.dialed.Add(1) > int64(e.config.DialMax) {
		e.dialed.Add(-1)
		return false
	}
	return true
}

func (e *Engine) releaseDial() { e.dialed.Add(-1) }
