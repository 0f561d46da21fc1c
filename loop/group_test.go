package loop_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/looptest"
	"tafe/loop/reactor"
)

var errBoom = errors.New("boom")

// step is what a child does: sleep, then end so.
type step struct {
	ms  int
	end error
}

func TestGroupWaits(t *testing.T) {
	all := func(g *loop.Group) (int, error) { return 0, g.All() }
	settle := func(g *loop.Group) (int, error) { return g.Settle() }
	first := func(n int) func(*loop.Group) (int, error) {
		return func(g *loop.Group) (int, error) { return n, g.First(n) }
	}
	for _, tc := range []struct {
		why      string
		children []step
		deadline int
		wait     func(*loop.Group) (int, error)
		ok       int
		err      error
		tookMs   int
		cut      []int // children whose sleep was cut short
	}{
		{"all end well: as long as the longest", []step{{5, nil}, {20, nil}, {10, nil}}, 0, all, 0, nil, 20, nil},
		{"no children: no wait", nil, 0, all, 0, nil, 0, nil},
		{"the first error cancels the siblings", []step{{50, nil}, {10, errBoom}, {60, nil}}, 0, all, 0, errBoom, 10, []int{0, 2}},
		{"a deadline is an error of All", []step{{5, nil}, {50, nil}}, 20, all, 0, context.DeadlineExceeded, 20, []int{1}},
		{"settling waits through errors", []step{{5, errBoom}, {20, nil}, {10, nil}}, 0, settle, 2, nil, 20, nil},
		{"and keeps what came before the deadline", []step{{5, nil}, {50, nil}, {10, nil}}, 30, settle, 2, nil, 30, []int{1}},
		{"a deadline after the end does nothing", []step{{5, nil}}, 30, settle, 1, nil, 5, nil},
		{"the first one wins", []step{{30, nil}, {10, nil}, {20, nil}}, 0, first(1), 1, nil, 10, []int{0, 2}},
		{"the first two of three", []step{{30, nil}, {10, nil}, {20, nil}}, 0, first(2), 2, nil, 20, []int{0}},
		{"an error is not a success", []step{{30, nil}, {10, errBoom}}, 0, first(1), 1, nil, 30, nil},
		{"too few can succeed: the rest is not waited for", []step{{30, nil}, {10, errBoom}, {20, errBoom}}, 0, first(2), 2, errBoom, 20, []int{0}},
	} {
		t.Run(tc.why, func(t *testing.T) {
			l := looptest.New(t, looptest.Options{})
			var cut []int
			l.Run(func(task *loop.Task) {
				g := task.Group()
				for i, s := range tc.children {
					require.NoError(t, g.Go(func(c *loop.Task) error {
						if err := c.Sleep(time.Duration(s.ms) * time.Millisecond); err != nil {
							cut = append(cut, i)
							return err
						}
						return s.end
					}))
				}
				if tc.deadline > 0 {
					g.SetDeadline(time.Duration(tc.deadline) * time.Millisecond)
				}
				start := l.Clock()
				ok, err := tc.wait(g)
				require.Equal(t, tc.err, err)
				require.Equal(t, tc.ok, ok)
				require.InDelta(t, tc.tookMs, (l.Clock()-start)/1e6, 1)
			})
			slices.Sort(cut)
			require.Equal(t, tc.cut, cut)
			l.On(func() { require.Zero(t, l.Stats().TasksAlive); require.Zero(t, l.Stats().Timers) })
		})
	}
}

func TestGroupOfTooFew(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	l.Run(func(task *loop.Task) {
		g := task.Group()
		require.NoError(t, g.Go(func(*loop.Task) error { return nil }))
		require.Error(t, g.First(2), "one cannot be two")
		require.NoError(t, g.Go(func(*loop.Task) error { return nil }))
		require.NoError(t, g.First(1), "a group may be used again")
	})
}

func TestGroupCarriesPanics(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	siblingEnded := false
	r := l.Start(func(task *loop.Task) {
		g := task.Group()
		_ = g.Go(func(c *loop.Task) error {
			defer func() { siblingEnded = true }()
			return c.Sleep(time.Hour)
		})
		_ = g.Go(func(c *loop.Task) error {
			_ = c.Sleep(time.Millisecond)
			panicsInside()
			return nil
		})
		_, _ = g.Settle()
	})
	l.Advance(time.Second)
	require.True(t, r.Ended())
	var p *loop.PanicError
	require.ErrorAs(t, r.Err(), &p)
	require.Equal(t, errBoom, p.Value)
	require.Contains(t, string(p.Stack), "panicsInside", "the stack is the child's")
	require.True(t, siblingEnded, "no child outlives its group")
}

func panicsInside() { panic(errBoom) }

func TestGroupOfACancelledParent(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	var childErr, err error
	cleaned := false
	r := l.Start(func(task *loop.Task) {
		g := task.Group()
		_ = g.Go(func(c *loop.Task) error {
			childErr = c.Sleep(time.Hour)
			cleaned = true
			return childErr
		})
		err = g.All()
		require.True(t, cleaned, "the parent waits for its children all the same")
	})
	r.Cancel(errBoom)
	require.True(t, r.Ended())
	require.Equal(t, errBoom, err)
	require.Equal(t, errBoom, childErr)
}

func TestGroupDescribesItsChildren(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	route, method := "/bid", "GET"
	l.Run(func(task *loop.Task) {
		task.Describe(&route, &method, []byte("/bid?user=1"), []byte("r42"), nil, nil)
		g := task.Group()
		_ = g.Go(func(c *loop.Task) error {
			d := c.Observe().Description()
			require.Equal(t, "/bid", d.Route)
			require.Equal(t, "/bid?user=1", d.Path)
			require.Equal(t, "r42", d.RequestID)
			return nil
		})
		require.NoError(t, g.All())
	})
}

func TestGroupHitsTheTaskLimit(t *testing.T) {
	l := looptest.New(t, looptest.Options{Limits: reactor.Limits{Limits: loop.Limits{TaskMax: 3}}})
	l.Run(func(task *loop.Task) {
		g := task.Group()
		nap := func(c *loop.Task) error { return c.Sleep(time.Millisecond) }
		require.NoError(t, g.Go(nap))
		require.NoError(t, g.Go(nap))
		require.ErrorIs(t, g.Go(nap), loop.ErrTooManyTasks)
		require.NoError(t, g.All(), "those that started are joined")
	})
}

func TestGroupAtShutdown(t *testing.T) {
	l := looptest.New(t, looptest.Options{})
	ended := 0
	r := l.Start(func(task *loop.Task) {
		g := task.Group()
		for range 3 {
			_ = g.Go(func(c *loop.Task) error {
				defer func() { ended++ }()
				inner := c.Group()
				_ = inner.Go(func(cc *loop.Task) error { return cc.Sleep(time.Hour) })
				return inner.All()
			})
		}
		_ = g.All()
	})
	l.Close()
	require.True(t, r.Ended())
	require.Equal(t, 3, ended)
}

func BenchmarkGroupOfThree(b *testing.B) {
	l := looptest.New(b, looptest.Options{})
	b.ReportAllocs()
	l.Run(func(t *loop.Task) {
		for i := 0; b.Loop(); i++ {
			g := t.Group()
			for range 3 {
				_ = g.Go(func(*loop.Task) error { return nil })
			}
			_ = g.All()
			if i%1000 == 0 {
				_ = t.Sleep(time.Millisecond)
			}
		}
	})
}
