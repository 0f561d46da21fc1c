// What outlives an App: upstream groups with their connections and health, and directories with their cached files. A reload passes on those
// whose definition has not changed.

package config

import (
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"

	"tafe/app/proxy"
	"tafe/app/redislimit"
)

// Resources are what an App uses beyond its routes. Its methods may be called by any goroutine.
type Resources struct {
	groups map[string]upstream // fixed once App has returned
	broken Problems            // likewise
	sites  []site
	limits []*redislimit.Buckets // which begin anew with each App: their state is in Redis
	mu     sync.Mutex
	passed map[io.Closer]bool // to the Resources of a later Config
}

type upstream struct {
	definition Upstream
	group      *proxy.Group
}

// Broken are the parts that cannot be used although the file says nothing wrong of them: a directory or a file of keys that cannot be
// opened. Their routes answer 503; the others are served.
func (r *Resources) Broken() Problems { return r.broken }

// Groups lists the upstream groups by name.
func (r *Resources) Groups() (all []*proxy.Group) {
	for _, name := range slices.Sorted(maps.Keys(r.groups)) {
		all = append(all, r.groups[name].group)
	}
	return all
}

// Start starts what the Resources do by themselves: health checks. What was handed on runs already.
func (r *Resources) Start() {
	for _, g := range r.Groups() {
		g.Start()
	}
}

// Close ends what was not handed on to the Resources of a later Config. Requests that still use it are answered with 503
// where they need a new connection: call it once there are none.
func (r *Resources) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.all() {
		if !r.passed[c] {
			_ = c.Close()
		}
	}
}

// all are the things that end.
func (r *Resources) all() map[io.Closer]bool {
	all := map[io.Closer]bool{}
	for _, u := range r.groups {
		all[u.group] = true
	}
	for _, s := range r.sites {
		all[s.Site] = true
	}
	for _, l := range r.limits {
		all[l] = true
	}
	return all
}

// HandOver is called once the App of next has taken over: what it shares is its own from then on.
func (r *Resources) HandOver(next *Resources) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passed = next.all()
}

// discard closes what was made for an App that came to nothing.
func (r *Resources) discard(before *Resources) {
	old := map[io.Closer]bool{}
	if before != nil {
		old = before.all()
	}
	for c := range r.all() {
		if !old[c] {
			_ = c.Close()
		}
	}
}

func (r *Resources) has(name string) bool { return r.group(name) != nil }

func (r *Resources) group(name string) *proxy.Group { return r.groups[name].group }

func (r *Resources) add(u *Upstream, g *proxy.Group) { r.groups[u.Name] = upstream{*u, g} }

// take adds the group of the same definition that is there from before.
func (r *Resources) take(before *Resources, u *Upstream) bool {
	if before == nil {
		return false
	}
	old, ok := before.groups[u.Name]
	if !ok || !reflect.DeepEqual(old.definition, *u) {
		return false
	}
	r.groups[u.Name] = old
	return true
}
