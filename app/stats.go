// This file owns what is counted of each route: answers by method and status, and how long they took. It belongs to the
// loop, is written at the end of each request without allocating, and is read through Server.Stats.

package app

import (
	"maps"
	"slices"
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

// traffic is a loop's account of its routes.
type traffic struct {
	routes map[*Route]*RouteStats
	queued loop.Histogram
}

// of finds the account of a route.
func (y *traffic) of(r *Route) *RouteStats {
	s := y.routes[r]
	if s == nil {
		if y.routes == nil {
			y.routes = map[*Route]*RouteStats{}
		}
		s = &RouteStats{Route: r}
		y.routes[r] = s
	}
	return s
}

// account is what the request's route costs on its loop; nil where none took it.
func (c *Context) account() *loop.Cost {
	if c.route == nil {
		return nil
	}
	c.stats = c.hub.traffic.of(c.route)
	return &c.stats.Cost
}

// count enters an answered request.
func (y *traffic) count(c *Context) {
	s := c.stats
	if s == nil {
		s = y.of(c.route)
	}
	s.Duration.Observe(time.Duration(c.hub.loop.Now() - c.arrived))
	y.queued.Observe(time.Duration(c.started - c.arrived))
	method := "other"
	for i := range methodNames {
		if methodNames[i] == string(c.req.Method) {
			method = methodNames[i]
			break
		}
	}
	s.answers(method, c.resp.status, 1)
}

// adopt carries the account on under the routes of another App, so that it neither begins anew nor grows with every App. Of routes
// that are no more it keeps the name, and lets the rest go.
func (y *traffic) adopt(routes []*Route) {
	type identity struct{ method, pattern, name string }
	heirs := make(map[identity]*Route, len(routes))
	for _, r := range routes {
		heirs[identity{r.Method, r.Pattern, r.Name}] = r
	}
	old := y.routes
	y.routes = make(map[*Route]*RouteStats, len(old))
	for r, s := range old {
		if r != nil {
			id := identity{r.Method, r.Pattern, r.Name}
			if heirs[id] == nil {
				heirs[id] = &Route{Method: r.Method, Pattern: r.Pattern, Name: r.Name}
			}
			r = heirs[id]
		}
		if have := y.routes[r]; have != nil { // of a request that outlived the App before
			have.add(s)
			continue
		}
		s.Route = r
		y.routes[r] = s
	}
}

// add adds what o has counted.
func (s *RouteStats) add(o *RouteStats) {
	s.Duration.Add(&o.Duration)
	for _, more := range o.Answers {
		s.answers(more.Method, more.Status, more.Count)
	}
}

// answers counts n with one method and status.
func (s *RouteStats) answers(method string, status int, n uint64) {
	for i := range s.Answers {
		if a := &s.Answers[i]; a.Status == status && a.Method == method {
			a.Count += n
			return
		}
	}
	s.Answers = append(s.Answers, Answers{method, status, n})
}

// snapshot copies the account.
func (y *traffic) snapshot() []RouteStats {
	all := make([]RouteStats, 0, len(y.routes))
	for s := range maps.Values(y.routes) {
		copied := *s
		copied.Answers = slices.Clone(s.Answers)
		all = append(all, copied)
	}
	return all
}
