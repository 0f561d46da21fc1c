package admin

// Meter: how long slices are and how long tasks wait for their loop, counted on the loop without allocation or lock, with
// or without a watchdog behind.

import (
	"sync"
	"time"

	"tafe/app"
	"tafe/loop"
)

// Meter counts for the loops that were given to Observe. The zero Meter is ready. Methods: any goroutine.
type Meter struct {
	mu    sync.Mutex
	gages map[*loop.Loop]*gage
}

// Observe returns a loop.Config.Observe that counts and hands on to next, which may be nil.
func (m *Meter) Observe(next func(*loop.Loop) loop.Observer) func(*loop.Loop) loop.Observer {
	return func(l *loop.Loop) loop.Observer {
		g := &gage{}
		m.mu.Lock()
		if m.gages == nil {
			m.gages = map[*loop.Loop]*gage{}
		}
		m.gages[l] = g
		m.mu.Unlock()
		if next != nil {
			g.next = next(l)
		}
		if late, ok := g.next.(loop.LateObserver); ok {
			return &lateGage{g, late}
		}
		return g
	}
}

func (m *Meter) of(l *loop.Loop) *gage {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gages[l]
}

// gage is for its loop's goroutine alone.
type gage struct {
	slices, lags app.Histogram
	next         loop.Observer
}

// SliceEnd is on the path of every slice (BenchmarkMeter).
func (g *gage) SliceEnd(l *loop.Loop, t *loop.Task, ready, start, end int64) {
	g.slices.Observe(time.Duration(end - start))
	g.lags.Observe(time.Duration(start - ready))
	if g.next != nil {
		g.next.SliceEnd(l, t, ready, start, end)
	}
}

// lateGage is a gage before somebody who wants to know of late slices too.
type lateGage struct {
	*gage
	late loop.LateObserver
}

func (g *lateGage) SliceLate(l *loop.Loop, t *loop.Task, ready, start int64) {
	g.late.SliceLate(l, t, ready, start)
}
