// Upstream servers for the admin listener.

package edge

import (
	"tafe/app/admin"
	"tafe/app/proxy"
)

// upstreams returns the servers of the current groups for the admin listener; nil without groups.
func (e *edge) upstreams() func() []admin.Upstream {
	if e.resources == nil || len(e.settings.Upstreams) == 0 {
		return nil
	}
	return func() (all []admin.Upstream) {
		for _, g := range e.shown.Load().Groups() {
			s := g.Stats()
			for _, server := range s.Servers {
				all = append(all, admin.Upstream{
					Name: s.Name, Addr: server.Addr, Up: server.State == proxy.Up, State: string(server.State),
					Active: server.Active, Requests: server.Requests, Failures: failuresOf(server),
				})
			}
		}
		return all
	}
}

func failuresOf(s proxy.ServerStats) (sum uint64) {
	for _, n := range s.Failures {
		sum += n
	}
	return sum
}
