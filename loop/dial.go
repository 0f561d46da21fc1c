package loop

// Dialer: outbound connections on the caller's loop. net.Dialer does the
// dialing, on a goroutine of its own; then the stream is enrolled. It owns the
// time between the two.

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Reasons for not dialing.
var (
	ErrTooManyDials = errors.New("loop: Config.DialMax outbound connections are open")
	ErrUnbound      = errors.New("loop: a Dialer that is bound to no Engine was called by no task")
)

// Dialer connects to others from a loop. Its DialContext fits what synchronous
// clients ask for, database drivers for instance: the connections it returns give
// the loop back while they wait, so such a client becomes cooperative as it is.
// A client that hands its caller's work to goroutines of its own, and waits for
// them by channels (http.Transport), works too, but holds the loop: Offload it.
// Any goroutine. The zero Dialer serves DialTask; DialContext needs Bind.
type Dialer struct {
	Timeout   time.Duration // for name lookup and connecting; default 5 s
	KeepAlive time.Duration // as net.Dialer has it
	LocalAddr net.Addr
	Resolver  *net.Resolver // nil: the default one

	engine atomic.Pointer[Engine]
}

// Bind tells the Dialer whose tasks will call it. A Dialer may be handed to
// clients before its Engine runs, and is bound once it does.
func (d *Dialer) Bind(e *Engine) { d.engine.Store(e) }

// DialContext connects, to "tcp", "unix" and their variants. A task parks
// meanwhile, and the connection belongs to its loop. Any other goroutine blocks,
// and gets a connection of no loop: a task that waits in it parks too, but each
// call costs what one of the bulk lane does. The error is a *net.OpError,
// ErrTooManyDials, ErrUnbound, or a cancelled task's cause.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	e := d.engine.Load()
	if e == nil {
		return nil, ErrUnbound
	}
	t := e.Current()
	if t != nil {
		return d.DialTask(ctx, t, network, address)
	}
	for _, l := range e.loops {
		if l.g == getg() {
			return nil, ErrOnLoop
		}
	}
	return d.dialStray(ctx, e.loops[0], network, address)
}

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTask is DialContext for the task t, which must be the caller; the Dialer
// need not be bound.
func (d *Dialer) DialTask(ctx context.Context, t *Task, network, address string) (net.Conn, error) {
	if err := t.mayPark(); err != nil {
		return nil, err
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	driver, ok := t.loop.driver.(dialDriver)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if !driver.reserveDial() {
		return nil, ErrTooManyDials
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	x := &dialing{loop: t.loop, driver: driver, waiter: waiterFor(t)}
	go x.run(ctx, d.net(), network, address)
	return x.take(x.waiter.wait(t.loop, 0))
}

// dialStray connects for a goroutine that is no task. The connection stays off
// the loops: whoever waits for that goroutine may be holding one.
func (d *Dialer) dialStray(ctx context.Context, l *Loop, network, address string) (net.Conn, error) {
	driver := l.driver.(dialDriver)
	if !driver.reserveDial() {
		return nil, ErrTooManyDials
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	stream, err := d.net().DialContext(ctx, network, address)
	if err != nil {
		driver.releaseDial()
		return nil, err
	}
	b := &Bulk{loop: l, stream: stream, lane: &detached{local: stream.LocalAddr(), remote: stream.RemoteAddr()}}
	b.closed = func() {
		driver.forget(b)
		driver.releaseDial()
	}
	driver.keep(b)
	if l.stopped() { // perhaps before keep: nobody else will close it
		_ = b.Close()
		return nil, ErrClosed
	}
	return &netConn{loop: l, bulk: b, local: b.lane.local, remote: b.lane.remote}, nil
}

func (d *Dialer) timeout() time.Duration {
	if d.Timeout > 0 {
		return d.Timeout
	}
	return 5 * time.Second
}

func (d *Dialer) net() *net.Dialer {
	return &net.Dialer{KeepAlive: d.KeepAlive, LocalAddr: d.LocalAddr, Resolver: d.Resolver}
}

// dialDriver is a Driver whose loop takes outbound connections.
type dialDriver interface {
	enroller
	// reserveDial counts one more outbound connection unless there are too many;
	// it is uncounted by releaseDial, or when the enrolled stream ends.
	reserveDial() bool
	releaseDial()
	// keep remembers a connection of no loop, so that it ends with the engine.
	keep(*Bulk)
	forget(*Bulk)
}

// dialing is one connection in the making.
type dialing struct {
	loop   *Loop
	driver dialDriver
	waiter waiter

	mu        sync.Mutex
	conn      net.Conn
	err       error
	abandoned bool
}

// run dials and enrolls.
func (x *dialing) run(ctx context.Context, by *net.Dialer, network, address string) {
	stream, err := by.DialContext(ctx, network, address)
	counted := false
	if err == nil {
		err = x.driver.Enroll(stream, nil, func(tr Transport) *Conn {
			counted = true
			return x.opened(tr)
		})
	}
	if err == nil {
		return
	}
	if !counted {
		x.driver.releaseDial()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = err
	x.waiter.wake(nil)
}

// opened is called on the loop when the stream is there.
func (x *dialing) opened(tr Transport) *Conn {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.abandoned {
		x.driver.releaseDial()
		return nil
	}
	c := x.loop.Open(tr, nil)
	x.conn = NewNetConn(c)
	x.waiter.wake(x.loop)
	return c
}

// take is the end of the dial for its caller; cause is that of a cancelled task.
func (x *dialing) take(cause error) (net.Conn, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if cause != nil {
		x.abandoned = true
		if x.conn != nil {
			_ = x.conn.Close()
		}
		return nil, cause
	}
	if x.conn == nil {
		return nil, x.err // not (*netConn)(nil)
	}
	return x.conn, nil
}
