// Upstream servers for the admin listener.

package edge

import (
	"errors"

	"tafe/app/admin"
	"tafe/app/proxy"
)

// upstreams returns the servers of the current groups.
func (e *edge) upstreams() (all []admin.Upstream) {
	for _, g := range e.groups() {
		s := g.Stats()
		for _, server := range s.Servers {
			all = append(all, admin.Upstream{
				Name: s.Name, Addr: server.Addr, Source: server.Name, Up: server.State == proxy.Up, State: string(server.State), Weight: server.Weight,
				Backup: server.Backup, Active: server.Active, Requests: server.Requests, Failures: failuresOf(server), GRPC: server.GRPC,
			})
		}
	}
	return all
}

// upstreamGroups returns the current groups.
func (e *edge) upstreamGroups() (all []admin.UpstreamGroup) {
	for _, g := range e.groups() {
		s := g.Stats()
		all = append(all, admin.UpstreamGroup{
			Name: s.Name, Waiting: s.Waiting, Waits: s.Waits, QueueFull: s.QueueFull, QueueTimeouts: s.WaitedVain, LookupsFailed: s.LookupsLost,
			Retries: s.Retries, Denied: s.Exhausted, NoServer: s.NoServer, Tunnels: s.TunnelsOpen,
		})
	}
	return all
}

// operate applies an operation to a server of a current group. Groups of later reloads inherit it.
func (e *edge) operate(upstream, addr string, o admin.Operation) error {
	e.operating.Lock()
	defer e.operating.Unlock()
	for _, g := range e.groups() {
		if g.Name() != upstream {
			continue
		}
		var err error
		switch o.Kind {
		case admin.Drain:
			err = g.Drain(addr)
		case admin.Undrain:
			err = g.Undrain(addr)
		case admin.Weigh:
			err = g.Weigh(addr, o.Weight)
		}
		if errors.Is(err, proxy.ErrUnknownServer) {
			return admin.ErrNoUpstream
		}
		return err
	}
	return admin.ErrNoUpstream
}

// groups returns the groups of the current settings. Any goroutine.
func (e *edge) groups() []*proxy.Group {
	if r := e.shown.Load(); r != nil {
		return r.Groups()
	}
	return nil
}

func failuresOf(s proxy.ServerStats) (sum uint64) {
	for _, n := range s.Failures {
		sum += n
	}
	return sum
}
