package reactor

// Reactor: the sockets of one loop. It has the poller, what wakes it, and what
// the loop's connections share. Without a poller it serves connections in memory:
// those of tests.

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

// Limits bounds what a loop and one connection hold. Zero fields take the
// defaults.
type Limits struct {
	loop.Limits
	InboundMax   int           // bytes a Conn holds unread, about; default 1 MiB; beyond it the peer is not read
	OutboundMax  int           // bytes a Conn holds unsent before Drain waits; default 1 MiB
	WriteTimeout time.Duration // for each 16 KiB that the peer takes; default 30 s; then the connection is closed
}

// DefaultLimits are the Limits of connections that hold where none is given; those
// of loop.Limits are left at 0.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	if l.InboundMax <= 0 {
		l.InboundMax = 1 << 20
	}
	if l.OutboundMax <= 0 {
		l.OutboundMax = 1 << 20
	}
	if l.WriteTimeout <= 0 {
		l.WriteTimeout = 30 * time.Second
	}
	return l
}

// Stats are counters of a loop and its connections since its start, and gauges.
type Stats struct {
	loop.Stats
	Opened, Refused, ClosedWrite                    uint64
	BytesIn, BytesOut                               uint64
	Handshakes, HandshakesResumed, HandshakesFailed uint64 // of TLS
	Dialed                                          uint64 // of Opened: made by a Dialer
	Conns, ConnsDialed                              int    // open; ConnsDialed of them were made by a Dialer
}

// spillBytes is the size of the buffer behind the input buffers; see
// docs/decisions/011.
const spillBytes = 256 << 10

// Reactor is the socket side of a Loop. For the loop's goroutine.
type Reactor struct {
	loop    *loop.Loop
	engine  *Engine // nil in tests
	limits  Limits
	connSeq uint64
	conns   int
	dialed  int // of conns
	stats   Stats
	dirty   []*Conn
	bufs    bufferPool
	spill   []byte
	unread  []*Conn // to be read without an event

	handshakes  int   // TLS, under way
	handshakeAt int64 // clock: the next one's turn

	poller  *netpoll.Poller
	epoll   int      // its descriptor
	sources []source // by descriptor
	bell    int      // eventfd that wakes the loop
	alarm   int      // timerfd
	base    time.Time
	accepts []*acceptor

	offeredAt int64 // clock: see offerProcessor
	ending    bool
	dials     map[*dialing]struct{} // under way
}

// source is what the events of a descriptor go to.
type source interface {
	ready(events netpoll.IOEvent)
}

// Memory makes the Reactor of a loop whose connections have no sockets: l's
// Driver calls its Flush, and Conn.Readable and Conn.Writable.
func Memory(l *loop.Loop, limits Limits) *Reactor {
	return &Reactor{loop: l, limits: limits.withDefaults(), spill: make([]byte, 64<<10), bell: -1, alarm: -1}
}

// Of returns the Reactor that drives l, nil where something else does.
func Of(l *loop.Loop) *Reactor {
	r, _ := l.Drive().Driver().(*Reactor)
	return r
}

// newReactor makes a Reactor with a poller and its Loop.
func newReactor(e *Engine, id int, log *slog.Logger) (*Reactor, error) {
	r := &Reactor{
		engine: e, limits: e.config.Limits.withDefaults(), spill: make([]byte, spillBytes),
		base: e.base, bell: -1, alarm: -1, dials: map[*dialing]struct{}{},
	}
	var err error
	if r.poller, err = netpoll.OpenPoller(); err != nil {
		return nil, err
	}
	r.epoll = int(reflect.ValueOf(r.poller).Elem().FieldByName("fd").Int())
	if r.bell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err == nil {
		r.alarm, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	}
	if err == nil {
		err = r.add(r.bell, turner{r, r.bell})
	}
	if err == nil {
		err = r.add(r.alarm, turner{r, r.alarm})
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

// Current returns the task, of any loop of the engine, that the calling goroutine
// is, or nil. Any goroutine.
func (r *Reactor) Current() *loop.Task {
	if r.engine == nil {
		return r.loop.Current()
	}
	return r.engine.Current()
}

// caller is loop.Caller for whoever uses a connection of r. The error is ErrOnLoop,
// also for the own goroutine of another loop of the engine.
func (r *Reactor) caller() (*loop.Task, error) {
	t, err := r.loop.Caller()
	if t != nil || err != nil || r.engine == nil {
		return t, err
	}
	return nil, r.engine.offLoops()
}

// Limits are the bounds in force. Any goroutine.
func (r *Reactor) Limits() *Limits { return &r.limits }

// Stats returns the counters and gauges as they are now. Any goroutine; see
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
	if fd < len(r.sources) && r.sources[fd] != nil { // else a timer or an earlier event has closed it
		r.sources[fd].ready(events)
	}
	owned := r.loop.Drive().EndTurn()
	if owned {
		r.offerProcessor()
	}
	return r.after(owned)
}

// offerMax is for how long a loop that never waits keeps its P. After 10 ms the
// runtime would take the P, at any point, and its monitor thread would then wake
// every 20 us for some milliseconds: see docs/decisions/007.
const offerMax = int64(2 * time.Millisecond)

// offerProcessor lets the runtime's scheduler run if it has not for offerMax.
func (r *Reactor) offerProcessor() {
	if now := r.loop.Observe().TurnedAt(); now-r.offeredAt > offerMax {
		r.offeredAt = now
		runtime.Gosched()
	}
}

// after tells how polling goes on after a turn.
func (r *Reactor) after(owned bool) error {
	switch {
	case !owned:
		return errTaken
	case r.ending:
		return r.endTurn()
	}
	return nil
}

// turner is the source of the descriptors that only wake the loop.
type turner struct {
	r  *Reactor
	fd int
}

func (t turner) ready(netpoll.IOEvent) {
	var b [8]byte
	_, _ = rawRead(t.fd, b[:])
	t.r.loop.Drive().RunPosted()
}

// Now, Wake and WakeAt are the loop.Driver; so is Flush.
func (r *Reactor) Now() int64 { return int64(time.Since(r.base)) }

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// Wake rings the eventfd: the loop turns after the I/O that is ready already.
func (r *Reactor) Wake() { _, _ = unix.Write(r.bell, one) } // EAGAIN: it has been rung

// WakeAt sets the timer descriptor.
func (r *Reactor) WakeAt(at int64) {
	d := max(at-r.Now(), 1)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d)}
	_ = unix.TimerfdSettime(r.alarm, 0, &spec, nil)
}

// These end Polling: the loop has stopped, or belongs to another goroutine.
var (
	errStopped = fmt.Errorf("stopped: %w", errors.ErrEngineShutdown)
	errTaken   = fmt.Errorf("taken: %w", errors.ErrEngineShutdown)
)

// shutdown cancels the loop's tasks and ends its connections. The loop ends when
// no task is released any more; see endTurn.
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

// endTurn is the end of a turn of a loop that is to end.
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

// readAgain has c read without an event, after the I/O that is ready now.
func (r *Reactor) readAgain(c *Conn) {
	if c.queued {
		return
	}
	c.queued = true
	r.unread = append(r.unread, c)
	if len(r.unread) == 1 {
		r.loop.PostUnbounded(func() { r.readUnread() })
	}
}

func (r *Reactor) readUnread() {
	batch := r.unread
	r.unread = nil
	for _, c := range batch {
		c.queued = false
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

// addConnecting registers a descriptor that is being connected; connected has it
// read.
func (r *Reactor) addConnecting(fd int, s source) error {
	r.setSource(fd, s)
	if err := r.poller.AddWrite(&netpoll.PollAttachment{FD: fd}, false); err != nil {
		r.sources[fd] = nil
		return err
	}
	return nil
}

func (r *Reactor) connected(fd int, s source) error {
	r.sources[fd] = s
	return r.poller.ModRead(&netpoll.PollAttachment{FD: fd}, false)
}

func (r *Reactor) setSource(fd int, s source) {
	if fd >= len(r.sources) {
		r.sources = append(r.sources, make([]source, max(fd+1-len(r.sources), len(r.sources), 64))...)
	}
	r.sources[fd] = s
}

// remove ends the events of a descriptor, which the caller closes.
func (r *Reactor) remove(fd int) {
	if fd < len(r.sources) && r.sources[fd] != nil {
		r.sources[fd] = nil
		_ = r.poller.Delete(fd)
	}
}

// close closes the reactor's own descriptors.
func (r *Reactor) close() {
	for _, fd := range []int{r.bell, r.alarm} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	_ = r.poller.Close()
}
