// This file owns what is counted of each route: answers by method and status, and how long they took. It belongs to the
// loop, is written at the end of each request without allocating, and is read through Server.Stats.

package app

import (
	"maps"
	"math/bits"
	"slices"
	"time"
)

// histogramSize is the number of buckets of a Histogram: ten for each decade from 1 us to 100 s, and one for what is beyond.
const histogramSize = 8*10 + 1

// histogramBounds are the inclusive upper ends of the buckets but the last, in ns: the ISO 3 series R'10, so that 1, 2 and 5 of
// each decade are among them.
var histogramBounds = func() (bounds [histogramSize - 1]int64) {
	decade := int64(100)
	for i := range bounds {
		if i%10 == 0 {
			decade *= 10
		}
		bounds[i] = decade / 100 * [...]int64{100, 125, 160, 200, 250, 315, 400, 500, 630, 800}[i%10]
	}
	return bounds
}()

// histogramFirst is, for each length in bits, the bucket of the smallest duration that long.
var histogramFirst = func() (first [65]uint8) {
	for length := range first {
		smallest := uint64(1) << length >> 1
		for int(first[length]) < len(histogramBounds) && uint64(histogramBounds[first[length]]) < smallest {
			first[length]++
		}
	}
	return first
}()

// Histogram counts durations in buckets a quarter wide. It is a value without pointers, for one writer.
type Histogram struct {
	Counts [histogramSize]uint64
	Sum    time.Duration
}

// Observe counts one duration, in about 4 ns (BenchmarkHistogram); a negative one counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i := int(histogramFirst[bits.Len64(uint64(d))])
	for i < len(histogramBounds) && int64(d) > histogramBounds[i] {
		i++
	}
	h.Counts[i]++
	h.Sum += d
}

// Add adds what o has counted.
func (h *Histogram) Add(o *Histogram) {
	for i, n := range o.Counts {
		h.Counts[i] += n
	}
	h.Sum += o.Sum
}

// Sub takes away what o had counted: o is an earlier state of h.
func (h *Histogram) Sub(o *Histogram) {
	for i, n := range o.Counts {
		h.Counts[i] -= n
	}
	h.Sum -= o.Sum
}

// Count is how many durations were counted.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// AtMost is how many durations were no longer than d. It is exact where d is 1, 2 or 5 times a power of ten from 1 us to 50 s, else
// those in the bucket of d are missing.
func (h *Histogram) AtMost(d time.Duration) (n uint64) {
	for i, bound := range histogramBounds {
		if bound > int64(d) {
			break
		}
		n += h.Counts[i]
	}
	return n
}

// Quantile is a duration that the fraction q of all does not exceed, at most a quarter too long; 0 when nothing was counted, and 100 s
// where it is beyond that.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := min(uint64(q*float64(total)), total-1)
	for i, c := range h.Counts[:len(histogramBounds)] {
		if rank < c {
			return time.Duration(histogramBounds[i])
		}
		rank -= c
	}
	return time.Duration(histogramBounds[len(histogramBounds)-1])
}

// RouteStats are what the requests of one route came to on one loop.
type RouteStats struct {
	Route    *Route // nil: those that no route took
	Answers  []Answers
	Duration Histogram // from the arrival of the head to the end of the answer
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
	queued Histogram
}

// count enters an answered request.
func (y *traffic) count(c *Context) {
	s := y.routes[c.route]
	if s == nil {
		if y.routes == nil {
			y.routes = map[*Route]*RouteStats{}
		}
		s = &RouteStats{Route: c.route}
		y.routes[c.route] = s
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
