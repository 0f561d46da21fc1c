// What the admin listener shows of upstream servers.

package main

import (
	"tafe/app/admin"
	"tafe/app/proxy"
)

// upstreams gives the admin listener the servers of the groups that are in use now; nil where no group is.
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
