// This file has the API of Dialer, for outbound connections on the caller's loop.
// resolve.go finds the addresses, connect.go connects.

package reactor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tafe/loop"
)

// Errors of Dialer.
var (
	// ErrTooManyDials is returned while Config.DialMax outbound connections are
	// open.
	ErrTooManyDials = errors.New("reactor: too many outbound connections")
	// ErrUnbound is returned by DialContext before Bind.
	ErrUnbound = errors.New("reactor: the Dialer is not bound to an Engine")
)

// Dialer connects to servers from a loop. DialContext has the signature that
// synchronous clients such as database drivers ask for. While they read or write,
// the connections that it returns park the calling task, so such a client needs no
// change to become cooperative. Any goroutine may use a Dialer. The zero Dialer
// serves DialTask; DialContext needs Bind. The fields must not be changed after the
// first dial.
type Dialer struct {
	Timeout    time.Duration // name lookup and connecting together; default 5 s
	KeepAlive  time.Duration // idle time before the first keep-alive probe; default 15 s; negative: no probes
	LocalAddr  net.Addr      // a *net.TCPAddr or *net.UnixAddr; nil: the kernel chooses
	Resolver   *net.Resolver // nil: net.DefaultResolver
	ResolveTTL time.Duration // how long the addresses of a name are cached; default 5 s; negative: not at all

	engine atomic.Pointer[Engine]
	next   atomic.Uint32 // selects the loop for a caller that is not a task
	names  nameCache

	// lookup, if not nil, replaces the Resolver in tests.
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Bind sets the Engine that DialContext uses. Clients may hold the Dialer before
// the Engine runs; Bind must precede their first dial.
func (d *Dialer) Bind(e *Engine) { d.engine.Store(e) }

// Current returns the task of the bound Engine that runs on the calling goroutine,
// or nil. Any goroutine.
func (d *Dialer) Current() *loop.Task {
	if e := d.engine.Load(); e != nil {
		return e.Current()
	}
	return nil
}

// DialContext connects to address. The networks are "tcp", "tcp4", "tcp6" and
// "unix", with the addresses of net.Dial. A calling task parks, and the connection
// belongs to its loop. Any other goroutine blocks, and its connections are
// distributed over the engine's loops. The addresses of a name are tried as in RFC
// 8305: the families alternate, and the next address is tried after 250 ms without
// an answer. The error is a *net.OpError, ErrTooManyDials, ErrUnbound, the cause of
// the task's cancellation, or loop.ErrOnLoop if the caller is a loop's goroutine
// outside of a task.
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

// DialTask is DialContext for the calling task t. The Dialer need not be bound. It
// fails with errors.ErrUnsupported if the task's loop does not belong to an Engine.
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

// dial connects on the loop of r. t is the calling task, or nil if the caller is
// not a task.
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

// timeout returns Timeout or its default.
func (d *Dialer) timeout() time.Duration {
	if d.Timeout > 0 {
		return d.Timeout
	}
	return 5 * time.Second
}

// timeoutError has the text and the methods of package net's own timeout error.
type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
func (timeoutError) Is(err error) bool {
	return err == context.DeadlineExceeded
}

var errTimeout error = timeoutError{}

// contextError returns the error of a dial whose context has ended.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return errTimeout
	}
	return err
}
