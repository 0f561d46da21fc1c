// The servers of a group: the roster that requests read, and its changes by lookups and by operators. names.go looks
// host names up, operate.go has the operations.

package proxy

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
)

// serversMax bounds the servers of a group. Addresses beyond it are not used.
const serversMax = 1024

// roster is an immutable list of the servers of a group. A change makes a new one.
type roster struct {
	servers   []*server          // backups last
	primaries int                // number of servers before the backups
	turns     []*server          // see weightedTurns; without servers that are drained or down
	points    []ringPoint        // the hash ring
	byID      map[string]*server // nil unless the group is sticky
	pending   bool               // there is no server yet: a first lookup has not ended
}

// server is an upstream server and its state.
type server struct {
	ServerOptions        // Addr is the address to connect to
	name          string // the Addr of the option that it comes from
	host          string // host name for TLS, "" if it is that of Addr
	field         string // Host field of health checks, "" if it is Addr
	id            string // value of the sticky cookie
	index         int    // unique in the group
	weight        atomic.Int32
	out           atomic.Uint32 // reasons for which the server gets no request: the bits below
	// ejected is the end of the ejection and warmFrom the begin of the slow start, on the group's clock in ns; 0 if
	// there is none.
	ejected, warmFrom atomic.Int64
	failures          atomic.Int32 // consecutive failures
	times             atomic.Int32 // consecutive ejections
	active            atomic.Int64 // requests in flight
	counts            serverCounts
	gone              chan struct{} // closed when the server is removed
}

// Bits of server.out.
const (
	isDown    uint32 = 1 << iota // its health check fails
	isDrained                    // by an operator
	isRemoved                    // a lookup no longer returns it
)

func (s *server) set(bit uint32)      { s.out.Or(bit) }
func (s *server) clear(bit uint32)    { s.out.And(^bit) }
func (s *server) has(bit uint32) bool { return s.out.Load()&bit != 0 }

// target is one address of a source.
type target struct {
	addr   string
	weight int
	backup bool
}

// rebuild makes the roster of the current targets. Servers whose address stays are kept with their state. g.mu is held,
// except in NewGroup.
func (g *Group) rebuild() {
	before := g.roster.Load()
	known := map[string]*server{}
	for _, s := range g.leaving {
		known[s.Addr] = s
	}
	if before != nil {
		for _, s := range before.servers {
			known[s.Addr] = s
		}
	}
	r := &roster{}
	grows := before != nil && len(before.servers) > 0
	taken := map[string]bool{}
	for _, backup := range []bool{false, true} {
		for _, src := range g.sources {
			for _, t := range src.targets {
				if (src.Backup || t.backup) != backup || taken[t.addr] || len(r.servers) >= serversMax {
					continue
				}
				taken[t.addr] = true
				r.servers = append(r.servers, g.join(known[t.addr], src, t, backup, grows))
			}
		}
		if !backup {
			r.primaries = len(r.servers)
		}
	}
	r.pending = len(r.servers) == 0 && slices.ContainsFunc(g.sources, func(src *source) bool { return !src.asked })
	r.turns = weightedTurns(slices.DeleteFunc(slices.Clone(r.servers[:r.primaries]), func(s *server) bool { return s.out.Load() != 0 }))
	if g.options.Policy == Hashed {
		r.points = ringPoints(r.servers[:r.primaries])
	}
	if g.options.Sticky != nil {
		r.byID = make(map[string]*server, len(r.servers))
		for _, s := range r.servers {
			r.byID[s.id] = s
		}
	}
	g.roster.Store(r)
	if before != nil {
		g.remove(before.servers, r.servers)
	}
	g.serveQueue(nil)
}

// join returns the server for t: known if it can be kept, or a new one. grows means that it is an addition to servers
// that are in use.
func (g *Group) join(known *server, src *source, t target, backup, grows bool) *server {
	order := g.orders[t.addr]
	s := known
	if s == nil || s.Backup != backup || s.host != src.tlsName() {
		s = &server{ServerOptions: ServerOptions{Addr: t.addr, Backup: backup}, name: src.Addr, host: src.tlsName(), field: src.hostField(), index: g.made, gone: make(chan struct{})}
		s.id = stickyID(g.options.Name, t.addr)
		g.made++
		if grows {
			g.beginWarming(s, g.clock())
		}
		if order.drained {
			s.set(isDrained)
		}
		g.startChecks(s)
	} else if s.has(isRemoved) { // its address came back before its last request had ended
		g.leaving = slices.DeleteFunc(g.leaving, func(l *server) bool { return l == s })
		s.gone = make(chan struct{})
		s.clear(isRemoved)
		g.startChecks(s)
	}
	if order.weight > 0 {
		s.weight.Store(int32(order.weight))
	} else {
		s.weight.Store(int32(t.weight))
	}
	return s
}

// remove drains the servers of before that are not in now.
func (g *Group) remove(before, now []*server) {
	for _, s := range before {
		if !slices.Contains(now, s) {
			s.set(isRemoved)
			close(s.gone)
			g.leaving = append(g.leaving, s)
		}
	}
	g.forgetIdle()
}

// forgetIdle drops removed servers whose last request has ended. g.mu is held.
func (g *Group) forgetIdle() {
	g.leaving = slices.DeleteFunc(g.leaving, func(s *server) bool { return s.active.Load() == 0 })
}

// beginWarming starts the slow start of s at the given time of the group's clock.
func (g *Group) beginWarming(s *server, from int64) {
	if g.options.SlowStart > 0 {
		s.warmFrom.Store(max(from, 1))
	}
}

// warmMin is the share of its weight that a server gets when its slow start begins.
const warmMin = 0.05

// warm reports whether s, which is in its slow start, takes a request. It does so with a probability that grows from
// warmMin to 1. With Hashed the key decides, so that each key moves to the server once.
func (g *Group) warm(s *server, now int64, key uint64) bool {
	from := s.warmFrom.Load()
	share := float64(now-from) / float64(g.options.SlowStart)
	if share >= 1 {
		s.warmFrom.CompareAndSwap(from, 0)
		return true
	}
	draw := rand.Uint64()
	if g.options.Policy == Hashed {
		draw = mix(key ^ uint64(s.index+1)*0x9e3779b97f4a7c15)
	}
	return float64(draw>>11)/(1<<53) < max(share, warmMin)
}
