package loop

// Engine: the gnet adapter, and the only implementation of its EventHandler.
// It turns reactors into Loops and gnet connections into Conns; gnet's types
// leave neither this file nor enroll.go.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// Config is what an Engine is made of.
type Config struct {
	// Addr to listen on, where there is one Listener and nothing to say about it.
	Addr string
	// Listeners, in place of Addr.
	Listeners []Listener
	// Loops is the number of event loops; at least 1.
	Loops int
	// Open is called on the loop for each accepted connection and returns its
	// handler; see Listener.Open.
	Open func(c *Conn) Handler
	// ConnMax bounds connections of all loops together; beyond it a connection is
	// accepted and closed at once. 0: what the file descriptor limit leaves.
	ConnMax int
	// DialMax bounds the outbound connections of all loops together; beyond it a
	// Dialer fails. 0: half of the file descriptors that ConnMax leaves.
	DialMax int
	// Shared lets other processes listen on the same address (SO_REUSEPORT). The
	// last to start gets all new connections, so that it can take over.
	Shared bool
	// LockThreads ties each loop to an OS thread: per-thread CPU clocks for the
	// watchdog, at the price of slower Posts (6 to 24 us).
	LockThreads bool
	Limits      Limits
	Log         *slog.Logger
	// Observe, if not nil, returns who is told of a loop's slices.
	Observe func(l *Loop) Observer
}

// fdReserve is how many descriptors are kept for upstreams, files and logs.
func fdReserve(limit int) int { return max(64, min(limit/4, 8192)) }

// Engine runs Loops on gnet's reactors. Its methods may be called by any
// goroutine.
type Engine struct {
	config  Config
	listens []*listening
	gnet    gnet.Engine
	loops   []*Loop
	running atomic.Pointer[[]*Loop] // loops, once all are known: a connection may be there before Start returns
	byEvent sync.Map                // gnet.EventLoop -> *reactor
	found   atomic.Int32            // reactors in byEvent
	conns   atomic.Int64            // accepted
	dialed  atomic.Int64            // outbound, also those in the making
	strays  sync.Map                // *Bulk: outbound connections of no loop
	refused atomic.Uint64
	ticked  chan struct{}
	tick    sync.Once
	exited  chan struct{}
	exitErr error
	base    time.Time
}

// Start listens and returns once every loop runs.
func Start(config Config) (*Engine, error) {
	if config.Loops < 1 {
		return nil, fmt.Errorf("loop: %d loops, need at least 1", config.Loops)
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.ConnMax <= 0 || config.DialMax <= 0 {
		limit := raiseFileLimit()
		if config.ConnMax <= 0 {
			config.ConnMax = limit - fdReserve(limit)
		}
		if config.DialMax <= 0 {
			config.DialMax = fdReserve(limit) / 2
		}
	}
	listens, err := config.listeners()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		config: config, listens: listens, base: time.Now().Add(-time.Second),
		ticked: make(chan struct{}), exited: make(chan struct{}),
	}
	reuse := listens[0].addr.Network() != "unix" // see docs/decisions/003
	balancing := gnet.LeastConnections
	if reuse { // connections are not gnet's to spread, only the bells; clients that flood the start must not lead these astray
		balancing = gnet.RoundRobin
	}
	var protos []string
	for _, l := range listens {
		protos = append(protos, l.proto)
	}
	go func() {
		defer close(e.exited)
		e.exitErr = gnet.Rotate(&events{e}, protos,
			gnet.WithNumEventLoop(config.Loops),
			gnet.WithReusePort(reuse),
			gnet.WithReuseAddr(true),
			gnet.WithLoadBalancing(balancing),
			gnet.WithLockOSThread(config.LockThreads),
			gnet.WithTCPKeepAlive(time.Minute),
			gnet.WithTicker(true),
			gnet.WithReadBufferCap(readBytes(config.Limits)),
			gnet.WithLogger(gnetLog{config.Log}))
	}()
	select {
	case <-e.ticked:
	case <-e.exited:
		return nil, fmt.Errorf("loop: listen %s: %w", strings.Join(protos, ", "), e.exitErr)
	}
	if err := e.findLoops(); err != nil {
		_ = e.Stop(context.Background())
		return nil, err
	}
	e.running.Store(&e.loops)
	if config.Shared {
		if err := e.takeOver(); err != nil { // connections are shared then, which works too
			config.Log.Warn("new connections are shared with whoever else listens", "error", err)
		}
	}
	return e, nil
}

// readBytesMax is what a reactor reads at once, into a buffer of its own; see
// docs/decisions/011.
const readBytesMax = 256 << 10

// readBytes leaves a Conn room for more than one reading.
func readBytes(limits Limits) int { return min(readBytesMax, limits.withDefaults().InboundMax/4) }

// raiseFileLimit sets the soft limit of open files to the hard one: an accept
// that fails for want of a descriptor ends gnet's engine.
func raiseFileLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 1024
	}
	if r.Cur < r.Max {
		raised := unix.Rlimit{Cur: r.Max, Max: r.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			r = raised
		}
	}
	return int(min(r.Cur, 1<<20))
}

// findLoops gives every reactor its Loop and the socket that wakes it. gnet
// does not list its reactors, so they are found by enrolling until each has
// one; that takes one round, unless clients of a unix socket interfere.
func (e *Engine) findLoops() error {
	for range 64 * e.config.Loops {
		if e.countReady() == e.config.Loops {
			return nil
		}
		own, theirs, err := socketPair()
		if err != nil {
			return err
		}
		bell := &bell{fd: own}
		ctx := gnet.NewContext(gnet.NewNetConnContext(context.Background(), theirs), bell)
		answer, err := e.gnet.Register(ctx)
		if err == nil {
			err = (<-answer).Err
		}
		if err != nil {
			_ = unix.Close(own)
			return fmt.Errorf("loop: enroll: %w", err)
		}
	}
	return errors.New("loop: could not reach every reactor")
}

func (e *Engine) countReady() (n int) {
	e.loops = e.loops[:0]
	e.byEvent.Range(func(_, v any) bool {
		if r := v.(*reactor); r.bell.Load() != nil {
			n++
			e.loops = append(e.loops, r.loop)
		}
		return true
	})
	slices.SortFunc(e.loops, func(a, b *Loop) int { return a.id - b.id })
	return n
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

// listenerOf is the Listener by which a connection came.
func (e *Engine) listenerOf(gc gnet.Conn) *listening {
	if len(e.listens) > 1 {
		local := gc.LocalAddr().String() // the listener's, not the socket's
		for _, l := range e.listens {
			if l.addr.String() == local {
				return l
			}
		}
	}
	return e.listens[0]
}

// Loops are the engine's loops; the slice must not be changed.
func (e *Engine) Loops() []*Loop { return e.loops }

// Conns is the number of accepted connections that are open.
func (e *Engine) Conns() int { return int(e.conns.Load()) }

// Refused counts connections that ConnMax turned away.
func (e *Engine) Refused() uint64 { return e.refused.Load() }

// Dialed is the number of outbound connections that are open or in the making.
func (e *Engine) Dialed() int { return int(e.dialed.Load()) }

// ConnMax is the bound in force.
func (e *Engine) ConnMax() int { return e.config.ConnMax }

// Current returns the task that the calling goroutine is, or nil.
func (e *Engine) Current() *Task {
	loops := e.running.Load()
	if loops == nil {
		return nil
	}
	for _, l := range *loops {
		if t := l.Current(); t != nil {
			return t
		}
	}
	return nil
}

// Done is closed when the engine has ended, by Stop or by a failure that Err
// then tells.
func (e *Engine) Done() <-chan struct{} { return e.exited }

// Err is why the engine ended; nil while it runs and after Stop.
func (e *Engine) Err() error {
	select {
	case <-e.exited:
		return e.exitErr
	default:
		return nil
	}
}

// Stop ends every loop: tasks are cancelled with ErrShutdown, then unwound,
// and connections are closed. To end without breaking requests, drain first.
func (e *Engine) Stop(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, l := range e.loops {
		wg.Add(1)
		if !l.Post(func() { l.Shutdown(); wg.Done() }) {
			wg.Done()
		}
	}
	stopped := make(chan struct{})
	go func() { wg.Wait(); close(stopped) }()
	select {
	case <-stopped:
	case <-ctx.Done():
		return ctx.Err()
	}
	e.strays.Range(func(b, _ any) bool {
		_ = b.(*Bulk).Close()
		return true
	})
	if e.config.Shared && e.running.Load() != nil {
		if err := e.handOver(); err != nil {
			e.config.Log.Warn("connections that come just now may be reset", "error", err)
		}
	}
	if err := e.gnet.Stop(ctx); err != nil {
		return err
	}
	select {
	case <-e.exited:
	case <-ctx.Done():
		return ctx.Err()
	}
	e.byEvent.Range(func(_, v any) bool {
		v.(*reactor).release()
		return true
	})
	return nil
}

// Shutdown cancels the loop's tasks with ErrShutdown, unwinds those that go on, and
// takes no more posts. Its driver calls it on the loop, last.
func (l *Loop) Shutdown() {
	l.postMu.Lock()
	l.closed = true
	l.postMu.Unlock()
	l.depth++ // a callback, whoever calls
	defer func() { l.depth-- }()
	l.stopTasks()
	for b := range l.detached {
		b.conn.drop(ErrShutdown)
	}
}

// reactor drives one Loop by one gnet event loop.
type reactor struct {
	engine *Engine
	event  gnet.EventLoop
	loop   *Loop
	bell   atomic.Pointer[bell]
	alarm  *time.Timer
}

func (r *reactor) release() {
	if r.alarm != nil {
		r.alarm.Stop()
	}
	if b := r.bell.Load(); b != nil {
		b.mu.Lock()
		if !b.gone {
			b.gone = true
			_ = unix.Close(b.fd)
		}
		b.mu.Unlock()
	}
}

func (r *reactor) Now() int64 { return int64(time.Since(r.engine.base)) }

func (r *reactor) Wake() {
	if b := r.bell.Load(); b != nil {
		b.ring()
		return
	}
	// Only while the engine starts.
	_ = r.event.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		r.loop.Turn()
		return nil
	}))
}

func (r *reactor) WakeAfter(d int64) {
	if r.alarm == nil {
		r.alarm = time.AfterFunc(time.Duration(d), r.loop.wakeSelf)
		return
	}
	r.alarm.Reset(time.Duration(d))
}

// events is what gnet calls; Engine's own methods stay apart from it.
type events struct{ *Engine }

func (e *events) OnBoot(eng gnet.Engine) gnet.Action {
	e.gnet = eng
	return gnet.None
}

func (e *events) OnShutdown(gnet.Engine) {}

// OnTick is how gnet tells that its reactors run; nothing else is done by it.
func (e *events) OnTick() (time.Duration, gnet.Action) {
	e.tick.Do(func() { close(e.ticked) })
	return 24 * time.Hour, gnet.None
}

// reactorOf finds the reactor of an event loop, and makes it at first sight.
func (e *events) reactorOf(ev gnet.EventLoop) *reactor {
	if v, ok := e.byEvent.Load(ev); ok {
		return v.(*reactor)
	}
	r := &reactor{engine: e.Engine, event: ev}
	r.loop = New(int(e.found.Add(1))-1, r, e.config.Limits, e.config.Log)
	if e.config.Observe != nil {
		r.loop.SetObserver(e.config.Observe(r.loop))
	}
	e.byEvent.Store(ev, r)
	return r
}

func (e *events) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	r := e.reactorOf(gc.EventLoop())
	switch v := gc.Context().(type) {
	case *bell:
		if !r.bell.CompareAndSwap(nil, v) {
			_ = unix.Close(v.fd) // its other end follows with an EOF
		}
		gc.SetContext(r)
		r.loop.Turn() // from here on it knows its goroutine
		return nil, gnet.None
	case *enrollment:
		return nil, v.open(r, gc)
	}
	if e.conns.Add(1) > int64(e.config.ConnMax) {
		e.conns.Add(-1)
		e.refused.Add(1)
		return nil, gnet.Close
	}
	l, s := e.listenerOf(gc), &socket{gc: gc, reactor: r, count: &e.conns}
	if l.Proxy != nil {
		return nil, e.await(r, gc, l, s)
	}
	e.accept(r, gc, l, s)
	return nil, gnet.None
}

// accept makes the Conn of an accepted connection.
func (e *Engine) accept(r *reactor, gc gnet.Conn, l *listening, s *socket) {
	if l.TLS != nil {
		gc.SetContext(r.loop.OpenTLS(s, l.TLS, l.Open))
		return
	}
	c := r.loop.Open(s, nil)
	gc.SetContext(c)
	r.loop.enter()
	c.handler = l.Open(c)
	r.loop.leave()
}

// deliver hands bytes to whatever a gnet connection is the stream of.
func deliver(gc gnet.Conn, p []byte) {
	switch v := gc.Context().(type) {
	case *Conn:
		v.Deliver(p)
	case *TLSStream:
		v.Deliver(p)
	case *preface:
		v.Deliver(p)
	}
}

func (e *events) OnTraffic(gc gnet.Conn) gnet.Action {
	if r, ok := gc.Context().(*reactor); ok {
		_, _ = gc.Discard(-1)
		r.loop.Turn()
		return gnet.None
	}
	p, _ := gc.Next(-1)
	deliver(gc, p)
	return gnet.None
}

func (e *events) OnClose(gc gnet.Conn, err error) gnet.Action {
	switch v := gc.Context().(type) {
	case *Conn:
		v.transport.(*socket).count.Add(-1)
		v.Hangup(err)
	case *TLSStream:
		v.under.(*socket).count.Add(-1)
		v.Hangup(err)
	case *preface:
		v.under.count.Add(-1)
		v.end()
	}
	return gnet.None
}

// gnetLog passes gnet's own messages on: its errors are ours, its chatter is
// debugging.
type gnetLog struct{ log *slog.Logger }

func (g gnetLog) Debugf(format string, args ...any) {
	g.log.Debug("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLog) Infof(format string, args ...any) {
	g.log.Debug("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLog) Warnf(format string, args ...any) {
	g.log.Debug("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLog) Errorf(format string, args ...any) {
	g.log.Error("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLog) Fatalf(format string, args ...any) {
	g.log.Error("gnet: " + fmt.Sprintf(format, args...))
}
