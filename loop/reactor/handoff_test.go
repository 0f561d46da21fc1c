// This file tests tasks whose loop was taken over and whose goroutine is locked to
// its thread.

package reactor_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"tafe/loop"
	"tafe/loop/reactor"
)

// heldUntil makes the calling task hold its loop until another task has run there,
// which means that the calling task was released.
func heldUntil(l *loop.Loop) { <-startTask(l, func(*loop.Task) {}) }

func TestReleasedTaskHoldsItsThread(t *testing.T) {
	e := startEngine(t, 1, nothing)
	l := e.Loops()[0]
	for _, tc := range []struct {
		why  string
		code func(t *loop.Task)
	}{
		{"Usage", func(t *loop.Task) { t.Observe().Usage() }},
		{"Start", func(t *loop.Task) { _, _ = t.Loop().Start(&task{func(*loop.Task) {}, make(chan error, 1)}) }},
		{"timers", func(t *loop.Task) {
			var tm loop.Timer
			t.Loop().AfterFunc(&tm, time.Hour, func(*loop.Timer) {})
			t.Loop().StopTimer(&tm)
		}},
		{"a group", func(t *loop.Task) {
			g := t.Group()
			_ = g.Go(func(*loop.Task) error { return nil })
			require.ErrorIs(nil2t, g.All(), loop.ErrThreadLocked)
		}},
		{"a semaphore", func(t *loop.Task) {
			s := loop.NewSemaphore(1, 1)
			require.NoError(nil2t, s.Acquire(t))
			require.ErrorIs(nil2t, s.Acquire(t), loop.ErrThreadLocked)
			s.Release()
		}},
		{"what cannot wait", func(t *loop.Task) {
			require.ErrorIs(nil2t, t.Sleep(0), loop.ErrThreadLocked)
			require.ErrorIs(nil2t, t.Yield(), loop.ErrThreadLocked)
		}},
		{"Outside in code that has entered", func(t *loop.Task) {
			entered := t.Enter()
			t.Outside(func() { heldUntil(t.Loop()) })
			t.Leave(entered)
		}},
	} {
		before, after, released := 0, 0, 0
		err := onTask(l, func(t *loop.Task) {
			runtime.LockOSThread()
			before = unix.Gettid()
			heldUntil(l)
			tc.code(t)
			tc.code(t)
			released = l.Observe().Released()
			after = unix.Gettid()
			runtime.UnlockOSThread()
			_ = t.Sleep(time.Millisecond)
		})
		require.NoError(t, err, tc.why)
		require.Equal(t, before, after, "%s: another thread", tc.why)
		require.GreaterOrEqual(t, released, 1, tc.why) // the tasks that it started may be released too
		require.Eventually(t, func() bool { return l.Observe().Released() == 0 }, patience, time.Millisecond, tc.why)
	}
}

// nil2t turns failed assertions in tasks into panics, which end the task.
var nil2t = panics{}

type panics struct{}

func (panics) Errorf(format string, args ...any) { panic(format) }
func (panics) FailNow()                          {}

// Every end of such a task releases its thread, and the loop continues.
func TestReleasedTaskFreesItsThread(t *testing.T) {
	e := startEngine(t, 1, nothing)
	l := e.Loops()[0]
	for _, tc := range []struct {
		why   string
		code  func(t *loop.Task)
		check func(err error)
	}{
		{"it returns", func(*loop.Task) {}, func(err error) { require.NoError(t, err) }},
		{"it returns after Enter", func(t *loop.Task) { t.Enter() }, func(err error) { require.NoError(t, err) }},
		{"it panics", func(*loop.Task) { panic("boom") }, func(err error) { require.ErrorContains(t, err, "boom") }},
		{"it panics after Enter", func(t *loop.Task) { t.Enter(); panic("boom") }, func(err error) { require.ErrorContains(t, err, "boom") }},
		{"Goexit", func(*loop.Task) { runtime.Goexit() }, func(err error) { require.ErrorIs(t, err, loop.ErrGoexit) }},
		{"Goexit after Enter", func(t *loop.Task) { t.Enter(); runtime.Goexit() }, func(err error) { require.ErrorIs(t, err, loop.ErrGoexit) }},
	} {
		tc.check(onTask(l, func(t *loop.Task) {
			runtime.LockOSThread()
			heldUntil(l)
			tc.code(t)
		}))
		require.Zero(t, l.Observe().Released(), tc.why)
		require.NoError(t, onTask(l, func(t *loop.Task) { _ = t.Sleep(time.Millisecond) }), tc.why)
	}
}

// A task that Stop leaves behind is unwound when it enters its loop, whatever its
// goroutine holds and its deferred functions do. The process must not end because
// of it.
func TestTasksLeftBehind(t *testing.T) {
	for _, locked := range []bool{false, true} {
		e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1, Open: nothing, Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		l := e.Loops()[0]
		release := make(chan struct{})
		var ended sync.WaitGroup
		codes := []func(t *loop.Task){
			func(*loop.Task) {},
			func(t *loop.Task) { t.Observe().Usage() },
			func(t *loop.Task) { runtime.LockOSThread(); t.Observe().Usage() },
			func(t *loop.Task) { _ = t.Yield() },
			func(*loop.Task) { panic("boom") },
			func(*loop.Task) { runtime.Goexit() },
			func(t *loop.Task) { defer panic("boom"); t.Observe().Usage() },
			func(t *loop.Task) { defer runtime.Goexit(); t.Observe().Usage() },
			func(t *loop.Task) { defer t.Observe().Usage(); t.Observe().Usage() },
			func(t *loop.Task) {
				defer func() { runtime.UnlockOSThread(); t.Observe().Usage() }()
				t.Observe().Usage()
			},
		}
		for _, code := range codes {
			ended.Add(1)
			startTask(l, func(t *loop.Task) {
				defer ended.Done()
				if locked {
					runtime.LockOSThread()
				}
				<-release
				code(t)
			})
		}
		eventually(t, "all are released", func() bool {
			l.Post(func() {})
			return l.Observe().Released() == len(codes)
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, e.Stop(ctx), context.Canceled)
		<-e.Done()
		close(release)
		ended.Wait()
		eventually(t, "none is left", func() bool { return l.Observe().Released() == 0 })
	}
}
