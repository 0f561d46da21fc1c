package loop

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// regionOf names the state of the calling task's word.
func regionOf(t *Task) string {
	switch t.region.word.Load() {
	case inside:
		return "inside"
	case released:
		return "released"
	case t.since:
		return "outside"
	}
	return "outside an earlier slice"
}

func TestRegionOfCode(t *testing.T) {
	l, m := newManual(t, Limits{})
	var said []string
	say := func(t *Task, where string) { said = append(said, where+" "+regionOf(t)) }
	on(l, func() {
		_, err := l.Start(runner{run: func(t *Task) {
			say(t, "Run")
			t.Outside(func() {
				say(t, "Outside")
				t.Outside(func() { say(t, "nested") })
				say(t, "after nested")
				entered := t.Enter()
				say(t, "Enter")
				again := t.Enter()
				t.Leave(again)
				say(t, "after inner Leave")
				_ = t.Sleep(time.Millisecond)
				say(t, "Sleep")
				t.Outside(func() { say(t, "Outside after Enter") })
				say(t, "and after it")
				t.Leave(entered)
				say(t, "Leave")
				_ = t.Sleep(time.Millisecond)
				say(t, "Sleep")
			})
			say(t, "after Outside")
			_ = t.Sleep(time.Millisecond)
			say(t, "Sleep")
		}, done: func(t *Task, _ error) { say(t, "Done") }})
		require.NoError(t, err)
	})
	m.advance(l, 10*time.Millisecond)
	// Outside after Enter is user code too. Outside in user code does not end the outer
	// one.
	require.Equal(t, []string{
		"Run inside", "Outside outside", "nested outside", "after nested outside", "Enter inside", "after inner Leave inside",
		"Sleep inside", "Outside after Enter outside", "and after it inside", "Leave outside", "Sleep outside",
		"after Outside inside", "Sleep inside", "Done inside",
	}, said)
	var none *Task
	none.Leave(none.Enter()) // for callers without a task
}

// runner is a Runner whose run is not user code.
type runner struct {
	run  func(*Task)
	done func(*Task, error)
}

func (r runner) Run(t *Task)             { r.run(t) }
func (r runner) Done(t *Task, err error) { r.done(t, err) }

// TestOutsideEndsInside: the Runner goes on inside after each way in which user code ends.
func TestOutsideEndsInside(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		why   string
		code  func(*Task)
		check func(*testing.T, error)
	}{
		{"it returns", func(*Task) {}, func(t *testing.T, err error) { require.NoError(t, err) }},
		{"it panics", func(*Task) { panic(boom) }, func(t *testing.T, err error) {
			var p *PanicError
			require.ErrorAs(t, err, &p)
			require.Equal(t, boom, p.Value)
		}},
		{"it panics after it has entered", func(t *Task) { defer t.Leave(t.Enter()); panic(boom) }, func(t *testing.T, err error) { require.Error(t, err) }},
		{"it panics after a wait", func(t *Task) { _ = t.Sleep(time.Millisecond); panic(boom) }, func(t *testing.T, err error) { require.Error(t, err) }},
		{"Goexit", func(*Task) { runtime.Goexit() }, func(t *testing.T, err error) { require.ErrorIs(t, err, ErrGoexit) }},
		{"Goexit after a wait", func(t *Task) { _ = t.Sleep(time.Millisecond); runtime.Goexit() }, func(t *testing.T, err error) { require.ErrorIs(t, err, ErrGoexit) }},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l, m := newManual(t, Limits{})
			for range 3 { // the coroutine, or its replacement, is fit for more
				region := ""
				ended := errors.New("still running")
				on(l, func() {
					_, err := l.Start(runner{run: func(t *Task) {
						defer func() { region = regionOf(t) }()
						t.Outside(func() { tc.code(t) })
					}, done: func(task *Task, err error) {
						require.Equal(t, "inside", regionOf(task))
						ended = err
					}})
					require.NoError(t, err)
				})
				m.advance(l, 5*time.Millisecond)
				require.Equal(t, "inside", region, "in the deferred functions of the Runner")
				tc.check(t, ended)
			}
			// A Runner may recover what it calls: the task does not end then.
			ended := errors.New("still running")
			on(l, func() {
				_, _ = l.Start(runner{run: func(t *Task) {
					func() {
						defer func() { _ = recover() }()
						t.Outside(func() { panic(boom) })
					}()
					if regionOf(t) != "inside" {
						panic(regionOf(t))
					}
				}, done: func(_ *Task, err error) { ended = err }})
			})
			require.NoError(t, ended)
		})
	}
}

// TestMethodsPassTheGate calls the methods that use the loop from user code. They enter and
// leave.
func TestMethodsPassTheGate(t *testing.T) {
	var tm Timer
	pool := NewPool(1, 0)
	pool.Close()
	semaphore, queue := NewSemaphore(1, 1), NewQueue[int](1)
	var flight Flight[int, string]
	for _, tc := range []struct {
		why  string
		call func(t, other *Task, w Waker) error
	}{
		{"Start", func(t, _ *Task, _ Waker) error {
			_, err := t.Loop().Start(&code{run: func(*Task) {}})
			return err
		}},
		{"Cancel", func(t, other *Task, _ Waker) error { other.Cancel(ErrClosed); return nil }},
		{"Wake", func(_, _ *Task, w Waker) error { w.Wake(); return nil }},
		{"WakeAt", func(t, _ *Task, w Waker) error { w.WakeAt(t.Loop().Now()); return nil }},
		{"Waiter.Wake", func(t, _ *Task, w Waker) error { Waiter{waker: w}.Wake(); return nil }},
		{"AfterFunc", func(t, _ *Task, _ Waker) error { t.Loop().AfterFunc(&tm, time.Hour, func(*Timer) {}); return nil }},
		{"StopTimer", func(t, _ *Task, _ Waker) error { t.Loop().StopTimer(&tm); return nil }},
		{"SetDeadline", func(t, _ *Task, _ Waker) error { t.SetDeadline(time.Hour); t.SetDeadline(0); return nil }},
		{"SetDeadline of another task", func(_, other *Task, _ Waker) error { other.SetDeadline(time.Hour); return nil }},
		{"Prepare and Park", func(t, _ *Task, _ Waker) error { t.Prepare().Wake(); return t.Park() }},
		{"WakeAfter", func(t, _ *Task, _ Waker) error { t.Prepare(); t.WakeAfter(time.Millisecond); return t.Park() }},
		{"ParkThrough", func(t, _ *Task, _ Waker) error { t.Prepare().Wake(); return t.parkThrough(func(error) {}) }},
		{"Sleep", func(t, _ *Task, _ Waker) error { return t.Sleep(time.Millisecond) }},
		{"Sleep(0)", func(t, _ *Task, _ Waker) error { return t.Sleep(0) }},
		{"Yield", func(t, _ *Task, _ Waker) error { return t.Yield() }},
		{"YieldIfDue", func(t, _ *Task, _ Waker) error { return t.YieldIfDue() }},
		{"Usage", func(t, _ *Task, _ Waker) error { t.Observe().Usage(); return nil }},
		{"Group", func(t, _ *Task, _ Waker) error {
			g := t.Group()
			g.SetDeadline(time.Hour)
			if err := g.Go(func(t *Task) error { return t.Sleep(time.Millisecond) }); err != nil {
				return err
			}
			return g.All()
		}},
		{"Offload", func(t, _ *Task, _ Waker) error {
			if _, err := Offload(t, pool, func() (int, error) { return 0, nil }); err != ErrClosed {
				return err
			}
			return nil
		}},
		{"Semaphore", func(t, _ *Task, _ Waker) error { defer semaphore.Release(); return semaphore.Acquire(t) }},
		{"Queue", func(t, _ *Task, _ Waker) error {
			if err := queue.Put(t, 1); err != nil {
				return err
			}
			_, err := queue.Take(t)
			return err
		}},
		{"Flight", func(t, _ *Task, _ Waker) error {
			region, _, err := flight.Do(t, 1, func() (string, error) { return regionOf(t), nil })
			if region != "outside" {
				return errors.New("its function is user code, and runs " + region)
			}
			return err
		}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l, m := newManual(t, Limits{})
			var other *Task
			var w Waker
			start(t, l, func(t *Task) { other, w = t, t.Prepare(); _ = t.Park() })
			var err error
			before, after := "", ""
			ended := start(t, l, func(t *Task) {
				before = regionOf(t)
				err = tc.call(t, other, w)
				after = regionOf(t)
			})
			m.advance(l, 5*time.Millisecond)
			require.NoError(t, *ended)
			require.NoError(t, err)
			require.Equal(t, "outside", before)
			require.Equal(t, "outside", after)
			on(l, func() { l.StopTimer(&tm) })
		})
	}
}

func TestOwned(t *testing.T) {
	l, m := newManual(t, Limits{})
	other, _ := newManual(t, Limits{})
	require.False(t, l.Drive().Owned(), "outside of a turn")
	on(l, func() {
		require.True(t, l.Drive().Owned(), "in a callback")
		require.False(t, other.Drive().Owned(), "of another loop")
	})
	var user, entered, foreign, after, elsewhere, current bool
	ended := start(t, l, func(t *Task) {
		user = l.Drive().Owned()
		current = l.Current() == t
		e := t.Enter()
		entered, elsewhere = l.Drive().Owned(), other.Drive().Owned()
		answer := make(chan bool)
		go func() { answer <- l.Drive().Owned() }()
		foreign = <-answer
		t.Leave(e)
		_ = t.Sleep(time.Millisecond)
		after = l.Drive().Owned()
	})
	m.advance(l, 5*time.Millisecond)
	require.NoError(t, *ended)
	require.True(t, current, "user code of a task is the task all the same")
	require.False(t, user, "in user code")
	require.True(t, entered, "after Enter")
	require.False(t, foreign, "on a goroutine of the handler's")
	require.False(t, elsewhere)
	require.False(t, after, "in user code after a wait")
}

// TestForeignGoroutinesDoNotEnter: a goroutine of the handler that uses the handler's task
// by mistake does not change the task's region.
func TestForeignGoroutinesDoNotEnter(t *testing.T) {
	l, _ := newManual(t, Limits{})
	s := NewSemaphore(0, 1)
	var err error
	during, after := "", ""
	start(t, l, func(t *Task) {
		answer := make(chan error)
		region := make(chan string, 1)
		go func() {
			e := t.Enter()
			region <- regionOf(t)
			t.Leave(e)
			answer <- s.Acquire(t)
		}()
		during, err = <-region, <-answer
		after = regionOf(t)
	})
	require.Equal(t, "outside", during)
	require.Equal(t, "outside", after)
	require.ErrorIs(t, err, ErrForeignGoroutine)
}

// TestWaiterOfTheSameLoop: user code wakes a task of its own loop without a Post and its
// system call.
func TestWaiterOfTheSameLoop(t *testing.T) {
	l, m := newManual(t, Limits{})
	s := NewSemaphore(0, 1)
	held := start(t, l, func(t *Task) { _ = s.Acquire(t) })
	posts := 0
	start(t, l, func(*Task) {
		s.Release()
		posts = len(l.posted)
	})
	require.Zero(t, posts)
	m.settle(l)
	require.NoError(t, *held)
	require.Zero(t, l.Observe().Stats().Posts)
}

func TestCallerMustBeOfTheLoop(t *testing.T) {
	l, _ := newManual(t, Limits{})
	var task *Task
	start(t, l, func(t *Task) { task = t; t.Prepare(); _ = t.Park() })
	for name, call := range map[string]func(){
		"Start":       func() { _, _ = l.Start(&code{}) },
		"AfterFunc":   func() { l.AfterFunc(&Timer{}, 0, func(*Timer) {}) },
		"StopTimer":   func() { l.StopTimer(&Timer{}) },
		"Cancel":      func() { task.Cancel(ErrClosed) },
		"SetDeadline": func() { task.SetDeadline(time.Hour) },
		"Wake":        func() { Waker{task, task.epoch}.Wake() },
	} {
		require.Panics(t, call, name)
	}
}

func BenchmarkEnter(b *testing.B) {
	l := New(0, realClock{time.Now()}, Limits{}, nil)
	on(l, func() {
		_, _ = l.Start(&code{run: func(t *Task) {
			for b.Loop() {
				t.Leave(t.Enter())
			}
		}})
	})
	on(l, func() { l.Drive().Shutdown(); l.Drive().Close() })
}
