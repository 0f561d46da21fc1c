// Loops with sockets, for what is shared between loops.

package loop_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// startLoops runs loops until the test ends.
func startLoops(t testing.TB, n int) []*loop.Loop {
	t.Helper()
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: n, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	})
	return e.Loops()
}

// onTask runs f as a task of l and waits for its end. Any goroutine but a loop's.
func onTask(l *loop.Loop, f func(*loop.Task)) error {
	c := &run{f: f, ended: make(chan error, 1)}
	if !l.Post(func() {
		if _, err := l.Start(c); err != nil {
			c.ended <- err
		}
	}) {
		return loop.ErrClosed
	}
	return <-c.ended
}

type run struct {
	f     func(*loop.Task)
	ended chan error
}

func (c *run) Run(t *loop.Task)             { t.Outside(func() { c.f(t) }) }
func (c *run) Done(_ *loop.Task, err error) { c.ended <- err }
