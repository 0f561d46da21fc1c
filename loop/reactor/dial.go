package reactor

// Dialer: outbound connections on the caller's loop. This file has its API;
// resolve.go has what an address means, connect.go makes the connection.

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tafe/loop"
)

// Reasons for not dialing.
var (
	ErrTooManyDials = errors.New("reactor: Config.DialMax outbound connections are open")
	ErrUnbound      = errors.New("reactor: a Dialer that is bound to no Engine was called by no task")
)

// Dialer connects to servers from a loop. Its DialContext fits what synchronous
// clients ask for, such as database drivers: the connections that it returns give
// the loop back while they wait, so such a client becomes cooperative as it is.
// Any goroutine. The zero Dialer serves DialTask; DialContext needs Bind. The
// fields must not be changed after the first dial.
type Dialer struct {
	Timeout    time.Duration // for name lookup and connecting together; default 5 s
	KeepAlive  time.Duration // before the first probe of an idle connection; default 15 s, negative: no probes
	LocalAddr  net.Addr      // a *net.TCPAddr or *net.UnixAddr to connect from; nil: the kernel's choice
	Resolver   *net.Resolver // nil: the default one
	ResolveTTL time.Duration // for which the addresses of a name are kept; default 5 s, negative: not at all

	engine atomic.Pointer[Engine]
	next   atomic.Uint32 // loop for a caller that is no task
	names  nameCache

	// lookup, if not nil, is used in place of the Resolver, by tests.
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Bind tells the Dialer whose tasks will call it. A Dialer may be handed to
// clients before its Engine runs, and is bound once it does.
func (d *Dialer) Bind(e *Engine) { d.engine.Store(e) }

// DialContext connects to address; networks are "tcp", "tcp4", "tcp6" and "unix",
// whose addresses are those of net.Dial. A task parks meanwhile, and the
// connection belongs to its loop. Any other goroutine blocks, and its connections
// are distributed over the engine's loops. A name with several addresses is tried
// as RFC 8305 has it: families alternate, and an address has 250 ms before the
// next is tried beside it. The error is a *net.OpError, ErrTooManyDials, ErrUnbound,
// a cancelled task's cause, or loop.ErrOnLoop on a loop's own goroutine.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	e := d.engine.Load()
	if e == nil {
		return nil, ErrUnbound
	}
	if t := e.Current(); t != nil {
		return d.DialTask(ctx, t, network, address)
	}
	if err := e.offLoops(); err != nil {
		return nil, err
	}
	r := e.reactors[int(d.next.Add(1)-1)%len(e.reactors)]
	return d.dial(ctx, nil, r, network, address)
}

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTask is DialContext for the task t, which must be the caller; the Dialer
// need not be bound. It fails with errors.ErrUnsupported where the task's loop is
// not an Engine's.
func (d *Dialer) DialTask(ctx context.Context, t *loop.Task, network, address string) (net.Conn, error) {
	if err := t.MayPark(); err != nil {
		return nil, err
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	r := Of(t.Loop())
	if r == nil || r.engine == nil {
		return nil, errors.ErrUnsupported
	}
	defer t.Leave(t.Enter())
	return d.dial(ctx, t, r, network, address)
}

// dial connects on the loop of r for the calling task t, or, when t is nil, for
// another goroutine.
func (d *Dialer) dial(ctx context.Context, t *loop.Task, r *Reactor, network, address string) (c net.Conn, err error) {
	if !r.engine.reserveDial() {
		return nil, ErrTooManyDials
	}
	x := &dialing{dialer: d, r: r, network: network, until: r.Now() + int64(d.timeout())}
	defer func() { // also when the task is unwound
		if c == nil {
			x.abandon()
		}
	}()
	if err := x.resolve(ctx, t, address); err != nil {
		return nil, err
	}
	return x.run(ctx, t)
}

func (d *Dialer) timeout() time.Duration {
	if d.Timeout > 0 {
		return d.Timeout
	}
	return 5 * time.Second
}

// timeoutError ends a dial that took too long, with the text and the properties of
// net's own.
type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
func (timeoutError) Is(err error) bool {
	return err == context.DeadlineExceeded
}

// errTimeout is a timeoutError.
var errTimeout error = timeoutError{}

// contextError is the error of a dial whose context has ended.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return errTimeout
	}
	return err
}
