package loop

import (
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTaskEndings(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		why   string
		run   func(*Task)
		check func(*testing.T, error)
	}{
		{"a normal end has no error", func(*Task) {}, func(t *testing.T, err error) { require.NoError(t, err) }},
		{"a panic keeps the handler's own frames", func(*Task) { panicsHere(boom) }, func(t *testing.T, err error) {
			var p *PanicError
			require.ErrorAs(t, err, &p)
			require.Equal(t, boom, p.Value)
			require.Contains(t, string(p.Stack), "panicsHere")
		}},
		{"a panic after a wait as well", func(t *Task) { _ = t.Sleep(time.Millisecond); panicsHere(boom) }, func(t *testing.T, err error) {
			var p *PanicError
			require.ErrorAs(t, err, &p)
		}},
		{"panic(nil) is a panic", func(*Task) { panic(nil) }, func(t *testing.T, err error) {
			var p *PanicError
			require.ErrorAs(t, err, &p)
		}},
		{"Goexit ends the task, not the loop", func(*Task) { runtime.Goexit() }, func(t *testing.T, err error) { require.ErrorIs(t, err, ErrGoexit) }},
		{"Goexit whose deferred function waits", func(t *Task) {
			defer func() { _ = t.Sleep(time.Millisecond) }()
			runtime.Goexit()
		}, func(t *testing.T, err error) { require.ErrorIs(t, err, ErrGoexit) }},
		{"Goexit on a locked thread", func(*Task) { runtime.LockOSThread(); runtime.Goexit() }, func(t *testing.T, err error) { require.ErrorIs(t, err, ErrGoexit) }},
		{"a locked thread is released at the end", func(*Task) { runtime.LockOSThread(); runtime.LockOSThread() }, func(t *testing.T, err error) { require.NoError(t, err) }},
		{"a panic with the thread locked", func(*Task) { runtime.LockOSThread(); panicsHere(boom) }, func(t *testing.T, err error) { require.Error(t, err) }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			if strings.Contains(tc.why, "locked") {
				needPart(t, "thread_lock")
			}
			l, m := newManual(t, Limits{})
			for range 3 { // the coroutine, or its replacement, must be fit for more
				ended := start(t, l, tc.run)
				m.advance(l, 5*time.Millisecond)
				tc.check(t, *ended)
			}
			ok := start(t, l, func(t *Task) { _ = t.Sleep(time.Millisecond) })
			m.advance(l, 5*time.Millisecond)
			require.NoError(t, *ok)
		})
	}
}

//go:noinline
func panicsHere(v any) { panic(v) }

func TestParkRefusals(t *testing.T) {
	for _, tc := range []struct {
		why  string
		park func(*Task) error
		want error
	}{
		{"a goroutine the handler started", func(t *Task) error {
			got := make(chan error)
			go func() { got <- t.Sleep(time.Hour) }()
			return <-got
		}, ErrForeignGoroutine},
		{"a nested iter.Pull is another goroutine", func(t *Task) error {
			next, stop := iter.Pull(func(yield func(error) bool) { yield(t.Sleep(time.Hour)) })
			defer stop()
			err, _ := next()
			return err
		}, ErrForeignGoroutine},
		{"LockOSThread, then a wait", func(t *Task) error { runtime.LockOSThread(); return t.Sleep(time.Hour) }, ErrThreadLocked},
		{"LockOSThread, then a yield", func(t *Task) error { runtime.LockOSThread(); return t.Yield() }, ErrThreadLocked},
		{"LockOSThread, then Settle", func(t *Task) error {
			g := t.Group()
			_ = g.Go(func(*Task) error { return nil })
			runtime.LockOSThread()
			_, err := g.Settle()
			return err
		}, ErrThreadLocked},
		{"LockOSThread, then First of none", func(t *Task) error {
			g := t.Group()
			_ = g.Go(func(*Task) error { return nil })
			runtime.LockOSThread()
			return g.First(0)
		}, ErrThreadLocked},
		{"a goroutine the handler started calls Settle", func(t *Task) error {
			g := t.Group()
			_ = g.Go(func(*Task) error { return nil })
			got := make(chan error)
			go func() { _, err := g.Settle(); got <- err }()
			return <-got
		}, ErrForeignGoroutine},
		{"locked and unlocked again may wait", func(t *Task) error {
			runtime.LockOSThread()
			runtime.UnlockOSThread()
			return t.Sleep(time.Millisecond)
		}, nil},
	} {
		t.Run(tc.why, func(t *testing.T) {
			if tc.want == ErrThreadLocked {
				needPart(t, "thread_lock")
			}
			l, m := newManual(t, Limits{})
			var got error
			ended := start(t, l, func(t *Task) { got = tc.park(t) })
			m.advance(l, 10*time.Millisecond)
			require.NoError(t, *ended)
			require.Equal(t, tc.want, got)
		})
	}
}

// A coroutine made on a locked thread could not be resumed on another one.
func TestStartOnALockedThread(t *testing.T) {
	needPart(t, "thread_lock")
	l, m := newManual(t, Limits{})
	ran := 0
	ended := start(t, l, func(task *Task) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for range 3 { // more than were ever made before
			_, err := task.Loop().Start(&code{run: func(*Task) { ran++ }})
			require.NoError(t, err)
		}
	})
	m.settle(l)
	require.NoError(t, *ended)
	require.Equal(t, 3, ran)
}

func TestWakers(t *testing.T) {
	l, m := newManual(t, Limits{})
	var old, current Waker
	var log []string
	ended := start(t, l, func(t *Task) {
		old = t.Prepare()
		old.Wake()
		old.Wake() // twice is once
		_ = t.Park()
		log = append(log, "woken before it parked")
		current = t.Prepare()
		_ = t.Park()
		log = append(log, "woken")
	})
	require.Len(t, log, 1)
	on(l, func() { old.Wake() })
	require.Len(t, log, 1, "a Waker of an earlier wait is void")
	on(l, func() { current.Wake(); current.Wake(); old.Wake() })
	require.Len(t, log, 2)
	require.NoError(t, *ended)
	on(l, func() { current.Wake() })
	require.True(t, current.Post(), "late use is harmless")
	m.settle(l)

	var reused *Task
	start(t, l, func(t *Task) { reused = t; t.Prepare(); _ = t.Park() })
	require.Same(t, current.task, reused, "the coroutine is pooled")
	on(l, func() { current.Wake() })
	require.Equal(t, taskParked, reused.state, "a Waker of the coroutine's earlier task is void too")
	on(l, func() { reused.Cancel(io.EOF) })
	require.Panics(t, func() { Waker{reused, reused.epoch}.Wake() }, "Wake outside the loop would corrupt it")
}

func TestCancel(t *testing.T) {
	l, m := newManual(t, Limits{})
	gone := errors.New("client gone")
	var errs []error
	var task *Task
	start(t, l, func(t *Task) {
		task = t
		for range 3 {
			errs = append(errs, t.Sleep(time.Hour))
		}
		errs = append(errs, t.Yield())
	})
	require.Empty(t, errs)
	done := task.Done()
	on(l, func() { task.Cancel(gone); task.Cancel(io.EOF) })
	require.Equal(t, []error{gone, gone, gone, gone}, errs, "the first cause stays, and every later wait returns it")
	<-done
	require.Equal(t, gone, task.Err(), "a task whose Done was asked for is not reused")
	require.Zero(t, l.wheel.count)

	errs = nil
	start(t, l, func(t *Task) {
		t.SetDeadline(5 * time.Millisecond)
		errs = append(errs, t.Sleep(time.Millisecond), t.Sleep(time.Hour))
	})
	m.advance(l, 10*time.Millisecond)
	require.Equal(t, []error{nil, context.DeadlineExceeded}, errs)
}

func TestTaskAfterFunc(t *testing.T) {
	l, _ := newManual(t, Limits{})
	calls := make(chan string, 8)
	add := func(task *Task, name string) func() bool { return task.AfterFunc(func() { calls <- name }) }
	var task *Task
	start(t, l, func(t *Task) { task = t; _ = t.Sleep(time.Hour) })
	add(task, "first")
	stopped := add(task, "stopped")
	third := add(task, "third")
	require.True(t, stopped())
	require.False(t, stopped(), "it is stopped already")
	on(l, func() { task.Cancel(io.EOF) })
	require.ElementsMatch(t, []string{"first", "third"}, []string{<-calls, <-calls})
	require.False(t, third(), "it was called")
	require.False(t, add(task, "late")(), "the task has ended")
	require.Equal(t, "late", <-calls)

	start(t, l, func(t *Task) { add(t, "end") })
	require.Equal(t, "end", <-calls, "the end of a task without a cancellation")
	require.Empty(t, calls)
}

func TestSleepIsNeverEarlyAndYieldIsFair(t *testing.T) {
	l, m := newManual(t, Limits{})
	var at, began int64
	start(t, l, func(t *Task) {
		began = l.Clock()
		m.now += int64(40 * time.Millisecond) // a slice that overran: the loop's own reading is old
		began = l.Clock()
		_ = t.Sleep(3 * time.Millisecond)
		at = l.Clock()
	})
	m.advance(l, 100*time.Millisecond)
	require.GreaterOrEqual(t, at-began, int64(3*time.Millisecond))

	var order strings.Builder
	for _, name := range []string{"a", "b"} {
		start(t, l, func(t *Task) {
			for range 3 {
				order.WriteString(name)
				_ = t.Yield()
			}
		})
	}
	m.settle(l)
	require.Equal(t, "ababab", order.String())
	require.Zero(t, l.tasks)
}

func TestYieldLetsTheDriverIn(t *testing.T) {
	l, m := newManual(t, Limits{})
	turns := 0
	start(t, l, func(t *Task) {
		for range 10 {
			_ = t.Yield()
			turns++
		}
	})
	require.Zero(t, turns, "a yield waits for the driver's next turn")
	require.True(t, m.woken)
	m.woken = false
	l.Drive().Turn()
	require.Equal(t, 1, turns, "one resume a turn: I/O comes between")
	m.settle(l)
	require.Equal(t, 10, turns)
}

func TestTaskLimitAndReuse(t *testing.T) {
	l, m := newManual(t, Limits{TaskMax: 10, IdleTaskMax: 4})
	for range 10 {
		start(t, l, func(t *Task) { _ = t.Sleep(time.Millisecond) })
	}
	on(l, func() {
		_, err := l.Start(&code{run: func(*Task) {}})
		require.ErrorIs(t, err, ErrTooManyTasks)
		ran := 0
		for range 16 {
			_, err = l.StartReserved(&code{run: func(*Task) { ran++ }})
			require.NoError(t, err)
		}
		_, err = l.StartReserved(&code{run: func(*Task) {}})
		require.ErrorIs(t, err, ErrTooManyTasks)
	})
	m.advance(l, 5*time.Millisecond)
	s := l.Observe().Stats()
	require.Zero(t, s.TasksAlive)
	require.Equal(t, 4, s.CoroutinesIdle)
	require.Zero(t, s.Timers)
}

func TestStartInsideATaskIsQueued(t *testing.T) {
	l, m := newManual(t, Limits{})
	var order []string
	start(t, l, func(t *Task) {
		order = append(order, "parent")
		_, err := t.Loop().Start(&code{run: func(*Task) { order = append(order, "child") }})
		if err != nil {
			panic(err)
		}
		order = append(order, "parent goes on")
	})
	require.Len(t, order, 2, "the child waits behind the next I/O")
	m.settle(l)
	require.Equal(t, []string{"parent", "parent goes on", "child"}, order)
}

func TestShutdownUnwindsTasks(t *testing.T) {
	m := &manual{now: 1, alarm: never}
	l := New(0, m, Limits{}, nil)
	cleaned := 0
	var ends []error
	begin := func(run func(*Task)) {
		on(l, func() {
			_, err := l.Start(&code{run: run, done: func(_ *Task, err error) { ends = append(ends, err) }})
			require.NoError(t, err)
		})
	}
	begin(func(t *Task) { // heeds the cancel
		defer func() { cleaned++ }()
		_ = t.Sleep(time.Hour)
	})
	begin(func(t *Task) { // does not: it is unwound, its deferred functions run
		defer func() { cleaned++ }()
		for {
			_ = t.Yield()
			t.cause.Store(nil)
		}
	})
	begin(func(t *Task) { // ends by Goexit while it is unwound
		defer func() { cleaned++; runtime.Goexit() }()
		for {
			_ = t.Yield()
			t.cause.Store(nil)
		}
	})
	on(l, func() { l.Drive().Shutdown(); l.Drive().Close() })
	require.Equal(t, 3, cleaned)
	require.Len(t, ends, 3)
	require.Empty(t, l.all)
	require.False(t, l.Post(func() {}), "a stopped loop takes no posts")
}

func TestDescribe(t *testing.T) {
	l, _ := newManual(t, Limits{})
	route, method := "/users/{id}", "GET"
	start(t, l, func(task *Task) {
		task.Describe(&route, &method, []byte("/users/7"), []byte("req-1"), []byte("00-ab-cd-01"), nil)
		d := task.Observe().Description()
		require.Equal(t, Description{TaskID: task.ID(), Route: route, Method: method, Path: "/users/7", RequestID: "req-1", Traceparent: "00-ab-cd-01"}, d)
		task.Describe(&route, &method, []byte(strings.Repeat("p", 500)), []byte("req-1"), nil, nil)
		d = task.Observe().Description()
		require.Len(t, d.Path, labelBytesMax-5)
		require.Equal(t, "req-1", d.RequestID, "the path gives way to the ids")
	})
}

type sliceLog struct{ slices [][3]int64 }

func (s *sliceLog) SliceEnd(_ *Loop, _ *Task, ready, start, end int64) {
	s.slices = append(s.slices, [3]int64{ready, start, end})
}

func TestSlicesAreObserved(t *testing.T) {
	l, m := newManual(t, Limits{})
	var seen sliceLog
	l.Drive().SetObserver(&seen)
	start(t, l, func(task *Task) {
		since, running, ok := l.Observe().Slice().Load()
		require.True(t, ok)
		require.Same(t, task, running)
		require.LessOrEqual(t, since, l.Clock())
		m.now += 1000
		_ = task.Sleep(time.Millisecond)
	})
	_, _, ok := l.Observe().Slice().Load()
	require.False(t, ok, "nothing runs between slices")
	m.advance(l, 2*time.Millisecond)
	require.Len(t, seen.slices, 2)
	for _, s := range seen.slices {
		require.LessOrEqual(t, s[0], s[1], "ready before it starts")
		require.Less(t, s[1], s[2])
	}
	require.GreaterOrEqual(t, seen.slices[0][2]-seen.slices[0][1], int64(1000))
}

func BenchmarkTaskRun(b *testing.B) {
	l := New(0, &manual{now: 1, alarm: never}, Limits{}, nil)
	c := &code{run: func(*Task) {}}
	b.ReportAllocs()
	for b.Loop() {
		on(l, func() { _, _ = l.Start(c) })
	}
	on(l, func() { l.Drive().Shutdown(); l.Drive().Close() })
}

func BenchmarkYield(b *testing.B) {
	l := New(0, &manual{now: 1, alarm: never}, Limits{}, nil)
	on(l, func() {
		_, _ = l.Start(&code{run: func(t *Task) {
			for t.Yield() == nil {
			}
		}})
	})
	b.ReportAllocs()
	for b.Loop() {
		l.Drive().Turn()
	}
	on(l, func() { l.Drive().Shutdown(); l.Drive().Close() })
}

func BenchmarkYieldIfDue(b *testing.B) {
	l := New(0, realClock{time.Now()}, Limits{SliceBudget: time.Hour}, nil)
	on(l, func() {
		_, _ = l.Start(&code{run: func(t *Task) {
			for b.Loop() {
				_ = t.YieldIfDue()
			}
		}})
	})
	on(l, func() { l.Drive().Shutdown(); l.Drive().Close() })
}

type realClock struct{ base time.Time }

func (r realClock) Now() int64 { return int64(time.Since(r.base)) + 1 }
func (realClock) Wake()        {}
func (realClock) WakeAt(int64) {}
func (realClock) Flush()       {}

func BenchmarkGetg(b *testing.B) {
	for b.Loop() {
		_ = getg()
	}
}
