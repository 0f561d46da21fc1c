package admin

// Traffic: what the loops counted of each route, added up under the name that logs and metrics show.

import (
	"maps"
	"slices"
	"strings"
	"time"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/watchdog"
)

type answerKey struct {
	method string
	status int
}

// routeTraffic is one route's on all loops.
type routeTraffic struct {
	name     string
	answers  map[answerKey]uint64
	duration loop.Histogram
}

// count is the number of answers, and of those with a status of 500 or more.
func (r *routeTraffic) count() (all, failed uint64) {
	for key, n := range r.answers {
		all += n
		if key.status >= 500 {
			failed += n
		}
	}
	return all, failed
}

// add adds another route's.
func (r *routeTraffic) add(o *routeTraffic) {
	r.duration.Add(&o.duration)
	for key, n := range o.answers {
		r.answers[key] += n
	}
}

// since is what came after an earlier state; nil: there was none.
func (r *routeTraffic) since(before *routeTraffic) *routeTraffic {
	later := &routeTraffic{name: r.name, duration: r.duration, answers: maps.Clone(r.answers)}
	if before != nil {
		later.duration.Sub(&before.duration)
		for key, n := range before.answers {
			later.answers[key] -= n
		}
	}
	return later
}

// row is the rate of answers and of failures a second, and two percentiles of the duration.
func (r *routeTraffic) row(passed time.Duration) (rate, failures float64, p50, p99 watchdog.Millis) {
	all, failed := r.count()
	return float64(all) / passed.Seconds(), float64(failed) / passed.Seconds(),
		watchdog.Millis(r.duration.Quantile(0.5)), watchdog.Millis(r.duration.Quantile(0.99))
}

// routesOf adds up, by name. There are no more names than routesMax, and two: what is left is under watchdog.OtherRoutes.
func routesOf(stats app.Stats) []*routeTraffic {
	byName := map[string]*routeTraffic{}
	for i := range stats.Loops {
		for j := range stats.Loops[i].Routes {
			s := &stats.Loops[i].Routes[j]
			name := unmatched
			if s.Route != nil {
				name = s.Route.Name
			}
			if byName[name] == nil && len(byName) > routesMax {
				name = watchdog.OtherRoutes
			}
			r := byName[name]
			if r == nil {
				r = &routeTraffic{name: name, answers: map[answerKey]uint64{}}
				byName[name] = r
			}
			r.duration.Add(&s.Duration)
			for _, a := range s.Answers {
				r.answers[answerKey{a.Method, a.Status}] += a.Count
			}
		}
	}
	all := make([]*routeTraffic, 0, len(byName))
	for _, r := range byName {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *routeTraffic) int { return strings.Compare(a.name, b.name) })
	return all
}
