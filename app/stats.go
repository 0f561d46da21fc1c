// This file owns what is counted of each route: answers by method and status, and how long they took. It belongs to the
// loop, is written at the end of each request without allocating, and is read through Server.Stats.

package app

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"tafe/loop"
)

// RouteStats are what the requests of one route came to on one loop.
type RouteStats struct {
	Route    *Route // nil: those that no route took
	Answers  []Answers
	Duration loop.Histogram // from the arrival of the head to the end of the answer
	Cost     loop.Cost      // of the slices of its requests
}

// Answers counts those with one method and status.
type Answers struct {
	Method string // "other" unless it is among the common ones
	Status int
	Count  uint64
}

// account is what one loop counts of one route. The loop writes, and others read word by word: an Answers stays where it is once it is
// in answers.
type routeCounts struct {
	route    atomic.Pointer[Route] // as RouteStats.Route
	duration loop.Histogram
	cost     loop.Cost
	answers  atomic.Pointer[[]*Answers]
}

// traffic is a loop's account of its routes.
type traffic struct {
	routes map[*Route]*routeCounts
	all    atomic.Pointer[[]*routeCounts] // those of routes, for others
	queued loop.Histogram
}

// routesKept is how many routes that are no more a loop has accounts of, each under its own name; what is beyond is added up.
const routesKept = 64

// gone is the route of what was counted of routes that are no more, beyond routesKept.
var gone = &Route{Name: "gone"}

// of finds the account of a route.
func (t *traffic) of(r *Route) *routeCounts {
	s := t.routes[r]
	if s == nil {
		if t.routes == nil {
			t.routes = map[*Route]*routeCounts{}
		}
		s = newRouteCounts(r)
		t.routes[r] = s
		t.publish()
	}
	return s
}

func newRouteCounts(r *Route) *routeCounts {
	s := &routeCounts{}
	s.route.Store(r)
	return s
}

// publish has others read the accounts that there are now.
func (t *traffic) publish() {
	all := slices.Collect(maps.Values(t.routes))
	t.all.Store(&all)
}

// account is what the request's route costs on its loop; nil where none took it.
func (c *Context) cost() *loop.Cost {
	if c.route == nil {
		return nil
	}
	c.stats = c.state.traffic.of(c.route)
	return &c.stats.cost
}

// count enters an answered request.
func (t *traffic) count(c *Context) {
	s := c.stats
	if s == nil {
		s = t.of(c.route)
	}
	s.duration.Observe(time.Duration(c.state.loop.Now() - c.arrived))
	t.queued.Observe(time.Duration(c.started - c.arrived))
	method := "other"
	for i := range methodNames {
		if methodNames[i] == string(c.req.Method) {
			method = methodNames[i]
			break
		}
	}
	s.count(method, c.resp.status, 1)
}

// adopt carries the account on under the routes of another App, so that it neither begins anew nor grows with every App. Of routes
// that are no more it keeps the names, up to routesKept, and lets the rest go.
func (t *traffic) adopt(routes []*Route) {
	type identity struct{ method, pattern, name string }
	heirs := make(map[identity]*Route, len(routes))
	for _, r := range routes {
		heirs[identity{r.Method, r.Pattern, r.Name}] = r
	}
	old := t.routes
	t.routes = make(map[*Route]*routeCounts, len(old))
	kept := 0
	for r, s := range old {
		if r != nil && r != gone {
			id := identity{r.Method, r.Pattern, r.Name}
			if heirs[id] == nil {
				if heirs[id] = gone; kept < routesKept {
					kept++
					heirs[id] = &Route{Method: r.Method, Pattern: r.Pattern, Name: r.Name}
				}
			}
			r = heirs[id]
		}
		if have := t.routes[r]; have != nil { // of a request that outlived the App before, or of another route that is gone
			have.add(s)
			continue
		}
		s.route.Store(r)
		t.routes[r] = s
	}
	t.publish()
}

// add adds what o has counted.
func (s *routeCounts) add(o *routeCounts) {
	s.duration.Add(&o.duration)
	if all := o.answers.Load(); all != nil {
		for _, more := range *all {
			s.count(more.Method, more.Status, more.Count)
		}
	}
}

// count counts n answers with one method and status.
func (s *routeCounts) count(method string, status int, n uint64) {
	known := s.answers.Load()
	if known != nil {
		for _, a := range *known {
			if a.Status == status && a.Method == method {
				a.Count += n
				return
			}
		}
	}
	s.answers.Store(with(known, &Answers{method, status, n}))
}

// with is a copy of what known points to, and one more. Who reads known may go on.
func with[T any](known *[]T, more T) *[]T {
	var all []T
	if known != nil {
		all = slices.Clone(*known)
	}
	all = append(all, more)
	return &all
}

// snapshot copies the account. Any goroutine.
func (t *traffic) snapshot() []RouteStats {
	known := t.all.Load()
	if known == nil {
		return nil
	}
	all := make([]RouteStats, 0, len(*known))
	for _, s := range *known {
		all = append(all, s.snapshot())
	}
	return all
}

// snapshot copies what the loop may be counting.
//
//go:norace
func (s *routeCounts) snapshot() RouteStats {
	copied := RouteStats{Route: s.route.Load(), Duration: s.duration, Cost: s.cost}
	if answers := s.answers.Load(); answers != nil {
		for _, a := range *answers {
			copied.Answers = append(copied.Answers, Answers{a.Method, a.Status, a.Count})
		}
	}
	return copied
}

// reasons counts refusals and failures by their reasons. The loop writes, and others read.
type reasons struct {
	byName map[string]*uint64
	all    atomic.Pointer[[]reason]
}

type reason struct {
	name  string
	count *uint64
}

// count enters one.
func (rs *reasons) count(name string) {
	n := rs.byName[name]
	if n == nil {
		if rs.byName == nil {
			rs.byName = map[string]*uint64{}
		}
		n = new(uint64)
		rs.byName[name] = n
		rs.all.Store(with(rs.all.Load(), reason{name, n}))
	}
	*n++
}

// snapshot copies the counts. Any goroutine.
//
//go:norace
func (rs *reasons) snapshot() map[string]uint64 {
	counts := map[string]uint64{}
	if all := rs.all.Load(); all != nil {
		for _, r := range *all {
			counts[r.name] = *r.count
		}
	}
	return counts
}
