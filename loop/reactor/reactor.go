// This file has the Reactor, the socket side of one loop: its poller, the
// descriptors that wake it, and what its connections share. handoff.go has the
// goroutines that run it.

package reactor

import (
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"tafe/loop"
)

// Limits configures the limits of a loop and its connections. Zero fields mean the
// defaults.
type Limits struct {
	loop.Limits
	// InboundMax is how many unread bytes make a Conn stop reading, approximately;
	// default 1 MiB.
	InboundMax int
	// OutboundMax is how many unsent bytes of a Conn make Drain wait; default 128 KiB.
	OutboundMax int
	// WriteTimeout is the time in which a peer must take 16 KiB, or all that is unsent;
	// default 30 s. Otherwise the connection ends with ErrWriteTimeout.
	WriteTimeout time.Duration
}

// DefaultLimits returns the default limits of connections. Those of loop.Limits are
// 0.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	if l.InboundMax <= 0 {
		l.InboundMax = 1 << 20
	}
	if l.OutboundMax <= 0 {
		l.OutboundMax = 128 << 10
	}
	if l.WriteTimeout <= 0 {
		l.WriteTimeout = 30 * time.Second
	}
	return l
}

// Stats are counters of a loop and its connections since the start, and gauges.
type Stats struct {
	loop.Stats
	Opened, Refused, ClosedWrite                    uint64
	BytesIn, BytesOut                               uint64
	Handshakes, HandshakesResumed, HandshakesFailed uint64 // of TLS
	Dialed                                          uint64 // those of Opened made by a Dialer
	Conns, ConnsDialed                              int    // open now; ConnsDialed are those made by a Dialer
}

// sharedBufBytes is the size of Reactor.sharedBuf; see docs/decisions/011.
const sharedBufBytes = 256 << 10

// Reactor is the socket side of a Loop. Only the goroutine that owns the loop and the
// running task may use it, except where a method allows any goroutine.
type Reactor struct {
	loop      *loop.Loop
	engine    *Engine // nil without sockets; see Memory
	limits    Limits
	connSeq   uint64
	conns     int     // open
	dialed    int     // those of conns made by a Dialer
	stats     Stats   // without gauges
	dirty     []*Conn // to be flushed
	bufs      bufferPool
	sharedBuf []byte  // receives what exceeds the input buffers
	readQueue []*Conn // to be read without an event

	handshakes      int   // TLS handshakes in progress
	nextHandshakeAt int64 // loop clock: earliest time of the next handshake

	poller  *netpoll.Poller
	epollFD int       // the poller's descriptor
	sources []source  // indexed by descriptor
	wakeFD  int       // eventfd that wakes the loop
	timerFD int       // timerfd that wakes the loop
	base    time.Time // zero of the loop clock
	accepts []*acceptor

	offeredAt int64                 // loop clock: see offerProcessor
	ending    bool                  // shutdown was called
	dials     map[*dialing]struct{} // in progress
}

// source receives the events of a descriptor.
type source interface {
	ready(events netpoll.IOEvent)
}

// Memory returns a Reactor for connections without sockets, on the loop l. The
// driver of l calls Flush, Conn.Readable and Conn.Writable.
func Memory(l *loop.Loop, limits Limits) *Reactor {
	return &Reactor{loop: l, limits: limits.withDefaults(), sharedBuf: make([]byte, 64<<10), wakeFD: -1, timerFD: -1}
}

// Of returns the Reactor that drives l, or nil if it has another driver.
func Of(l *loop.Loop) *Reactor {
	r, _ := l.Drive().Driver().(*Reactor)
	return r
}

// newReactor makes a Reactor with a poller, and its Loop.
func newReactor(e *Engine, id int, log *slog.Logger) (*Reactor, error) {
	r := &Reactor{
		engine: e, limits: e.config.Limits.withDefaults(), sharedBuf: make([]byte, sharedBufBytes),
		base: e.base, wakeFD: -1, timerFD: -1, dials: map[*dialing]struct{}{},
	}
	var err error
	if r.poller, err = netpoll.OpenPoller(); err != nil {
		return nil, err
	}
	r.epollFD = int(reflect.ValueOf(r.poller).Elem().FieldByName("fd").Int())
	if r.wakeFD, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err == nil {
		r.timerFD, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	}
	if err == nil {
		err = r.add(r.wakeFD, wakeSource{r, r.wakeFD})
	}
	if err == nil {
		err = r.add(r.timerFD, wakeSource{r, r.timerFD})
	}
	if err != nil {
		r.close()
		return nil, err
	}
	r.loop = loop.New(id, r, e.config.Limits.Limits, log)
	return r, nil
}

// Loop returns the reactor's loop. Any goroutine.
func (r *Reactor) Loop() *loop.Loop { return r.loop }

// Current returns the task, of any loop of the engine, that runs on the calling
// goroutine, or nil. Any goroutine.
func (r *Reactor) Current() *loop.Task {
	if r.engine == nil {
		return r.loop.Current()
	}
	return r.engine.Current()
}

// caller returns the calling task, or nil if the caller is not a task. The error is
// loop.ErrOnLoop on a goroutine that owns a loop of the engine.
func (r *Reactor) caller() (*loop.Task, error) {
	t, err := r.loop.Caller()
	if t != nil || err != nil || r.engine == nil {
		return t, err
	}
	return nil, r.engine.offLoops()
}

// Limits returns the limits in force. Any goroutine.
func (r *Reactor) Limits() *Limits { return &r.limits }

// Stats returns the current counters and gauges. Any goroutine; see
// loop.LoopView.Stats.
//
//go:norace
func (r *Reactor) Stats() Stats {
	s := r.stats
	s.Stats, s.Conns, s.ConnsDialed = r.loop.Observe().Stats(), r.conns, r.dialed
	return s
}

// event is the poller's callback: a turn of the loop for one descriptor.
func (r *Reactor) event(fd int, events netpoll.IOEvent, _ netpoll.IOFlags) error {
	r.loop.Drive().BeginTurn()
	if fd < len(r.sources) && r.sources[fd] != nil { // nil: a timer or an earlier event has closed it
		r.sources[fd].ready(events)
	}
	owned := r.loop.Drive().EndTurn()
	if owned {
		r.offerProcessor()
	}
	return r.afterTurn(owned)
}

// offerMax is how long a loop that never waits keeps its P. After 10 ms the runtime
// takes the P, at any point, and its monitor thread then wakes every 20 us for some
// milliseconds; see docs/decisions/007.
const offerMax = int64(2 * time.Millisecond)

// offerProcessor calls runtime.Gosched if offerMax has passed since the last call.
func (r *Reactor) offerProcessor() {
	if now := r.loop.Observe().TurnedAt(); now-r.offeredAt > offerMax {
		r.offeredAt = now
		runtime.Gosched()
	}
}

// afterTurn returns the error that ends polling after a turn, or nil to continue.
func (r *Reactor) afterTurn(owned bool) error {
	switch {
	case !owned:
		return errTaken
	case r.ending:
		return r.endTurn()
	}
	return nil
}

// wakeSource is the source of the descriptors that only wake the loop.
type wakeSource struct {
	r  *Reactor
	fd int
}

func (t wakeSource) ready(netpoll.IOEvent) {
	var b [8]byte
	_, _ = rawRead(t.fd, b[:])
	t.r.loop.Drive().RunPosted()
}

// Now returns the loop clock: nanoseconds since a time before the engine's start. It
// implements loop.Driver.
func (r *Reactor) Now() int64 { return int64(time.Since(r.base)) }

var eventfdOne = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// Wake makes the loop turn after the I/O that is ready now. Any goroutine. It
// implements loop.Driver.
func (r *Reactor) Wake() { _, _ = unix.Write(r.wakeFD, eventfdOne) } // EAGAIN: a wake is pending already

// WakeAt makes the loop turn at the loop clock time at. It implements loop.Driver.
func (r *Reactor) WakeAt(at int64) {
	d := max(at-r.Now(), 1)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d)}
	_ = unix.TimerfdSettime(r.timerFD, 0, &spec, nil)
}

// Errors that end Polling: the loop has stopped, or another goroutine owns it.
var (
	errStopped = fmt.Errorf("stopped: %w", errors.ErrEngineShutdown)
	errTaken   = fmt.Errorf("taken: %w", errors.ErrEngineShutdown)
)

// shutdown cancels the loop's tasks and ends its connections. The loop ends when it
// has no released tasks any more; see endTurn.
func (r *Reactor) shutdown() {
	if r.ending {
		return
	}
	r.ending = true
	r.stopAccepting()
	r.loop.Drive().Shutdown()
	for x := range r.dials {
		x.fail(loop.ErrShutdown)
	}
	for _, s := range r.sources {
		if s, ok := s.(*socket); ok && s.conn != nil {
			s.conn.end(loop.ErrShutdown)
		}
	}
}

// endTurn ends a turn during shutdown. It stops the loop once it can.
func (r *Reactor) endTurn() error {
	if r.loop.Observe().Released() > 0 && !r.engine.abandon.Load() {
		return nil
	}
	r.loop.Drive().BeginTurn()
	if !r.loop.Drive().Close() || !r.loop.Drive().EndTurn() {
		return errTaken
	}
	return errStopped
}

// readAgain schedules a read of c without an event, after the I/O that is ready
// now.
func (r *Reactor) readAgain(c *Conn) {
	if c.inReadQueue {
		return
	}
	c.inReadQueue = true
	r.readQueue = append(r.readQueue, c)
	if len(r.readQueue) == 1 {
		r.loop.PostUnbounded(func() { r.drainReadQueue() })
	}
}

// drainReadQueue reads the queued connections.
func (r *Reactor) drainReadQueue() {
	batch := r.readQueue
	r.readQueue = nil
	for _, c := range batch {
		c.inReadQueue = false
		c.Readable()
	}
}

// add registers a descriptor for reading.
func (r *Reactor) add(fd int, s source) error {
	r.setSource(fd, s)
	if err := r.poller.AddRead(&netpoll.PollAttachment{FD: fd}, false); err != nil {
		r.sources[fd] = nil
		return err
	}
	return nil
}

// addConnecting registers a descriptor that is being connected. switchToRead
// follows.
func (r *Reactor) addConnecting(fd int, s source) error {
	r.setSource(fd, s)
	if err := r.poller.AddWrite(&netpoll.PollAttachment{FD: fd}, false); err != nil {
		r.sources[fd] = nil
		return err
	}
	return nil
}

// switchToRead directs the events of a connected descriptor to s and enables
// reading.
func (r *Reactor) switchToRead(fd int, s source) error {
	r.sources[fd] = s
	return r.poller.ModRead(&netpoll.PollAttachment{FD: fd}, false)
}

// setSource records where the events of a descriptor go.
func (r *Reactor) setSource(fd int, s source) {
	if fd >= len(r.sources) {
		r.sources = append(r.sources, make([]source, max(fd+1-len(r.sources), len(r.sources), 64))...)
	}
	r.sources[fd] = s
}

// remove ends the events of a descriptor. The caller closes it.
func (r *Reactor) remove(fd int) {
	if fd < len(r.sources) && r.sources[fd] != nil {
		r.sources[fd] = nil
		_ = r.poller.Delete(fd)
	}
}

// close closes the reactor's own descriptors.
func (r *Reactor) close() {
	for _, fd := range []int{r.wakeFD, r.timerFD} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	_ = r.poller.Close()
}
