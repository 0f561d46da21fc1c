// Addresses that tasks can dial, for handlers whose backends the test plays.

package looptest

import (
	"context"
	"net"
	"syscall"

	"tafe/loop"
	"tafe/loop/reactor"
)

// Listen calls accept for each dial to address. accept sets the Peer's OnReceive and may
// Send and Close. With a nil accept, and for addresses without Listen, dials are refused.
func (l *Loop) Listen(address string, accept func(*Peer)) { l.listens[address] = accept }

// DialContext is a dial function for code under test, in place of that of a reactor.Dialer.
// The calling task yields and gets a net.Conn of this loop whose other end is a Peer of
// Listen. Tasks of this loop only.
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
