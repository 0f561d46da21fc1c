// Assignment of connections to calls: the idle connections of a pool, the slots for new ones, and the wait queue of
// each host.

package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tafe/app/internal/http2"
	"tafe/loop"
	"tafe/loop/reactor"
)

// hostKey identifies a host: its authority, whether TLS is used, and the name in its certificate if that differs.
type hostKey struct {
	tls        bool
	authority  string
	serverName string
}

// host is one server in one pool.
type host struct {
	key           hostKey
	network, addr string
	tls           *tls.Config // nil for http
	users         int         // calls that use this host
	open          int         // connections, including those being opened
	late          int         // connections that read a late response
	dialing       int         // connections being opened by a dialTask
	promised      int         // HTTP/2: slots that were granted, and for which no dialTask has begun
	idle          []*conn     // in the order of last use
	muxes         []*conn     // HTTP/2: connections that take calls
	streams       int         // HTTP/2: calls that a new connection is taken to carry at once, 1 to Options.StreamsMax
	fruitless     int         // HTTP/2: connections that ended, while calls waited, before they carried one, since the last response
	waiters       []*call     // first in, first out
	latency       *latency    // nil unless a request was hedged
}

// pool holds the connections of one loop and is used on that loop only, without locks. The shared pool has no loop,
// serves all other goroutines and has a lock.
type pool struct {
	client *Client
	loop   *loop.Loop
	base   time.Time // start of the shared pool's clock

	mu             sync.Mutex // used by the shared pool only
	hosts          map[hostKey]*host
	oldest, newest *conn // list of idle connections of all hosts
	reapLoop       loop.Timer
	reapShared     *time.Timer
	reaping        bool
	spare          []*call
	hedgeTokens    float64
	shared         http2.Shared // HTTP/2: of its connections

	count counters
}

// counters may be read from any goroutine.
type counters struct {
	requests, dials, reuses, poisoned, stale, retries, waits, hedges, hedgeWins, unfinished, late atomic.Uint64
	idle                                                                                          atomic.Int64
}

func newPool(c *Client, l *loop.Loop) *pool {
	p := &pool{client: c, loop: l, base: time.Now(), hosts: map[hostKey]*host{}}
	if c.options.Protocol.Multiplexed() {
		p.shared.Limits = http2Limits(&c.options)
	}
	return p
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

// now returns the clock of the pool, in ns. On a loop it is at most one slice old.
func (p *pool) now() int64 {
	if p.loop != nil {
		return p.loop.Now()
	}
	return p.clock()
}

// clock returns the current time on the clock of the pool, in ns.
func (p *pool) clock() int64 {
	if p.loop != nil {
		return p.loop.Clock()
	}
	return int64(time.Since(p.base))
}

// post runs fn on the loop of the pool. It returns false if the loop has stopped; the connections are closed then.
func (p *pool) post(fn func()) bool {
	if p.loop != nil {
		return p.loop.PostUnbounded(fn)
	}
	fn()
	return true
}

// dial opens a connection with Options.Dial or the default. entered is for Options.Dial, which is user code (see
// usercode.go).
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

// hostFor returns the host for k, and adds it if needed. The strings of k may be views.
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
	k.authority, k.serverName = strings.Clone(k.authority), strings.Clone(k.serverName)
	h := &host{key: k, network: network, addr: strings.Clone(addr), users: 1, streams: p.client.options.StreamsMax}
	if k.tls {
		h.tls = p.client.tlsFor(cmp.Or(k.serverName, strings.Clone(name)))
	}
	p.hosts[k] = h
	return h, nil
}

// dropUnusedHosts removes hosts without connections and calls.
func (p *pool) dropUnusedHosts() {
	for k, h := range p.hosts {
		if h.open == 0 && h.users == 0 {
			delete(p.hosts, k)
		}
	}
}

// tlsFor returns the TLS configuration for a host. ALPN offers the protocol of the client only.
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
	config.NextProtos = []string{string(HTTP1)}
	if c.options.Protocol.Multiplexed() {
		config.NextProtos = []string{string(HTTP2)}
	}
	return config
}

// acquire returns an idle connection or a slot for a new one. If there is neither, it adds x to the wait queue. fresh
// excludes idle connections.
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
	case len(h.idle) > 0: // fresh takes over its slot
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

// acquireSlot takes a slot below ConnsMax, if necessary by closing the oldest idle connection of the pool. If there
// is none, it queues the pool for the next free slot and asks another pool to close an idle connection.
func (p *pool) acquireSlot() bool {
	s := &p.client.slots
	if s.acquire() {
		return true
	}
	if c := p.oldest; c != nil {
		p.cede(c)
		c.host.open--
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

// cede closes an idle connection, whose slot becomes the caller's.
func (p *pool) cede(c *conn) {
	if c.mux != nil {
		c.mux.ceded = true
	} else {
		p.removeIdle(c)
	}
	_ = c.Close()
}

// putIdle makes c available for the next request.
func (p *pool) putIdle(c *conn) {
	if c.mux != nil {
		p.releaseMux(c)
		return
	}
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
	p.addIdle(c)
	p.unlock()
}

// addIdle adds c to the idle connections, as the one used last.
func (p *pool) addIdle(c *conn) {
	c.idleSince, c.wasIdle = p.now(), true
	c.host.idle = append(c.host.idle, c)
	if c.older = p.newest; c.older != nil {
		c.older.newer = c
	} else {
		p.oldest = c
	}
	p.newest = c
	p.count.idle.Add(1)
	p.armReaper()
}

// retire closes a connection and frees its slot, with HTTP/2 after its streams.
func (p *pool) retire(c *conn) {
	_ = c.Close()
	if c.mux == nil {
		p.freeSlot(c.host)
	}
}

// freeSlot passes the slot of a closed connection to the first call in the wait queue of the host, or returns it.
func (p *pool) freeSlot(h *host) {
	p.lock()
	wanted := len(h.waiters) > 0 && !p.client.closed.Load()
	if p.client.options.Protocol.Multiplexed() {
		wanted = wanted && len(h.waiters) > h.coming()*h.streams
	}
	if wanted {
		p.grant(h, nil)
		p.unlock()
		return
	}
	h.open--
	p.unlock()
	p.client.slots.release()
}

// grant gives c, or a slot if c is nil, to the first call in the wait queue.
func (p *pool) grant(h *host, c *conn) {
	x := h.waiters[0]
	p.unqueue(x)
	x.granted, x.slotGranted = c, c == nil
	if c == nil && p.client.options.Protocol.Multiplexed() {
		h.promised++
	}
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

// grantFreed grants slots that other pools have freed, and passes remaining slots to the next pool.
func (p *pool) grantFreed() {
	if s := &p.client.slots; p.grantSlots(s) {
		s.notify()
	}
}

// grantSlots reports whether all wait queues of the pool are empty or at their bound.
func (p *pool) grantSlots(s *slots) bool {
	p.lock()
	defer p.unlock()
	for _, h := range p.hosts {
		for len(h.waiters) > 0 && h.open < p.client.options.ConnsPerHostMax {
			if p.client.options.Protocol.Multiplexed() && !p.needsMux(h) {
				break
			}
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

// popIdle removes the connection used last, which is the least likely to be stale.
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

// armReaper schedules reap for the time when the oldest idle connection expires.
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

// reap closes expired idle connections.
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

// closeOldest closes one idle connection, because another pool needs its slot.
func (p *pool) closeOldest() { p.closeIdleSince(1<<63-1, 1) }

// closeIdleSince closes at most n connections that became idle at or before since; n < 0 means all. On a loop it runs
// outside tasks and does not wait.
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
		if c.mux != nil {
			c.mux.idle = false
		}
		p.unlock()
		p.retire(c)
	}
}
