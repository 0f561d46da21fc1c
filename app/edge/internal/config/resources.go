// Resources, which outlive an App: upstream groups with their connections and health, and directories with their cached files. A reload passes on those
// whose definition has not changed.

package config

import (
	"context"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"

	"tafe/app"
	"tafe/app/proxy"
	"tafe/app/redislimit"
)

// Resources are the upstream groups, directories and shared limits that an App uses. Any goroutine may call the methods.
type Resources struct {
	groups      map[string]upstream // fixed once App has returned
	broken      Problems            // likewise
	directories []directory
	logs        []*siteLog
	limits      []*redislimit.Buckets // new for each App: their state is in Redis
	lives       []*app.Life           // of compiled parts, new for each App
	mu          sync.Mutex
	passed      map[io.Closer]bool // to the Resources of a later Config
}

type upstream struct {
	definition Upstream
	group      *proxy.Group
}

// Broken returns the parts that cannot be used although the file is valid: a directory or key file that cannot be opened. Their
// routes answer 503; the others are served.
func (r *Resources) Broken() Problems { return r.broken }

// Groups returns the upstream groups by name.
func (r *Resources) Groups() (all []*proxy.Group) {
	for _, name := range slices.Sorted(maps.Keys(r.groups)) {
		all = append(all, r.groups[name].group)
	}
	return all
}

// Start runs the start hooks of compiled parts, until one fails, and then starts the health checks. Those of reused groups are running
// already.
func (r *Resources) Start(ctx context.Context) error {
	for _, l := range r.lives {
		if err := l.Start(ctx); err != nil {
			return err
		}
	}
	for _, g := range r.Groups() {
		g.Start()
	}
	return nil
}

// Drain runs the drain hooks of compiled parts. Call it when no new requests will come.
func (r *Resources) Drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lives {
		l.Drain()
	}
}

// Close closes what was not handed over to the Resources of a later Config. Requests that still use it get 503 when they need a
// new connection: call it when there are none.
func (r *Resources) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopLives()
	for c := range r.all() {
		if !r.passed[c] {
			_ = c.Close()
		}
	}
}

// stopLives runs the stop hooks of compiled parts, those that were made last first.
func (r *Resources) stopLives() {
	for i := len(r.lives) - 1; i >= 0; i-- {
		r.lives[i].Stop()
	}
}

// all are the things that end.
func (r *Resources) all() map[io.Closer]bool {
	all := map[io.Closer]bool{}
	for _, u := range r.groups {
		all[u.group] = true
	}
	for _, s := range r.directories {
		all[s.Site] = true
	}
	for _, l := range r.limits {
		all[l] = true
	}
	for _, l := range r.logs {
		all[l.SiteLog] = true
	}
	return all
}

// TransferTo transfers the shared parts to next. Call it when the App of next serves.
func (r *Resources) TransferTo(next *Resources) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passed = next.all()
}

// Discard closes what was made for an App that is not used. before are the Resources from which parts may have been reused, or nil.
func (r *Resources) Discard(before *Resources) {
	r.stopLives()
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

// reuse adds the group of before with the same definition, and reports whether there is one.
func (r *Resources) reuse(before *Resources, u *Upstream) bool {
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
