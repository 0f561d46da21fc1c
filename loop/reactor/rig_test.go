// This file has what the tests of this package share: tasks made of functions,
// engines, and servers of package net.

package reactor_test

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// task is a Runner made of a function, which runs as user code. done receives the
// task's end.
type task struct {
	run  func(*loop.Task)
	done chan error
}

func (r *task) Run(t *loop.Task)             { t.Outside(func() { r.run(t) }) }
func (r *task) Done(_ *loop.Task, err error) { r.done <- err }

// startTask runs f as a task of l. The returned channel receives its end.
func startTask(l *loop.Loop, f func(*loop.Task)) <-chan error {
	r := &task{f, make(chan error, 1)}
	if !l.Post(func() {
		if _, err := l.Start(r); err != nil {
			r.done <- err
		}
	}) {
		r.done <- loop.ErrClosed
	}
	return r.done
}

// onTask runs f as a task of l and waits for its end.
func onTask(l *loop.Loop, f func(*loop.Task)) error { return <-startTask(l, f) }

func startEngine(t testing.TB, loops int, open func(*reactor.Conn) reactor.Handler) *reactor.Engine {
	t.Helper()
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: loops, Open: open})
	require.NoError(t, err)
	t.Cleanup(func() { stopEngine(t, e) })
	return e
}

func stopEngine(t testing.TB, e *reactor.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, e.Stop(ctx))
}

func nothing(c *reactor.Conn) reactor.Handler { return reactor.NewNetConn(c).(reactor.Handler) }

func bound(e *reactor.Engine) *reactor.Dialer {
	d := &reactor.Dialer{}
	d.Bind(e)
	return d
}

// echo hides the types of the streams: with them io.Copy would splice and keep its
// pipes open for later.
func echo(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

// say sends msg to an echo server and reads it back.
func say(t testing.TB, c net.Conn, msg string) {
	t.Helper()
	_, err := io.WriteString(c, msg)
	require.NoError(t, err)
	got := make([]byte, len(msg))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, msg, string(got))
}

// openFiles returns the number of the process's open descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, why string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, 20*time.Second, time.Millisecond, why)
}

// users are the kinds of goroutines that may use a connection of the first of two
// loops.
var users = []struct {
	why string
	run func(e *reactor.Engine, f func()) error
}{
	{"a task of its loop", func(e *reactor.Engine, f func()) error {
		return onTask(e.Loops()[0], func(*loop.Task) { f() })
	}},
	{"a task of another loop", func(e *reactor.Engine, f func()) error {
		return onTask(e.Loops()[1], func(*loop.Task) { f() })
	}},
	{"a goroutine", func(_ *reactor.Engine, f func()) error { f(); return nil }},
}

// dialFrom dials from a task of l.
func dialFrom(t testing.TB, d *reactor.Dialer, l *loop.Loop, network, addr string) (c net.Conn) {
	t.Helper()
	var err error
	require.NoError(t, onTask(l, func(*loop.Task) { c, err = d.Dial(network, addr) }))
	require.NoError(t, err)
	return c
}
