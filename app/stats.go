// Counters and histograms per route. A loop updates them at the end of each request, without allocating for a known method and status;
// other goroutines read them through Server.Stats.

package app

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"tafe/loop"
)

// RouteStats are the counters of one route on one loop.
type RouteStats struct {
	Route    *Route // nil for requests without a route
	Answers  []Answers
	Duration loop.Histogram // from the arrival of the head to the end of the response
	Cost     loop.Cost      // of the slices of the route's requests
}

// Answers counts the responses with one method and status.
type Answers struct {
	Method string // "other" for uncommon methods
	Status int
	Count  uint64
}

// routeCounts are the counters of one route on one loop. The loop writes them while other goroutines read single words; an element of
// answers is never moved or removed.
type routeCounts struct {
	route    atomic.Pointer[Route] // RouteStats.Route
	duration loop.Histogram
	cost     loop.Cost
	answers  atomic.Pointer[[]*Answers]
}

// traffic holds the counters of the routes of one loop.
type traffic struct {
	routes map[*Route]*routeCounts
	all    atomic.Pointer[[]*routeCounts] // the values of routes, for other goroutines
	queued loop.Histogram
}

// routesKept is the number of removed routes whose counters a loop keeps separately. The counters of further ones are added up.
const routesKept = 64

// gone stands for the removed routes beyond routesKept.
var gone = &Route{Name: "gone"}

// of returns the counters of a route.
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

// publish makes the current set of routes visible to other goroutines.
func (t *traffic) publish() {
	all := slices.Collect(maps.Values(t.routes))
	t.all.Store(&all)
}

// cost returns the cost record of the request's route on its loop; nil without a route.
func (c *Context) cost() *loop.Cost {
	if c.route == nil {
		return nil
	}
	c.stats = c.state.traffic.of(c.route)
	return &c.stats.cost
}

// count counts a request that has ended.
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

// adopt moves the counters to the routes of another App. Routes with the same host, method, pattern, name and
// conditions keep counting. Up to routesKept removed routes keep their counters under their names.
func (t *traffic) adopt(routes []*Route) {
	heirs := make(map[identity]*Route, len(routes))
	for _, r := range routes {
		heirs[r.identity()] = r
	}
	old := t.routes
	t.routes = make(map[*Route]*routeCounts, len(old))
	kept := 0
	for r, s := range old {
		if r != nil && r != gone {
			id := r.identity()
			if heirs[id] == nil {
				if heirs[id] = gone; kept < routesKept {
					kept++
					heirs[id] = &Route{Host: r.Host, Method: r.Method, Pattern: r.Pattern, Name: r.Name, when: r.when}
				}
			}
			r = heirs[id]
		}
		if have := t.routes[r]; have != nil { // a request outlived an earlier App, or r is gone
			have.add(s)
			continue
		}
		s.route.Store(r)
		t.routes[r] = s
	}
	t.publish()
}

// add adds the counters of o.
func (s *routeCounts) add(o *routeCounts) {
	s.duration.Add(&o.duration)
	if all := o.answers.Load(); all != nil {
		for _, more := range *all {
			s.count(more.Method, more.Status, more.Count)
		}
	}
}

// count adds n responses with one method and status.
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

// with returns a copy of the slice with one more element. Readers of the original are not disturbed.
func with[T any](known *[]T, more T) *[]T {
	var all []T
	if known != nil {
		all = slices.Clone(*known)
	}
	all = append(all, more)
	return &all
}

// snapshot copies the counters of all routes. Any goroutine.
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

// snapshot copies the counters while the loop may write them.
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

// reasons counts refusals and failures by reason. The loop writes them while other goroutines read.
type reasons struct {
	byName map[string]*uint64
	all    atomic.Pointer[[]reason]
}

type reason struct {
	name  string
	count *uint64
}

// count counts one refusal or failure.
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

// snapshot copies the counters. Any goroutine.
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
