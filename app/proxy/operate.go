// Operations on the servers of a running group: drain, undrain and weigh.

package proxy

import (
	"errors"
	"fmt"
)

// operator is what was ordered for the server with an address. It stays while the address is not in the group.
type operator struct {
	drained bool
	weight  int // 0: as configured
}

// ordersMax bounds the addresses for which something was ordered.
const ordersMax = 4096

// Errors of Drain, Undrain and Weigh.
var (
	ErrUnknownServer = errors.New("proxy: the group has no server with this address")
	errOrders        = errors.New("proxy: too many servers are drained or weighed")
)

// Drain sends no further requests to a server, except those of clients that its sticky cookie binds to it. Requests in
// flight go on. addr is that of ServerStats. A drained server stays drained when its address leaves the group and
// returns, and in a later group that inherits from this one.
func (g *Group) Drain(addr string) error {
	return g.order(addr, func(o *operator) { o.drained = true })
}

// Undrain ends Drain, with a slow start.
func (g *Group) Undrain(addr string) error {
	return g.order(addr, func(o *operator) { o.drained = false })
}

// Weigh changes the weight of a server, 1 to WeightMax; 0 restores the configured one.
func (g *Group) Weigh(addr string, weight int) error {
	if weight < 0 || weight > WeightMax {
		return fmt.Errorf("proxy: the weight %d is not between 0 and %d", weight, WeightMax)
	}
	return g.order(addr, func(o *operator) { o.weight = weight })
}

func (g *Group) order(addr string, change func(o *operator)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var s *server
	for _, known := range g.roster.Load().servers {
		if known.Addr == addr {
			s = known
		}
	}
	if s == nil {
		return ErrUnknownServer
	}
	o := g.orders[addr]
	change(&o)
	if _, known := g.orders[addr]; !known && len(g.orders) >= ordersMax {
		return errOrders
	}
	g.orders[addr] = o
	if o == (operator{}) {
		delete(g.orders, addr)
	}
	switch {
	case o.drained:
		s.set(isDrained)
	case s.has(isDrained):
		g.beginWarming(s, g.clock())
		s.clear(isDrained)
	}
	g.options.Log.Info("upstream server changed by an operator", "upstream", g.options.Name, "server", addr, "drained", o.drained, "weight", o.weight)
	g.rebuild()
	return nil
}

// Inherit copies the state of before, a group that g replaces: the orders of operators, the addresses of names, and the
// health of servers. Call it before g is used.
func (g *Group) Inherit(before *Group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before.mu.Lock()
	defer before.mu.Unlock()
	for addr, o := range before.orders {
		g.orders[addr] = o
	}
	for _, src := range g.sources {
		for _, old := range before.sources {
			if src.kind != literal && src.Addr == old.Addr && old.asked {
				src.asked = true
				for _, t := range old.targets {
					if src.kind == addresses {
						t.weight = src.Weight
					}
					src.targets = append(src.targets, t)
				}
			}
		}
	}
	g.roster.Store(nil) // nothing is in use, so no server starts slowly
	g.rebuild()
	known := map[string]*server{}
	for _, s := range before.roster.Load().servers {
		known[s.Addr] = s
	}
	for _, s := range g.roster.Load().servers {
		old := known[s.Addr]
		if old == nil {
			if len(known) > 0 {
				g.beginWarming(s, g.clock())
			}
			continue
		}
		s.inherit(g, old, before)
	}
	g.rebuild() // without those that are down
}

// inherit takes over the health of old, the same server in the group before.
func (s *server) inherit(g *Group, old *server, before *Group) {
	if g.options.Check != nil && old.has(isDown) {
		s.set(isDown)
	}
	if left := old.ejected.Load() - before.clock(); left > 0 && g.options.FailuresMax > 0 {
		s.ejected.Store(g.clock() + left)
		g.beginWarming(s, g.clock()+left)
	}
	s.times.Store(old.times.Load())
}
