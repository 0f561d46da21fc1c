// The bound on the connections of all pools, and the queue of pools that wait for a slot.

package client

import (
	"sync"
	"sync/atomic"
)

// slots counts connections. Its methods may be called from any goroutine.
type slots struct {
	max     int64
	open    atomic.Int64
	waiting atomic.Int32 // len(queue), readable without the lock

	mu    sync.Mutex
	queue []*pool // no duplicates
}

// acquire takes a slot and reports whether there was one.
func (s *slots) acquire() bool {
	for {
		n := s.open.Load()
		if n >= s.max {
			return false
		}
		if s.open.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release returns a slot and notifies the pool that has waited longest.
func (s *slots) release() {
	s.open.Add(-1)
	s.notify()
}

// notify wakes the pool that has waited longest, if there is a free slot. It must not be called with the lock of the
// shared pool held.
func (s *slots) notify() {
	for s.waiting.Load() > 0 && s.open.Load() < s.max {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		p := s.queue[0]
		s.queue = append(s.queue[:0], s.queue[1:]...)
		s.waiting.Add(-1)
		s.mu.Unlock()
		if p.post(p.grantFreed) {
			return
		}
	}
}

// enqueue adds p to the queue for the next free slot. The caller must then call acquire once more, because a slot may
// have been returned just before.
func (s *slots) enqueue(p *pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queue {
		if q == p {
			return
		}
	}
	s.queue = append(s.queue, p)
	s.waiting.Add(1)
}
