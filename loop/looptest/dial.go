package looptest

// Addresses that tasks can dial: what a handler asks its backends, with the
// backend written in the test.

import (
	"context"
	"net"
	"syscall"

	"tafe/loop"
	"tafe/loop/reactor"
)

// Listen answers dials to address by accept, which sets the Peer's OnReceive and
// may Send and Close. A nil accept, like an address never named, refuses them.
func (l *Loop) Listen(address string, accept func(*Peer)) { l.listens[address] = accept }

// DialContext is a dial function for code under test, such as that of a
// reactor.Dialer: the calling task parks for a moment, then gets a net.Conn of
// this loop whose other end is a Peer of Listen. Tasks of this loop only.
func (l *Loop) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: network, Err: err} }
	task := l.Current()
	if task == nil {
		return nil, fail(loop.ErrForeignGoroutine)
	}
	if err := task.Yield(); err != nil {
		return nil, fail(err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	accept := l.listens[address]
	if accept == nil {
		return nil, fail(syscall.ECONNREFUSED)
	}
	defer task.Leave(task.Enter())
	p := l.newPeer()
	p.accept = accept
	p.conn = l.reactor.Open((*stream)(p), nil)
	p.conn.NoLinger()
	return reactor.NewNetConn(p.conn), nil
}
