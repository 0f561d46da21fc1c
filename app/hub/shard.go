// The clients of one loop, and how messages are written to them.

package hub

import "tafe/loop"

// batchMax is to how many clients a loop writes before it does other work. A write takes some 6 us.
const batchMax = 64

// shard holds the clients of a Hub on one loop. Only that loop uses it, except where noted.
type shard struct {
	hub   *Hub
	loop  *loop.Loop
	woken bool // see is posted; guarded by hub.mu

	members []*member // nil: has left
	holes   int
	kept    []*message // as of the last look at the hub
	last    uint64
	next    int  // of members, in the pass that is running
	passing bool // a pass is running: it writes to all members that are behind
	again   bool // another one follows it
}

// member is a client of a shard.
type member struct {
	shard    *shard
	client   client
	position uint64 // number of the last message that it was sent
	pos      int    // in shard.members
	blocked  bool   // it has too much unsent
	closing  bool   // it is being disconnected
	left     bool
}

// wake makes the loop look at the hub's messages. hub.mu is held. It reports false if the loop has ended.
func (s *shard) wake() bool {
	if s.woken {
		return true
	}
	s.woken = s.loop.PostUnbounded(s.see)
	return s.woken
}

// see looks at the hub's messages and starts a pass. On the loop.
func (s *shard) see() {
	s.hub.mu.Lock()
	s.woken = false
	s.kept, s.last = s.hub.kept, s.hub.last
	s.hub.mu.Unlock()
	if s.passing {
		s.again = true
		return
	}
	s.compact()
	s.passing, s.next = true, 0
	s.pass()
}

// pass writes to the next batchMax members that are behind, and posts the rest behind the I/O that is ready.
func (s *shard) pass() {
	for n := 0; s.next < len(s.members); s.next++ {
		m := s.members[s.next]
		if m == nil || m.position == s.last {
			continue
		}
		if n++; n > batchMax {
			if s.loop.PostUnbounded(s.pass) {
				return
			}
		}
		m.feed()
	}
	s.passing = false
	if s.again {
		s.again = false
		s.see()
		return
	}
	s.tidy()
}

// compact removes the holes of members. No pass is running.
func (s *shard) compact() {
	if s.holes <= len(s.members)/2 {
		return
	}
	kept := s.members[:0]
	for _, m := range s.members {
		if m != nil {
			m.pos = len(kept)
			kept = append(kept, m)
		}
	}
	clear(s.members[len(kept):])
	s.members, s.holes = kept, 0
}

// feed writes the messages that m has not got, until too much of them is unsent.
func (m *member) feed() {
	s := m.shard
	for !m.left && !m.closing && m.position < s.last {
		oldest := s.last - uint64(len(s.kept)) + 1
		if m.position+1 < oldest && !m.skip(oldest) {
			return
		}
		if m.blocked {
			return
		}
		if m.client.unsent() >= s.hub.options.UnsentMax {
			m.blocked = true
			m.client.whenDrained(s.hub.options.UnsentMax/2, func() {
				m.blocked = false
				m.feed()
			})
			continue // WhenDrained may have called it already
		}
		m.position++
		m.client.send(s.kept[m.position-oldest])
	}
}

// skip handles a member that has missed messages that are not kept any more. It reports whether the member goes on, with the oldest one.
func (m *member) skip(oldest uint64) bool {
	h := m.shard.hub
	if h.options.Slow == SlowClose {
		h.disconnected.Add(1)
		m.closing = true
		m.client.closeSlow()
		return false
	}
	h.dropped.Add(oldest - 1 - m.position)
	m.position = oldest - 1
	return true
}

// leave removes m. On the loop. A second call has no effect.
func (m *member) leave() {
	if m.left {
		return
	}
	m.left = true
	s := m.shard
	s.members[m.pos] = nil
	s.holes++
	s.hub.clients.Add(-1)
	s.tidy()
}

// tidy ends a shard that has no members any more.
func (s *shard) tidy() {
	if s.holes == len(s.members) && !s.passing {
		s.members, s.holes, s.kept = nil, 0, nil
		s.hub.forget(s)
	}
}

// forget removes a shard without members. It is called on its loop, where members are added.
func (h *Hub) forget(s *shard) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shards[s.loop] == s {
		delete(h.shards, s.loop)
	}
}

// endAll ends the streams of all members. On the loop.
func (s *shard) endAll() {
	for _, m := range s.members {
		if m != nil {
			m.client.end()
		}
	}
}
