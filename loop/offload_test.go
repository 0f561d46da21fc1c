package loop_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
)

func TestOffload(t *testing.T) {
	pool := loop.NewPool(2, 2)
	defer pool.Close()
	l := looptest.New(t, looptest.Options{})
	l.Run(func(task *loop.Task) {
		for i := range 100 {
			v, err := loop.Offload(task, pool, func() (int, error) { return i, nil })
			require.NoError(t, err)
			require.Equal(t, i, v)
		}
		_, err := loop.Offload(task, pool, func() (string, error) { return "part", errBoom })
		require.Equal(t, errBoom, err)
	})
	require.LessOrEqual(t, pool.Stats().Workers, 2)
}

func TestOffloadIsBounded(t *testing.T) {
	pool := loop.NewPool(2, 3)
	defer pool.Close()
	l := looptest.New(t, looptest.Options{})
	release := make(chan struct{})
	runs := make([]*looptest.Run, 7)
	errs := make([]error, len(runs))
	for i := range runs {
		runs[i] = l.Start(func(task *loop.Task) {
			_, errs[i] = loop.Offload(task, pool, func() (int, error) { <-release; return 0, nil })
		})
	}
	for i, r := range runs {
		require.Equal(t, i >= 5, r.Ended(), "run %d: two at work, three in the queue, the others refused at once", i)
	}
	close(release)
	for i, r := range runs {
		require.NoError(t, l.Await(r))
		if i < 5 {
			require.NoError(t, errs[i])
		} else {
			require.ErrorIs(t, errs[i], loop.ErrOffloadFull)
		}
	}
}

func TestOffloadPanics(t *testing.T) {
	pool := loop.NewPool(1, 1)
	defer pool.Close()
	l := looptest.New(t, looptest.Options{})
	err := l.Await(l.Start(func(task *loop.Task) {
		_, _ = loop.Offload(task, pool, func() (int, error) { panicsInside(); return 0, nil })
	}))
	var p *loop.PanicError
	require.ErrorAs(t, err, &p)
	require.Equal(t, errBoom, p.Value)
	require.Contains(t, string(p.Stack), "panicsInside")
	l.Run(func(task *loop.Task) {
		v, err := loop.Offload(task, pool, func() (int, error) { return 1, nil })
		require.NoError(t, err, "the worker lives on")
		require.Equal(t, 1, v)
	})
}

// syncLog is a log for several goroutines.
type syncLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncLog) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncLog) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestOffloadAbandoned(t *testing.T) {
	pool := loop.NewPool(1, 1)
	log := &syncLog{}
	l := looptest.New(t, looptest.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	release := make(chan struct{})
	cause := make(chan error, 1)
	var err error
	r := l.Start(func(task *loop.Task) {
		_, err = loop.Offload(task, pool, func() (int, error) {
			<-release
			<-task.Done()
			cause <- task.Err()
			panic(errBoom)
		})
	})
	r.Cancel(context.Canceled)
	require.True(t, r.Ended(), "a cancelled task does not wait for what cannot be stopped")
	require.Equal(t, context.Canceled, err)
	for range 10 { // the coroutine would be taken for others here
		l.Run(func(task *loop.Task) { _ = task.Sleep(time.Millisecond) })
	}
	close(release)
	require.Equal(t, context.Canceled, <-cause, "the abandoned call still asks its own task")
	pool.Close()
	require.Contains(t, log.String(), "abandoned")
	require.NotContains(t, log.String(), `\n"`, "no attribute ends in a line break")
	require.Contains(t, log.String(), "boom", "its panic is logged")
	l.Settle()

	r = l.Start(func(task *loop.Task) { _, err = loop.Offload(task, pool, func() (int, error) { return 0, nil }) })
	require.True(t, r.Ended())
	require.ErrorIs(t, err, loop.ErrClosed)
}

func TestOffloadOfACancelledTask(t *testing.T) {
	pool := loop.NewPool(1, 1)
	defer pool.Close()
	l := looptest.New(t, looptest.Options{})
	called := false
	r := l.Start(func(task *loop.Task) {
		_ = task.Sleep(time.Hour)
		_, err := loop.Offload(task, pool, func() (int, error) { called = true; return 0, nil })
		require.Equal(t, errBoom, err)
	})
	r.Cancel(errBoom)
	require.True(t, r.Ended())
	require.NoError(t, r.Err())
	require.False(t, called)
}

func BenchmarkOffload(b *testing.B) {
	pool := loop.NewPool(1, 1)
	defer pool.Close()
	l := startLoops(b, 1)[0]
	b.ReportAllocs()
	_ = onTask(l, func(t *loop.Task) {
		for b.Loop() {
			_, _ = loop.Offload(t, pool, func() (int, error) { return 0, nil })
		}
	})
}
