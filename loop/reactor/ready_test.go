package reactor_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

// While Ready runs, tasks run and dial, and clients wait in the queue of the socket.
func TestReadyComesBeforeTheFirstConnection(t *testing.T) {
	peer := testrig.Serve(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	var opened atomic.Int32
	var client net.Conn
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 2,
		Open: func(c *reactor.Conn) reactor.Handler { opened.Add(1); return nothing(c) },
		Ready: func(e *reactor.Engine) (err error) {
			client, err = net.Dial("tcp", e.Addr().String())
			if err != nil {
				return err
			}
			dialer := bound(e)
			for _, l := range e.Loops() {
				if err := onTask(l, func(*loop.Task) {
					c, dialErr := dialer.DialContext(context.Background(), "tcp", peer)
					if err = dialErr; err == nil {
						err = c.Close()
					}
				}); err != nil {
					return err
				}
			}
			require.Zero(t, opened.Load(), "not accepted yet")
			return err
		}})
	require.NoError(t, err)
	defer stopEngine(t, e)
	require.NoError(t, client.Close())
	again, err := net.Dial("tcp", e.Addr().String())
	require.NoError(t, err)
	defer again.Close()
	require.Eventually(t, func() bool { return opened.Load() == 2 }, time.Minute, time.Millisecond, "those that waited, and later ones")
}

func TestReadyThatFailsEndsTheEngine(t *testing.T) {
	failure := errors.New("not today")
	var addr string
	_, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 2, Open: nothing,
		Ready: func(e *reactor.Engine) error { addr = e.Addr().String(); return failure }})
	require.ErrorIs(t, err, failure)
	ln, err := net.Listen("tcp", addr)
	require.NoError(t, err, "the address is free")
	require.NoError(t, ln.Close())
}
