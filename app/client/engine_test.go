package client

// Servers for tests, and tasks on their loops.

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// loops starts loops without a listener and stops them at the end of the test.
func loops(t testing.TB, n int) *reactor.Engine {
	e, err := reactor.Start(reactor.Config{
		Addr: "127.0.0.1:0", Loops: n,
		Open: func(c *reactor.Conn) reactor.Handler { c.Close(); return mute{} },
		Log:  slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Stop(ctx))
	})
	return e
}

type mute struct{}

func (mute) Data(*reactor.Conn)          {}
func (mute) Timeout(*reactor.Conn)       {}
func (mute) Closed(*reactor.Conn, error) {}

// job is a task of a test. It runs user code, as a handler does.
type job struct {
	code func(*loop.Task)
	task *loop.Task // on the loop, until it ends
	done chan error
}

func (j *job) Run(t *loop.Task)               { j.task = t; t.Outside(func() { j.code(t) }) }
func (j *job) Done(_ *loop.Task, err error)   { j.task = nil; j.done <- err }
func (j *job) wait(t testing.TB)              { t.Helper(); require.NoError(t, <-j.done) }
func (j *job) cancel(l *loop.Loop, err error) { l.Post(func() { j.task.Cancel(err) }) }

func start(t testing.TB, l *loop.Loop, code func(*loop.Task)) *job {
	j := &job{code: code, done: make(chan error, 1)}
	require.True(t, l.Post(func() {
		if _, err := l.Start(j); err != nil {
			j.done <- err
		}
	}))
	return j
}

// everywhere runs test outside a task and in a task.
func everywhere(t *testing.T, e *reactor.Engine, why string, o Options, test func(t *testing.T, c *Client, task *loop.Task)) {
	t.Run(why+"/goroutine", func(t *testing.T) { test(t, newClient(t, o), nil) })
	t.Run(why+"/task", func(t *testing.T) {
		c := newClient(t, o)
		start(t, e.Loops()[0], func(task *loop.Task) { test(t, c, task) }).wait(t)
	})
}
