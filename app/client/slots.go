package client

// This file owns the bound over the connections of all pools, and the list of
// pools that hit it. It refuses to know hosts and requests.

import (
	"sync"
	"sync/atomic"
)

// slots counts connections. Any goroutine.
type slots struct {
	max     int64
	open    atomic.Int64
	waiting atomic.Int32 // len(queue), to be asked without the lock

	mu    sync.Mutex
	queue []*pool // each once
}

// take reports whether one more connection may be opened, and counts it.
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

// give takes back what take gave, and tells the pool that waits longest.
func (s *slots) release() {
	s.open.Add(-1)
	s.notify()
}

// poke tells the pool that waits longest if there is room. Not to be called
// with the shared pool's lock held.
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

// await has p told of the next slot. The caller must try take once more
// afterwards: the slot may have been given back just before.
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
