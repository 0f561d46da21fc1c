package client

// This file owns which request gets which connection: the idle ones of a pool,
// the slots for new ones, and the queue for both. It refuses to know what is
// sent on them.

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tafe/loop"
	"tafe/loop/reactor"
)

// hostKey tells hosts apart: what is asked, and whether by TLS.
type hostKey struct {
	tls       bool
	authority string
}

// host is one peer as one pool sees it.
type host struct {
	key           hostKey
	network, addr string
	tls           *tls.Config // nil for plain
	users         int         // exchanges that hold this host
	open          int         // connections, those being opened included
	late          int         // of these, those whose answer nobody waits for
	idle          []*conn     // last used last
	waiters       []*call     // first come first
	latency       *latency    // nil unless a request was hedged
}

// pool is what one loop has: touched by that loop alone, without locks. The one
// without a loop is shared by all other goroutines and has a lock.
type pool struct {
	client *Client
	loop   *loop.Loop
	base   time.Time // of the shared pool's clock

	mu             sync.Mutex // the shared pool's
	hosts          map[hostKey]*host
	oldest, newest *conn // idle ones of all hosts
	reapLoop       loop.Timer
	reapShared     *time.Timer
	reaping        bool
	spare          []*call
	hedgeTokens    float64

	count counters
}

// counters may be read by any goroutine.
type counters struct {
	requests, dials, reuses, poisoned, stale, retries, waits, hedges, hedgeWins, unfinished, late atomic.Uint64
	idle                                                                                          atomic.Int64
}

func newPool(c *Client, l *loop.Loop) *pool {
	return &pool{client: c, loop: l, base: time.Now(), hosts: map[hostKey]*host{}}
}

func (p *pool) lock() {
	if p.loop == nil {
		p.mu.Lock()
	}
}

func (p *pool) unlock() {
	if p.loop == nil {
		p.mu.Unlock()
	}
}

// now is the pool's clock in ns, a slice old at most on a loop.
func (p *pool) now() int64 {
	if p.loop != nil {
		return p.loop.Now()
	}
	return p.clock()
}

// clock is now, read anew.
func (p *pool) clock() int64 {
	if p.loop != nil {
		return p.loop.Clock()
	}
	return int64(time.Since(p.base))
}

// post runs fn where the pool may be touched. It is false when its loop has
// stopped; the loop's engine has closed its connections then.
func (p *pool) post(fn func()) bool {
	if p.loop != nil {
		return p.loop.PostUnbounded(fn)
	}
	fn()
	return true
}

// dial connects by whatever Options or the kind of goroutine ask for. entered is
// for Options.Dial, which is user code: see outside.go.
func (p *pool) dial(ctx context.Context, t *loop.Task, entered loop.Crossing, network, addr string) (net.Conn, error) {
	o := &p.client.options
	switch {
	case o.Dial != nil:
		t.Leave(entered)
		defer reenter(t, entered)
		return o.Dial(ctx, network, addr)
	case t != nil:
		d := reactor.Dialer{Timeout: o.DialTimeout}
		return d.DialTask(ctx, t, network, addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// hostFor finds or makes the host of a key, whose strings may be views.
func (p *pool) hostFor(k hostKey) (*host, error) {
	p.lock()
	defer p.unlock()
	if h := p.hosts[k]; h != nil {
		h.users++
		return h, nil
	}
	network, addr, name, err := dialTarget(k)
	if err != nil {
		return nil, err
	}
	if len(p.hosts) >= p.client.options.HostsMax {
		p.dropUnusedHosts()
	}
	k.authority = strings.Clone(k.authority)
	h := &host{key: k, network: network, addr: strings.Clone(addr), users: 1}
	if k.tls {
		h.tls = p.client.tlsFor(strings.Clone(name))
	}
	p.hosts[k] = h
	return h, nil
}

// forgetHosts drops the hosts that nobody uses.
func (p *pool) dropUnusedHosts() {
	for k, h := range p.hosts {
		if h.open == 0 && h.users == 0 {
			delete(p.hosts, k)
		}
	}
}

// tlsFor is the configuration for a host. ALPN offers what is spoken here; it
// would be a surprise to be answered in HTTP/2.
func (c *Client) tlsFor(name string) *tls.Config {
	config := c.options.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName = name
	}
	if config.ClientSessionCache == nil {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	}
	config.NextProtos = []string{"http/1.1"}
	return config
}

// take gives x an idle connection, or the slot to open one, or, with neither,
// a place in the queue. fresh is for a request that must not have an idle one.
func (p *pool) acquire(x *call, fresh bool) (c *conn, slot bool, err error) {
	p.lock()
	defer p.unlock()
	h, o := x.host, &p.client.options
	switch {
	case p.client.closed.Load():
		return nil, false, ErrClosed
	case !fresh && len(h.idle) > 0:
		return p.popIdle(h), false, nil
	case h.open < o.ConnsPerHostMax && p.acquireSlot():
		h.open++
		return nil, true, nil
	case len(h.idle) > 0: // its slot is what fresh needs
		_ = p.popIdle(h).Close()
		return nil, true, nil
	case len(h.waiters) >= o.WaitersMax:
		return nil, false, ErrQueueFull
	}
	p.enqueue(x)
	return nil, false, nil
}

func (p *pool) enqueue(x *call) {
	x.granted, x.slotGranted, x.failed, x.queued = nil, false, nil, true
	x.host.waiters = append(x.host.waiters, x)
}

// takeSlot finds room below ConnsMax, at the cost of the pool's oldest idle
// connection if need be. Failing that it asks for the next slot that is free.
func (p *pool) acquireSlot() bool {
	s := &p.client.slots
	if s.acquire() {
		return true
	}
	if c := p.oldest; c != nil {
		p.removeIdle(c)
		c.host.open--
		_ = c.Close()
		return true
	}
	s.enqueue(p)
	if s.acquire() {
		return true
	}
	for _, other := range *p.client.pools.Load() {
		if other != p && other.count.idle.Load() > 0 && other.post(other.closeOldest) {
			break
		}
	}
	return false
}

// put takes back a connection that is as good as new.
func (p *pool) putIdle(c *conn) {
	h := c.host
	p.lock()
	if len(h.waiters) > 0 {
		p.grant(h, c)
		p.unlock()
		return
	}
	full := len(h.idle) >= p.client.options.IdlePerHostMax || p.client.slots.waiting.Load() > 0
	if full || p.client.closed.Load() {
		p.unlock()
		p.retire(c)
		return
	}
	c.idleSince, c.wasIdle = p.now(), true
	h.idle = append(h.idle, c)
	if c.older = p.newest; c.older != nil {
		c.older.newer = c
	} else {
		p.oldest = c
	}
	p.newest = c
	p.count.idle.Add(1)
	p.armReaper()
	p.unlock()
}

// retire closes a connection and frees its slot.
func (p *pool) retire(c *conn) {
	_ = c.Close()
	p.freeSlot(c.host)
}

// freeSlot passes the slot of a connection that is no more to the next in the
// host's queue, or back.
func (p *pool) freeSlot(h *host) {
	p.lock()
	if len(h.waiters) > 0 && !p.client.closed.Load() {
		p.grant(h, nil)
		p.unlock()
		return
	}
	h.open--
	p.unlock()
	p.client.slots.release()
}

// grant ends the wait of the first in the queue: with c, or with a slot.
func (p *pool) grant(h *host, c *conn) {
	x := h.waiters[0]
	p.unqueue(x)
	x.granted, x.slotGranted = c, c == nil
	x.wake(true)
}

func (p *pool) unqueue(x *call) {
	w := x.host.waiters
	for i := range w {
		if w[i] == x {
			copy(w[i:], w[i+1:])
			w[len(w)-1] = nil
			x.host.waiters = w[:len(w)-1]
			break
		}
	}
	x.queued = false
}

// pump hands slots that became free elsewhere to those who wait here, and lets
// the next pool have what is left.
func (p *pool) grantFreed() {
	if s := &p.client.slots; p.grantSlots(s) {
		s.notify()
	}
}

// grantSlots reports whether nobody waits here any more.
func (p *pool) grantSlots(s *slots) bool {
	p.lock()
	defer p.unlock()
	for _, h := range p.hosts {
		for len(h.waiters) > 0 && h.open < p.client.options.ConnsPerHostMax {
			if !s.acquire() {
				if s.enqueue(p); !s.acquire() {
					return false
				}
			}
			h.open++
			p.grant(h, nil)
		}
	}
	return true
}

// popIdle takes the connection used last: the least likely to be stale.
func (p *pool) popIdle(h *host) *conn {
	c := h.idle[len(h.idle)-1]
	p.removeIdle(c)
	return c
}

func (p *pool) removeIdle(c *conn) {
	idle := c.host.idle
	for i := len(idle) - 1; i >= 0; i-- {
		if idle[i] == c {
			copy(idle[i:], idle[i+1:])
			idle[len(idle)-1] = nil
			c.host.idle = idle[:len(idle)-1]
			break
		}
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		p.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		p.newest = c.older
	}
	c.older, c.newer = nil, nil
	p.count.idle.Add(-1)
}

// armReaper has reap called when the oldest idle connection is due.
func (p *pool) armReaper() {
	if p.reaping || p.oldest == nil {
		return
	}
	p.reaping = true
	d := time.Duration(p.oldest.idleSince + int64(p.client.options.IdleTimeout) - p.now())
	if p.loop != nil {
		p.reapLoop.Owner = p
		p.loop.AfterFunc(&p.reapLoop, d, func(t *loop.Timer) { t.Owner.(*pool).reap() })
		return
	}
	if p.reapShared == nil {
		p.reapShared = time.AfterFunc(d, p.reap)
		return
	}
	p.reapShared.Reset(d)
}

// reap closes what has been idle for too long.
func (p *pool) reap() { p.closeIdleSince(p.now()-int64(p.client.options.IdleTimeout), -1) }

// closeIdle closes every idle connection.
func (p *pool) closeIdle() {
	p.closeIdleSince(1<<63-1, -1)
	p.lock()
	defer p.unlock()
	if p.oldest == nil {
		p.reaping = false
		if p.loop != nil {
			p.loop.StopTimer(&p.reapLoop)
		} else if p.reapShared != nil {
			p.reapShared.Stop()
		}
	}
}

// closeOldest closes one, because another pool needs its slot.
func (p *pool) closeOldest() { p.closeIdleSince(1<<63-1, 1) }

// closeIdleSince closes at most n connections that became idle at or before
// since; n < 0 is all. It runs on the loop outside tasks: nothing here waits.
func (p *pool) closeIdleSince(since int64, n int) {
	for ; n != 0; n-- {
		p.lock()
		c := p.oldest
		if c == nil || c.idleSince > since {
			p.reaping = false
			p.armReaper()
			p.unlock()
			return
		}
		p.removeIdle(c)
		p.unlock()
		p.retire(c)
	}
}
