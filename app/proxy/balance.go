// Selection of a server by the policy of the group. health.go decides which servers are available.

package proxy

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
)

const (
	pointsPerWeight = 160 // points of a server on the ring, per unit of weight: the shares are accurate to a few percent
	overloadPercent = 125 // a hashed server with more than this percentage of the average load is skipped
)

// pick selects an available server that was not tried, and returns nil if there is none. full means that a request
// may wait for one: a server is at RequestsMax, or the first lookup has not ended. key is for Hashed. The caller must
// call finish when the request ends.
func (g *Group) pick(key uint64, tried []*server) (_ *server, full bool) {
	r := g.roster.Load()
	now := g.clock()
	for {
		s := g.choose(r, now, key, tried)
		switch {
		case s == nil && len(tried) > 0: // retry a server if there is no other
			tried = nil
		case s == nil:
			return nil, r.pending || slices.ContainsFunc(r.servers, func(s *server) bool { return s.usable(now) })
		case g.take(s):
			return s, false
		}
	}
}

// take takes a place for a request to s. It returns false if s has RequestsMax already.
func (g *Group) take(s *server) bool {
	if n := s.active.Add(1); g.options.RequestsMax > 0 && n > int64(g.options.RequestsMax) {
		s.active.Add(-1)
		return false
	}
	return true
}

// choose selects a server, a backup if no other is available.
func (g *Group) choose(r *roster, now int64, key uint64, tried []*server) *server {
	can := func(s *server) bool { return g.available(s, now) && !slices.Contains(tried, s) }
	if r.primaries == 1 && can(r.servers[0]) { // most groups
		return r.servers[0]
	}
	if r.primaries > 1 {
		s := g.byPolicy(r, key, func(s *server) bool { return can(s) && (s.warmFrom.Load() == 0 || g.warm(s, now, key)) })
		if s == nil {
			s = g.byPolicy(r, key, can) // all are in their slow start
		}
		if s != nil {
			return s
		}
	}
	for _, s := range r.servers[r.primaries:] {
		if can(s) {
			return s
		}
	}
	return nil
}

// byPolicy selects a server that is not a backup. Each of Policies has a case.
func (g *Group) byPolicy(r *roster, key uint64, can func(*server) bool) *server {
	switch g.options.Policy {
	case RoundRobin:
		return g.roundRobin(r, can)
	case LeastActive:
		return g.leastActive(r, can)
	case TwoChoices:
		return g.twoChoices(r, can)
	case Hashed:
		return g.hashed(r, key, can)
	}
	panic("proxy: no selection for policy " + string(g.options.Policy)) // NewGroup accepts Policies only
}

// roundRobin returns the next available server in turn, by weight.
func (g *Group) roundRobin(r *roster, can func(*server) bool) *server {
	start := g.turn.Add(1)
	for i := range uint64(len(r.turns)) {
		if s := r.turns[(start+i)%uint64(len(r.turns))]; can(s) {
			return s
		}
	}
	return nil
}

// leastActive starts at a different server each time, so that equally loaded servers share the requests.
func (g *Group) leastActive(r *roster, can func(*server) bool) (best *server) {
	start := g.turn.Add(1)
	for i := range uint64(r.primaries) {
		s := r.servers[(start+i)%uint64(r.primaries)]
		if can(s) && (best == nil || s.lessBusyThan(best)) {
			best = s
		}
	}
	return best
}

// lessBusyThan reports whether s has fewer requests in flight than o, relative to their weights.
func (s *server) lessBusyThan(o *server) bool {
	return (s.active.Load()+1)*int64(o.weight.Load()) < (o.active.Load()+1)*int64(s.weight.Load())
}

// twoChoices returns the less busy of two available servers that are chosen at random by weight.
func (g *Group) twoChoices(r *roster, can func(*server) bool) *server {
	var two [2]*server
	found := 0
	start := rand.Uint64()
	for i := range uint64(len(r.turns)) {
		// The step is coprime to the number of turns, so all turns are visited.
		s := r.turns[(start+i*coprimeStep(len(r.turns)))%uint64(len(r.turns))]
		if s == two[0] || !can(s) {
			continue
		}
		two[found] = s
		if found++; found == 2 {
			if two[1].lessBusyThan(two[0]) {
				return two[1]
			}
			return two[0]
		}
	}
	return two[0]
}

// coprimeStep returns a number coprime to n, so that its multiples visit all n positions.
func coprimeStep(n int) uint64 {
	for s := uint64(n)*5/8 | 1; ; s += 2 {
		if gcd(s, uint64(n)) == 1 {
			return s
		}
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// weightedTurns lists each server as often as its weight requires, evenly spread (smooth weighted round robin).
func weightedTurns(servers []*server) (turns []*server) {
	divisor, total := uint64(0), 0
	for _, s := range servers {
		divisor = gcd(divisor, uint64(s.weight.Load()))
	}
	current := make([]int, len(servers))
	for _, s := range servers {
		total += int(s.weight.Load()) / int(divisor)
	}
	for range total {
		best := 0
		for i, s := range servers {
			if current[i] += int(s.weight.Load()) / int(divisor); current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		turns = append(turns, servers[best])
	}
	return turns
}

// ringPoint is a position on the hash ring.
type ringPoint struct {
	at     uint64
	server *server
}

// ringPoints returns the hash ring. It depends on addresses and weights only, so it is the same in every process and
// after every reload.
func ringPoints(servers []*server) (points []ringPoint) {
	for _, s := range servers {
		for i := range int(s.weight.Load()) * pointsPerWeight {
			points = append(points, ringPoint{hashKey(s.Addr + "#" + strconv.Itoa(i)), s})
		}
	}
	slices.SortFunc(points, func(a, b ringPoint) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return a.server.index - b.server.index
	})
	return points
}

// hashed returns the first available server after key on the ring that is not overloaded relative to the average
// (consistent hashing with bounded loads, Mirrokni et al. 2016).
func (g *Group) hashed(r *roster, key uint64, can func(*server) bool) *server {
	active, weight := int64(1), int64(0)
	for _, s := range r.servers[:r.primaries] {
		if can(s) {
			active += s.active.Load()
			weight += int64(s.weight.Load())
		}
	}
	if weight == 0 {
		return nil
	}
	first := sort.Search(len(r.points), func(i int) bool { return r.points[i].at >= key })
	for i := range r.points {
		s := r.points[(first+i)%len(r.points)].server
		// A server may always have one request per unit of weight.
		share := max(active*int64(s.weight.Load())*overloadPercent/(100*weight), int64(s.weight.Load()))
		if can(s) && s.active.Load() <= share {
			return s
		}
	}
	return g.leastActive(r, can)
}

// hashKey hashes a key for the ring. FNV alone gives similar keys nearby positions, so its result is mixed.
func hashKey(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return mix(h.Sum64())
}

// mix spreads the bits of x.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
