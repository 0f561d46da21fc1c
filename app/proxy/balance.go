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

// pick selects an available server that was not tried, and returns nil if there is none. key is for Hashed. The
// caller must call finish when the request ends.
func (g *Group) pick(key uint64, tried []*server) *server {
	now := g.clock()
	s := g.choose(now, key, tried)
	if s == nil {
		s = g.firstOf(g.servers[g.primaries:], now, tried)
	}
	if s == nil && len(tried) > 0 { // retry a server if there is no other
		return g.pick(key, nil)
	}
	if s != nil {
		s.active.Add(1)
	}
	return s
}

// choose selects a server that is not a backup. Each of Policies has a case.
func (g *Group) choose(now int64, key uint64, tried []*server) *server {
	can := func(s *server) bool { return g.available(s, now) && !slices.Contains(tried, s) }
	if g.primaries == 1 { // most groups
		if s := g.servers[0]; can(s) {
			return s
		}
		return nil
	}
	switch g.options.Policy {
	case RoundRobin:
		return g.roundRobin(can)
	case LeastActive:
		return g.leastActive(can)
	case TwoChoices:
		return g.twoChoices(can)
	case Hashed:
		return g.hashed(key, can)
	}
	panic("proxy: no selection for policy " + string(g.options.Policy)) // NewGroup accepts Policies only
}

// roundRobin returns the next available server in turn, by weight.
func (g *Group) roundRobin(can func(*server) bool) *server {
	start := g.turn.Add(1)
	for i := range uint64(len(g.turns)) {
		if s := g.turns[(start+i)%uint64(len(g.turns))]; can(s) {
			return s
		}
	}
	return nil
}

func (g *Group) firstOf(servers []*server, now int64, tried []*server) *server {
	for _, s := range servers {
		if g.available(s, now) && !slices.Contains(tried, s) {
			return s
		}
	}
	return nil
}

// leastActive starts at a different server each time, so that equally loaded servers share the requests.
func (g *Group) leastActive(can func(*server) bool) (best *server) {
	start := g.turn.Add(1)
	for i := range uint64(g.primaries) {
		s := g.servers[(start+i)%uint64(g.primaries)]
		if can(s) && (best == nil || s.lessBusyThan(best)) {
			best = s
		}
	}
	return best
}

// lessBusyThan reports whether s has fewer requests in flight than o, relative to their weights.
func (s *server) lessBusyThan(o *server) bool {
	return (s.active.Load()+1)*int64(o.Weight) < (o.active.Load()+1)*int64(s.Weight)
}

// twoChoices returns the less busy of two available servers that are chosen at random by weight.
func (g *Group) twoChoices(can func(*server) bool) *server {
	var two [2]*server
	found := 0
	start := rand.Uint64()
	for i := range uint64(len(g.turns)) {
		// The step is coprime to the number of turns, so all turns are visited.
		s := g.turns[(start+i*coprimeStep(len(g.turns)))%uint64(len(g.turns))]
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
		divisor = gcd(divisor, uint64(s.Weight))
	}
	current := make([]int, len(servers))
	for _, s := range servers {
		total += s.Weight / int(divisor)
	}
	for range total {
		best := 0
		for i, s := range servers {
			if current[i] += s.Weight / int(divisor); current[i] > current[best] {
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
		for i := range s.Weight * pointsPerWeight {
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
func (g *Group) hashed(key uint64, can func(*server) bool) *server {
	active, weight := int64(1), int64(0)
	for _, s := range g.servers[:g.primaries] {
		if can(s) {
			active += s.active.Load()
			weight += int64(s.Weight)
		}
	}
	if weight == 0 {
		return nil
	}
	first := sort.Search(len(g.points), func(i int) bool { return g.points[i].at >= key })
	for i := range g.points {
		s := g.points[(first+i)%len(g.points)].server
		// A server may always have one request per unit of weight.
		share := max(active*int64(s.Weight)*overloadPercent/(100*weight), int64(s.Weight))
		if can(s) && s.active.Load() <= share {
			return s
		}
	}
	return g.leastActive(can)
}

// hashKey hashes a key for the ring. FNV alone gives similar keys nearby positions, so its result is mixed.
func hashKey(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
