package loop_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tafe/loop"
	"tafe/loop/looptest"
)

// Three sources are asked at once. Sources that have not answered after 50 ms are left out.
func ExampleGroup() {
	l := looptest.New(new(testing.T), looptest.Options{})
	defer l.Close()
	l.Run(func(t *loop.Task) {
		prices := map[string]int{}
		g := t.Group()
		for _, source := range []struct {
			name string
			ms   time.Duration
		}{{"near", 5}, {"far", 20}, {"asleep", 500}} {
			_ = g.Go(func(t *loop.Task) error {
				if err := t.Sleep(source.ms * time.Millisecond); err != nil {
					return err
				}
				prices[source.name] = int(source.ms) // one goroutine at a time: no lock
				return nil
			})
		}
		g.SetDeadline(50 * time.Millisecond)
		ok, _ := g.Settle()
		fmt.Println(ok, prices)
	})
	// Output: 2 map[far:20 near:5]
}

// A call that blocks or computes for long runs on a goroutine of a pool.
func ExampleOffload() {
	pool := loop.NewPool(4, 100)
	defer pool.Close()
	l := looptest.New(new(testing.T), looptest.Options{})
	defer l.Close()
	l.Run(func(t *loop.Task) {
		sum, err := loop.Offload(t, pool, func() (int, error) {
			sum := 0
			for i := range 1000 {
				sum += i
			}
			return sum, nil
		})
		fmt.Println(sum, err)
	})
	// Output: 499500 <nil>
}

// A Queue passes values from a channel to a task.
func ExampleQueue() {
	ticks := make(chan string)
	go func() {
		defer close(ticks)
		for i := range 3 {
			ticks <- fmt.Sprint("tick ", i)
		}
	}()
	q := loop.NewQueue[string](16)
	go func() { // the bridge: a full queue holds the channel back
		defer q.Close()
		for s := range ticks {
			if q.Put(nil, s) != nil {
				return
			}
		}
	}()
	l := looptest.New(new(testing.T), looptest.Options{})
	defer l.Close()
	l.Run(func(t *loop.Task) {
		for {
			s, err := q.Take(t)
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println(s)
		}
	})
	// Output:
	// tick 0
	// tick 1
	// tick 2
	// loop: closed
}

// Several tasks that miss the same cache entry cause one call.
func ExampleFlight() {
	l := looptest.New(new(testing.T), looptest.Options{})
	defer l.Close()
	var profiles loop.Flight[string, string]
	for range 3 {
		l.Start(func(t *loop.Task) {
			profile, shared, _ := profiles.Do(t, "user 7", func() (string, error) {
				fmt.Println("asking the store")
				return "a profile", t.Sleep(time.Millisecond)
			})
			fmt.Println(profile, shared)
		})
	}
	l.Advance(time.Second)
	// Output:
	// asking the store
	// a profile false
	// a profile true
	// a profile true
}

// Ten tasks share two connections; a cancelled task leaves the queue.
func ExampleSemaphore() {
	l := looptest.New(new(testing.T), looptest.Options{})
	defer l.Close()
	s := loop.NewSemaphore(2, 100)
	runs := make([]*looptest.Run, 10)
	for i := range runs {
		runs[i] = l.Start(func(t *loop.Task) {
			if s.Acquire(t) != nil {
				return
			}
			defer s.Release()
			_ = t.Sleep(time.Second)
		})
	}
	runs[9].Cancel(context.Canceled)
	waiting := s.Waiting()
	l.Advance(time.Minute)
	fmt.Println(waiting, s.Waiting())
	// Output: 7 0
}
