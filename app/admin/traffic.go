// Traffic: the loops' counters of each route, added up by route name.

package admin

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

// routeTraffic is the traffic of one route on all loops.
type routeTraffic struct {
	name     string
	answers  map[answerKey]uint64
	duration loop.Histogram
}

// count returns the number of responses, and of those with a status of 500 or above.
func (r *routeTraffic) count() (all, failed uint64) {
	for key, n := range r.answers {
		all += n
		if key.status >= 500 {
			failed += n
		}
	}
	return all, failed
}

// add adds the counters of another route.
func (r *routeTraffic) add(o *routeTraffic) {
	r.duration.Add(&o.duration)
	for key, n := range o.answers {
		r.answers[key] += n
	}
}

// since returns the difference to an earlier state. A nil before stands for no traffic.
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

// row returns responses and failures per second, and two percentiles of the duration.
func (r *routeTraffic) row(passed time.Duration) (rate, failures float64, p50, p99 watchdog.Millis) {
	all, failed := r.count()
	return float64(all) / passed.Seconds(), float64(failed) / passed.Seconds(),
		watchdog.Millis(r.duration.Quantile(0.5)), watchdog.Millis(r.duration.Quantile(0.99))
}

// routesOf adds up traffic by route name. Names beyond routesMax are counted as
// watchdog.OtherRoutes.
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
