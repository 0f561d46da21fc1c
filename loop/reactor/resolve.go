// This file turns the address of a dial into IP addresses and a port, and orders
// them. Names are looked up on a goroutine for each lookup, beside the loops.

package reactor

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"tafe/loop"
)

const (
	resolveTTL = 5 * time.Second
	namesMax   = 1024 // names in a Dialer's cache
	addrsMax   = 16   // addresses of a name that are tried
)

// resolve finds what x is to connect to. t is the calling task, or nil if the
// caller is not a task.
func (x *dialing) resolve(ctx context.Context, t *loop.Task, address string) error {
	if ctx.Err() != nil {
		return x.opError(nil, contextError(ctx))
	}
	family := ""
	switch x.network {
	case "unix":
		if x.path = address; address == "" {
			return x.opError(nil, &net.AddrError{Err: "missing address"})
		}
		return nil
	case "tcp":
	case "tcp4":
		family = "4"
	case "tcp6":
		family = "6"
	default:
		return x.opError(nil, net.UnknownNetworkError(x.network))
	}
	if literal, err := netip.ParseAddrPort(address); err == nil {
		return x.chooseAddrs(address, literal)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return x.opError(nil, err)
	}
	port, err := x.lookUpPort(ctx, t, service)
	if err != nil {
		return err
	}
	if host == "" { // this machine, as for net.Dial
		host = "127.0.0.1"
		if family == "6" {
			host = "::1"
		}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return x.chooseAddrs(address, netip.AddrPortFrom(ip, port))
	}
	ips, err := x.lookUp(ctx, t, query{"ip" + family, host})
	if err != nil {
		return err
	}
	all := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		all = append(all, netip.AddrPortFrom(ip.Addr(), port))
	}
	return x.chooseAddrs(address, all...)
}

// lookUpPort converts a port number or the name of a service.
func (x *dialing) lookUpPort(ctx context.Context, t *loop.Task, service string) (uint16, error) {
	if n, err := strconv.ParseUint(service, 10, 16); err == nil {
		return uint16(n), nil
	}
	found, err := x.lookUp(ctx, t, query{"port", service})
	if err != nil {
		return 0, err
	}
	return found[0].Port(), nil
}

// lookUp is nameCache.lookUp for x, with a *net.OpError unless the task was
// cancelled.
func (x *dialing) lookUp(ctx context.Context, t *loop.Task, q query) ([]netip.AddrPort, error) {
	found, err := x.dialer.names.lookUp(ctx, t, x, q)
	if err != nil && (t == nil || t.Err() == nil) {
		err = x.opError(nil, err)
	}
	return found, err
}

// chooseAddrs sets x.addrs to the addresses that fit the network and LocalAddr.
func (x *dialing) chooseAddrs(address string, all ...netip.AddrPort) error {
	local, err := x.localIP()
	if err != nil {
		return x.opError(nil, err)
	}
	suits := func(ip netip.Addr) bool {
		switch {
		case x.network == "tcp4" && !ip.Is4(), x.network == "tcp6" && ip.Is4():
			return false
		}
		return !local.IsValid() || local.IsUnspecified() || local.Is4() == ip.Is4()
	}
	x.addrs = x.literal[:0]
	for _, a := range all {
		if ip := a.Addr().Unmap(); suits(ip) {
			x.addrs = append(x.addrs, netip.AddrPortFrom(ip, a.Port()))
		}
	}
	if len(x.addrs) == 0 {
		return x.opError(nil, &net.AddrError{Err: "no suitable address found", Addr: address})
	}
	x.addrs = interleave(x.addrs)
	x.addrs = x.addrs[:min(len(x.addrs), addrsMax)]
	return nil
}

// interleave alternates the address families, beginning with that of the first
// address (RFC 8305 section 4).
func interleave(addrs []netip.AddrPort) []netip.AddrPort {
	if len(addrs) < 2 {
		return addrs
	}
	var families [2][]netip.AddrPort // the family of the first address, and the other
	for _, a := range addrs {
		i := 0
		if a.Addr().Is4() != addrs[0].Addr().Is4() {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	mixed := make([]netip.AddrPort, 0, len(addrs))
	for i := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			if i < len(f) {
				mixed = append(mixed, f[i])
			}
		}
	}
	return mixed
}

// nameCache has the cached answers of a Dialer and its lookups in progress. Any
// goroutine.
type nameCache struct {
	mu      sync.Mutex
	answers map[query]cachedAnswer
	lookups map[query]*lookup
}

// query is a name to be looked up: a host if the network is "ip", "ip4" or "ip6",
// or a service if it is "port".
type query struct{ network, name string }

// cachedAnswer is what a query returned, until it expires.
type cachedAnswer struct {
	addrs []netip.AddrPort // each with an address or a port only
	until time.Time
}

// lookup is one query in progress, shared by all callers that ask for the same.
type lookup struct {
	cond    loop.Cond
	waiters int // callers that wait for it
	cancel  context.CancelFunc
	ended   bool
	addrs   []netip.AddrPort
	err     error
}

// lookUp returns the cached answer of q or looks q up for x. It waits until ctx,
// the task or x.until ends the wait.
func (n *nameCache) lookUp(ctx context.Context, t *loop.Task, x *dialing, q query) ([]netip.AddrPort, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.answers[q]; ok && time.Now().Before(a.until) {
		return a.addrs, nil
	}
	u := n.lookups[q]
	if u == nil {
		u = n.startLookup(x.dialer, q)
	}
	u.waiters++
	defer n.leaveLookup(q, u)
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			u.cond.Broadcast()
		})
		defer stop()
	}
	for !u.ended {
		switch {
		case ctx.Err() != nil:
			return nil, contextError(ctx)
		case x.r.Now() >= x.until:
			return nil, errTimeout
		}
		if err := u.cond.Wait(t, x.r.loop, &n.mu, x.until); err != nil {
			return nil, err
		}
	}
	return u.addrs, u.err
}

// startLookup starts a lookup on a new goroutine. n.mu is held.
func (n *nameCache) startLookup(d *Dialer, q query) *lookup {
	ctx, cancel := context.WithTimeout(context.Background(), d.timeout())
	u := &lookup{cancel: cancel}
	if n.lookups == nil {
		n.lookups, n.answers = map[query]*lookup{}, map[query]cachedAnswer{}
	}
	n.lookups[q] = u
	go func() {
		defer cancel()
		addrs, err := d.queryResolver(ctx, q)
		n.mu.Lock()
		defer n.mu.Unlock()
		u.addrs, u.err, u.ended = addrs, err, true
		u.cond.Broadcast()
		if n.lookups[q] == u {
			delete(n.lookups, q)
			n.keepAnswer(q, u, d.ResolveTTL)
		}
	}()
	return u
}

// leaveLookup ends a caller's wait, and cancels the lookup if no other caller waits
// for it. n.mu is held.
func (n *nameCache) leaveLookup(q query, u *lookup) {
	if u.waiters--; u.waiters == 0 && !u.ended {
		delete(n.lookups, q)
		u.cancel()
	}
}

// keepAnswer caches the result of a successful lookup. n.mu is held.
func (n *nameCache) keepAnswer(q query, u *lookup, ttl time.Duration) {
	delete(n.answers, q)
	if ttl == 0 {
		ttl = resolveTTL
	}
	if u.err != nil || ttl < 0 {
		return
	}
	now := time.Now()
	if len(n.answers) >= namesMax {
		n.evict(now)
	}
	n.answers[q] = cachedAnswer{u.addrs, now.Add(ttl)}
}

// evict removes the expired answers, or an arbitrary one if none has expired.
func (n *nameCache) evict(now time.Time) {
	for q, a := range n.answers {
		if !now.Before(a.until) {
			delete(n.answers, q)
		}
	}
	for q := range n.answers {
		if len(n.answers) < namesMax {
			return
		}
		delete(n.answers, q)
	}
}

// queryResolver sends q to the resolver.
func (d *Dialer) queryResolver(ctx context.Context, q query) ([]netip.AddrPort, error) {
	resolver := d.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	if q.network == "port" {
		port, err := resolver.LookupPort(ctx, "tcp", q.name)
		return []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, uint16(port))}, err
	}
	ask := resolver.LookupNetIP
	if d.lookup != nil {
		ask = d.lookup
	}
	ips, err := ask(ctx, q.network, q.name)
	found := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		found = append(found, netip.AddrPortFrom(ip, 0))
	}
	return found, err
}
