// Slice lengths by route name, for one loop. Counters belong to names, so they survive a reload
// that registers the routes anew.

package watchdog

import (
	"sync/atomic"
	"time"
	"unsafe"

	"tafe/loop"
)

const routesMax = 512 // route names of a loop; later ones are counted as OtherRoutes

type routeStats struct {
	name   string
	slices loop.Histogram // lengths, written by the loop, read word by word by others
}

// routeTable finds the counters of a route by the address of its pattern, which is fast. Only the
// loop uses it, except for all.
type routeTable struct {
	slots  [2 * routesMax]routeSlot
	used   int
	byName map[string]*routeStats
	latest routeSlot // of the last slice
	all    atomic.Pointer[[]*routeStats]
}

type routeSlot struct {
	route *string
	stats *routeStats
}

// observe counts a slice of a route.
func (rt *routeTable) observe(route *string, d time.Duration) {
	if rt.latest.stats == nil || rt.latest.route != route {
		rt.latest = routeSlot{route, rt.of(route)}
	}
	rt.latest.stats.slices.Observe(d)
}

// of returns the counters of a route, by linear probing from the hash of the address.
func (rt *routeTable) of(route *string) *routeStats {
	for i := addressHash(route); ; i++ {
		slot := &rt.slots[i%uint64(len(rt.slots))]
		if slot.stats == nil {
			return rt.enter(slot, route)
		}
		if slot.route == route {
			return slot.stats
		}
	}
}

// enter fills a free slot. When half of the slots are in use, most belong to patterns that no
// longer exist, and all are cleared.
func (rt *routeTable) enter(slot *routeSlot, route *string) *routeStats {
	s := rt.named(route)
	if rt.used++; rt.used > len(rt.slots)/2 {
		clear(rt.slots[:])
		rt.used = 0
		return s
	}
	*slot = routeSlot{route, s}
	return s
}

// named returns the counters of a route name, and creates them if needed.
func (rt *routeTable) named(route *string) *routeStats {
	name := ""
	if route != nil {
		name = *route
	}
	if s := rt.byName[name]; s != nil {
		return s
	}
	if len(rt.byName) >= routesMax {
		name = OtherRoutes
		if s := rt.byName[name]; s != nil {
			return s
		}
	}
	s := &routeStats{name: name}
	if rt.byName == nil {
		rt.byName = map[string]*routeStats{}
	}
	rt.byName[name] = s
	var all []*routeStats
	if old := rt.all.Load(); old != nil {
		all = append(all, *old...)
	}
	all = append(all, s)
	rt.all.Store(&all)
	return s
}

// each calls f for every name. Any goroutine may call it.
func (rt *routeTable) each(f func(*routeStats)) {
	if all := rt.all.Load(); all != nil {
		for _, s := range *all {
			f(s)
		}
	}
}

// addressHash hashes the address of a pattern.
func addressHash(route *string) uint64 {
	return uint64(uintptr(unsafe.Pointer(route))) * 0x9e3779b97f4a7c15 >> 48
}

// RouteTimes has the slice lengths of one route on all loops.
type RouteTimes struct {
	Route  string // "" for slices outside requests
	Slices loop.Histogram
}

// Routes returns the slice lengths of each route since the start. Any goroutine may call it.
func (w *Watchdog) Routes() []RouteTimes {
	byName := map[string]*RouteTimes{}
	for _, ln := range w.watchedLoops() {
		ln.routes.each(func(s *routeStats) {
			r := byName[s.name]
			if r == nil {
				r = &RouteTimes{Route: s.name}
				byName[s.name] = r
			}
			slices := copyHistogram(&s.slices)
			r.Slices.Add(&slices)
		})
	}
	all := make([]RouteTimes, 0, len(byName))
	for _, r := range byName {
		all = append(all, *r)
	}
	return all
}

// copyHistogram copies a histogram that its loop may be writing.
//
//go:norace
func copyHistogram(from *loop.Histogram) loop.Histogram { return *from }
