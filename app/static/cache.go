// The cache of small files. load.go reads and revalidates files.

package static

import (
	"hash/maphash"
	"sync"
)

const shards = 8 // reduces lock contention between loops

// assetOverhead is the approximate memory of a cached asset beside its content, in bytes.
const assetOverhead = 1024

// cache keeps assets by requested name. Each shard is bounded. At a bound the clock algorithm evicts assets that were
// not used since the hand last passed, so a hit writes at most one word.
type cache struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu       sync.RWMutex
	byName   map[string]*asset
	ring     []*asset
	hand     int
	bytes    int64
	bytesMax int64
	namesMax int
	_        [64]byte
}

func newCache(bytesMax int64, namesMax int) *cache {
	k := &cache{seed: maphash.MakeSeed()}
	for i := range k.shards {
		s := &k.shards[i]
		s.byName, s.bytesMax, s.namesMax = map[string]*asset{}, bytesMax/shards, max(namesMax/shards, 1)
	}
	return k
}

func (k *cache) shard(name string) *shard { return &k.shards[maphash.String(k.seed, name)%shards] }

// get returns the cached asset for name, or nil.
func (k *cache) get(name string) *asset {
	s := k.shard(name)
	s.mu.RLock()
	a := s.byName[name]
	s.mu.RUnlock()
	if a != nil && !a.used.Load() {
		a.used.Store(true)
	}
	return a
}

// add caches a and replaces an asset of the same name. An asset larger than a shard is not cached.
func (k *cache) add(a *asset) {
	s := k.shard(a.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.byName[a.name])
	if a.bytes > s.bytesMax {
		return
	}
	for len(s.ring) >= s.namesMax || s.bytes+a.bytes > s.bytesMax {
		s.evict()
	}
	a.place = len(s.ring)
	s.ring = append(s.ring, a)
	s.byName[a.name] = a
	s.bytes += a.bytes
}

// remove removes the asset for name.
func (k *cache) remove(name string) {
	s := k.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.byName[name])
}

// evict removes the first unused asset from the hand on. It terminates, because the hand clears the used marks it
// passes.
func (s *shard) evict() {
	for {
		s.hand %= len(s.ring)
		a := s.ring[s.hand]
		if !a.used.Swap(false) {
			s.remove(a)
			return
		}
		s.hand++
	}
}

func (s *shard) remove(a *asset) {
	if a == nil {
		return
	}
	last := len(s.ring) - 1
	s.ring[a.place] = s.ring[last]
	s.ring[a.place].place = a.place
	s.ring[last] = nil
	s.ring = s.ring[:last]
	s.bytes -= a.bytes
	delete(s.byName, a.name)
}

func (k *cache) size() (names int, bytes int64) {
	for i := range k.shards {
		s := &k.shards[i]
		s.mu.RLock()
		names += len(s.ring)
		bytes += s.bytes
		s.mu.RUnlock()
	}
	return names, bytes
}
