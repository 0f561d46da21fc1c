package loop_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
)

func TestSemaphoreIsFairAndBounded(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	s := loop.NewSemaphore(2, 3)
	var order []int
	var refused int
	for i := range 6 {
		l.Start(func(task *loop.Task) {
			if err := s.Acquire(task); err != nil {
				require.ErrorIs(t, err, loop.ErrQueueFull)
				refused++
				return
			}
			order = append(order, i)
			_ = task.Sleep(time.Duration(10+i) * time.Millisecond)
			s.Release()
		})
	}
	require.Equal(t, []int{0, 1}, order)
	require.Equal(t, 3, s.Waiting())
	require.Equal(t, 1, refused)
	require.False(t, s.TryAcquire(), "not before earlier waiters")
	l.Advance(time.Second)
	require.Equal(t, []int{0, 1, 2, 3, 4}, order)
	require.True(t, s.TryAcquire())
	require.True(t, s.TryAcquire())
	require.False(t, s.TryAcquire())
}

func TestSemaphoreOfCancelledWaiters(t *testing.T) {
	for _, tc := range []struct {
		why   string
		leave func(l *looptest.Loop, s *loop.Semaphore, r *looptest.Run)
	}{
		{"a cancelled waiter does not acquire", func(_ *looptest.Loop, _ *loop.Semaphore, r *looptest.Run) { r.Cancel(errBoom) }},
		{"a waiter cancelled after its grant passes it on", func(l *looptest.Loop, s *loop.Semaphore, r *looptest.Run) {
			l.On(func() {
				s.Release()
				r.Cancel(errBoom) // before it could run
			})
		}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l := looptest.New(t, looptest.Options{})
			s := loop.NewSemaphore(1, 10)
			require.True(t, s.TryAcquire())
			held := []int{}
			runs := make([]*looptest.Run, 3)
			for i := range runs {
				runs[i] = l.Start(func(task *loop.Task) {
					if s.Acquire(task) == nil {
						held = append(held, i)
						s.Release()
					}
				})
			}
			tc.leave(l, s, runs[0])
			s.Release()
			l.Settle()
			for _, r := range runs {
				require.True(t, r.Ended())
			}
			require.Subset(t, held, []int{1, 2})
			require.Zero(t, s.Waiting())
		})
	}
}

// TestSemaphoreAcrossLoops shares a Semaphore between tasks of two loops and goroutines, and
// cancels some. The bound holds, and at the end all holders have released it.
func TestSemaphoreAcrossLoops(t *testing.T) {
	loops := startLoops(t, 2)
	s := loop.NewSemaphore(3, 1000)
	var holding, most atomic.Int64
	use := func(wait func()) {
		if n := holding.Add(1); n > most.Load() {
			most.Store(n)
		}
		wait()
		holding.Add(-1)
		s.Release()
	}
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			if i%3 == 2 {
				if s.Acquire(nil) == nil {
					use(func() {})
				}
				return
			}
			_ = onTask(loops[i%3], func(task *loop.Task) {
				if i%7 == 0 {
					task.SetDeadline(time.Duration(rand.IntN(2000)+1) * time.Microsecond)
				}
				if s.Acquire(task) == nil {
					use(func() { _ = task.Sleep(100 * time.Microsecond) })
				}
			})
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int64(3))
	for range 3 {
		require.True(t, s.TryAcquire(), "nothing is lost")
	}
	require.False(t, s.TryAcquire())
}

func TestFlight(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	var f loop.Flight[string, int]
	calls, shared := 0, 0
	var got []int
	get := func(key string) *looptest.Run {
		return l.Start(func(task *loop.Task) {
			v, s, err := f.Do(task, key, func() (int, error) {
				calls++
				n := calls
				return n, task.Sleep(time.Millisecond)
			})
			require.NoError(t, err)
			if s {
				shared++
			}
			got = append(got, v)
		})
	}
	for range 5 {
		get("a")
	}
	get("b")
	l.Advance(10 * time.Millisecond)
	require.Equal(t, 2, calls, "one for each key")
	require.Equal(t, 4, shared)
	require.ElementsMatch(t, []int{1, 1, 1, 1, 1, 2}, got)
	get("a")
	l.Advance(10 * time.Millisecond)
	require.Equal(t, 3, calls, "a call that has ended is not shared: it is no cache")
}

func TestFlightFailures(t *testing.T) {
	type result struct {
		value  int
		shared bool
		err    error
	}
	for _, tc := range []struct {
		why   string
		first func(task *loop.Task) (int, error)
		upset func(first, second *looptest.Run)
		want  string // of the second and third caller
		calls int
	}{
		{"an error is shared", func(task *loop.Task) (int, error) { _ = task.Sleep(time.Millisecond); return 0, errBoom }, nil, "0 true boom; 0 true boom", 1},
		{"a panic is an error for the others", func(task *loop.Task) (int, error) { _ = task.Sleep(time.Millisecond); panic(errBoom) }, nil,
			"0 true loop: task panicked: boom; 0 true loop: task panicked: boom", 1},
		{"after a cancellation the next caller runs its own f", func(task *loop.Task) (int, error) { return 1, task.Sleep(time.Hour) },
			func(first, _ *looptest.Run) { first.Cancel(errBoom) }, "2 false <nil>; 2 true <nil>", 2},
		{"a waiting caller is cancelled alone", func(task *loop.Task) (int, error) { return 1, task.Sleep(time.Millisecond) },
			func(_, second *looptest.Run) { second.Cancel(errBoom) }, "0 true boom; 1 true <nil>", 1},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l := looptest.New(t, looptest.Options{})
			var f loop.Flight[int, int]
			calls := 0
			results := make([]result, 3)
			runs := make([]*looptest.Run, 3)
			for i := range runs {
				runs[i] = l.Start(func(task *loop.Task) {
					r := &results[i]
					r.value, r.shared, r.err = f.Do(task, 1, func() (int, error) {
						if calls++; calls == 1 {
							return tc.first(task)
						}
						n := calls
						return n, task.Sleep(time.Millisecond)
					})
				})
			}
			if tc.upset != nil {
				tc.upset(runs[0], runs[1])
			}
			l.Advance(time.Second)
			say := func(r result) string { return fmt.Sprintf("%d %v %v", r.value, r.shared, r.err) }
			require.Equal(t, tc.want, say(results[1])+"; "+say(results[2]))
			require.Equal(t, tc.calls, calls)
		})
	}
}

func TestQueueFeedsATask(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	q := loop.NewQueue[int](4)
	const count = 1000
	go func() {
		defer q.Close()
		for i := range count {
			if q.Put(nil, i) != nil {
				return
			}
		}
	}()
	var got []int
	l.Run(func(task *loop.Task) {
		for {
			v, err := q.Take(task)
			if err != nil {
				require.ErrorIs(t, err, loop.ErrClosed)
				return
			}
			require.LessOrEqual(t, q.Len(), 4)
			got = append(got, v)
		}
	})
	require.Len(t, got, count)
	for i, v := range got {
		require.Equal(t, i, v)
	}
}

func TestQueueEndings(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	q := loop.NewQueue[string](1)
	var got string
	var err error
	r := l.Start(func(task *loop.Task) { got, err = q.Take(task) })
	require.False(t, r.Ended())
	require.NoError(t, q.Offer("one"))
	l.Settle()
	require.True(t, r.Ended())
	require.NoError(t, err)
	require.Equal(t, "one", got)

	r = l.Start(func(task *loop.Task) { _, err = q.Take(task) })
	next := l.Start(func(task *loop.Task) { got, _ = q.Take(task) })
	r.Cancel(errBoom)
	require.Equal(t, errBoom, err)
	require.NoError(t, q.Offer("two"))
	l.Settle()
	require.True(t, next.Ended())
	require.Equal(t, "two", got)

	require.NoError(t, q.Offer("three"))
	require.ErrorIs(t, q.Offer("four"), loop.ErrQueueFull)
	r = l.Start(func(task *loop.Task) { err = q.Put(task, "four") })
	require.False(t, r.Ended(), "it waits for room")
	q.Close()
	l.Settle()
	require.ErrorIs(t, err, loop.ErrClosed)
	l.Run(func(task *loop.Task) {
		v, err := q.Take(task)
		require.NoError(t, err)
		require.Equal(t, "three", v, "what was in it is not lost")
		_, err = q.Take(task)
		require.ErrorIs(t, err, loop.ErrClosed)
	})
	require.ErrorIs(t, q.Offer("five"), loop.ErrClosed)
}

func BenchmarkSemaphore(b *testing.B) {
	s := loop.NewSemaphore(1, 1)
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Acquire(nil)
		s.Release()
	}
}
