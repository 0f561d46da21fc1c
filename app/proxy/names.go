// Host names of servers: lookups of A, AAAA and SRV records, each by a goroutine beside the loops, repeated when the
// records expire. Go's resolver does the lookups; it reports no TTL, so its connections to DNS servers are read along.

package proxy

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tafe/app/client"
)

// Names configures the lookups of host names.
//
// A name is looked up again when its records expire. Names of the hosts file have no TTL and are looked up every 10 s.
// When a lookup fails or returns no address, the servers of the last good one stay, and the lookup is repeated after
// 1 s, then less often, up to 30 s.
type Names struct {
	Server string        // DNS server, ADDRESS:PORT; "" means those of /etc/resolv.conf
	Every  time.Duration // between two lookups; 0 means the TTL of the records, at least 1 s and at most 1 h
	Family string        // of addresses: "" for both, "4" or "6"
}

const (
	lookupTimeout   = 10 * time.Second // of one lookup, with its retries
	ttlMin          = time.Second
	ttlMax          = time.Hour
	ttlOfHosts      = 10 * time.Second
	lookupRetryMin  = time.Second
	lookupRetryMax  = 30 * time.Second
	srvPrefix       = "srv:"
	unixPrefix      = "unix:"
	weightOfSRVZero = 1 // RFC 2782 gives servers with weight 0 a small chance
)

// kind is how the addresses of a source are found.
type kind uint8

const (
	literal   kind = iota // an IP address, localhost or a unix socket: used as it is
	addresses             // A and AAAA records
	services              // SRV records
)

// source is a ServerOptions of the options and its current addresses.
type source struct {
	ServerOptions
	kind       kind
	host, port string

	targets []target // guarded by Group.mu
	asked   bool     // the first lookup has ended; guarded by Group.mu
}

func newSource(s ServerOptions) *source {
	s.Weight = cmp.Or(s.Weight, 1)
	src := &source{ServerOptions: s}
	if name, ok := strings.CutPrefix(s.Addr, srvPrefix); ok {
		src.kind, src.host = services, name
		return src
	}
	src.host, src.port, _ = net.SplitHostPort(s.Addr)
	_, err := netip.ParseAddr(src.host)
	if strings.HasPrefix(s.Addr, unixPrefix) || src.host == "" || err == nil || isLocalhost(src.host) {
		src.targets, src.asked = []target{{s.Addr, s.Weight, false}}, true
		return src
	}
	src.kind = addresses
	return src
}

// isLocalhost reports whether a name is the loopback address of this machine (RFC 6761 section 6.3). Connections to it
// try both families.
func isLocalhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// tlsName is the name expected in the certificate of the servers; "" means the host of the address. The targets of SRV
// records come from the network unauthenticated, so the name is the domain of the service (RFC 6125 section 6.2.1).
func (src *source) tlsName() string {
	switch src.kind {
	case addresses:
		return strings.TrimSuffix(src.host, ".")
	case services:
		name := src.host
		for strings.HasPrefix(name, "_") {
			_, name, _ = strings.Cut(name, ".")
		}
		return strings.TrimSuffix(name, ".")
	}
	return ""
}

// hostField is the Host field of a health check; "" means the address.
func (src *source) hostField() string {
	if src.kind == addresses {
		return src.Addr
	}
	return src.tlsName()
}

// validAddr reports whether addr is valid as ServerOptions.Addr.
func validAddr(addr string) bool {
	name, srv := strings.CutPrefix(addr, srvPrefix)
	if !srv {
		return client.ValidAddr(addr)
	}
	return client.ValidAddr(name+":1") && !strings.ContainsAny(name, ":[]") && newSource(ServerOptions{Addr: addr}).tlsName() != ""
}

func validResolver(addr string) bool {
	_, err := netip.ParseAddrPort(addr)
	return err == nil
}

// follow looks src up until the group is closed.
func (g *Group) follow(src *source) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-g.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	retry := time.Duration(0)
	for {
		targets, wait, err := g.lookUp(ctx, src)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			retry = 0
		} else {
			g.counts.lookupsFailed.Add(1)
			retry = min(max(2*retry, lookupRetryMin), lookupRetryMax)
			wait = retry
		}
		g.learn(src, targets, err, retry == lookupRetryMin)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// learn applies the result of a lookup. first means that the lookup before has not failed.
func (g *Group) learn(src *source, targets []target, err error, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	asked := src.asked
	src.asked = true
	switch {
	case err != nil:
		if first {
			g.options.Log.Warn("upstream name not resolved", "upstream", g.options.Name, "name", src.Addr, "error", err.Error(), "servers", len(src.targets))
		}
		if asked {
			return
		}
	case slices.Equal(targets, src.targets):
		return
	default:
		src.targets = targets
		g.options.Log.Info("upstream name resolved", "upstream", g.options.Name, "name", src.Addr, "servers", len(targets))
	}
	g.rebuild()
}

var errNoAddress = errors.New("no address")

// lookUp returns the current targets of src in a fixed order, and the time until the next lookup.
func (g *Group) lookUp(ctx context.Context, src *source) (targets []target, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	o := &g.options.Names
	seen := &ttls{}
	r := &net.Resolver{PreferGo: true, Dial: seen.dialer(o.Server)}
	if src.kind == addresses {
		targets, err = addressTargets(ctx, r, o.Family, src.host, src.port, target{weight: src.Weight})
	} else {
		targets, err = serviceTargets(ctx, r, o.Family, src.host)
	}
	if err == nil && len(targets) == 0 {
		err = errNoAddress
	}
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.addr, b.addr) })
	targets = slices.CompactFunc(targets, func(a, b target) bool { return a.addr == b.addr })
	if o.Every > 0 {
		return targets, o.Every, err
	}
	return targets, seen.shortest(), err
}

func addressTargets(ctx context.Context, r *net.Resolver, family, host, port string, like target) (targets []target, err error) {
	ips, err := r.LookupNetIP(ctx, "ip"+family, host)
	for _, ip := range ips {
		like.addr = net.JoinHostPort(ip.Unmap().String(), port)
		targets = append(targets, like)
	}
	return targets, err
}

// serviceTargets returns the addresses of an SRV name. Records of the lowest priority are used first, all others are
// backups (RFC 2782). A target whose own lookup fails is left out while others succeed.
func serviceTargets(ctx context.Context, r *net.Resolver, family, name string) (targets []target, err error) {
	_, records, err := r.LookupSRV(ctx, "", "", name)
	if len(records) == 0 {
		return nil, err
	}
	lowest, heaviest := records[0].Priority, uint16(0)
	for _, s := range records {
		lowest, heaviest = min(lowest, s.Priority), max(heaviest, s.Weight)
	}
	var failed error
	for _, s := range records {
		like := target{weight: max(int(s.Weight), weightOfSRVZero), backup: s.Priority > lowest}
		if heaviest > WeightMax {
			like.weight = max(int(s.Weight)*WeightMax/int(heaviest), weightOfSRVZero)
		}
		if s.Target == "." { // the service is not available
			continue
		}
		more, err := addressTargets(ctx, r, family, s.Target, strconv.Itoa(int(s.Port)), like)
		if err != nil {
			failed = err
		}
		targets = append(targets, more...)
	}
	if len(targets) == 0 {
		return nil, failed
	}
	return targets, nil
}

// ttls finds the shortest TTL of the answers to the queries of one lookup. It only reads along: net.Resolver checks and
// uses the messages. A forged message can change when the next lookup is made, between ttlMin and ttlMax.
type ttls struct {
	seconds atomic.Uint32 // shortest TTL + 1; 0: none was seen
}

func (t *ttls) shortest() time.Duration {
	n := t.seconds.Load()
	if n == 0 {
		return ttlOfHosts
	}
	return min(max(time.Duration(n-1)*time.Second, ttlMin), ttlMax)
}

// dialer returns a net.Resolver.Dial that connects to server, if it is not "", in place of those of resolv.conf.
func (t *ttls) dialer(server string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, cmp.Or(server, address))
		if err != nil {
			return nil, err
		}
		if u, ok := c.(*net.UDPConn); ok { // net.Resolver finds out by its type that it keeps message boundaries
			return &datagrams{u, t}, nil
		}
		return &segments{Conn: c, ttls: t}, nil
	}
}

// saw takes the TTLs of one DNS message.
func (t *ttls) saw(message []byte) {
	var p dnsmessage.Parser
	if h, err := p.Start(message); err != nil || !h.Response || p.SkipAllQuestions() != nil {
		return
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		for n := min(h.TTL, uint32(ttlMax/time.Second)) + 1; ; {
			old := t.seconds.Load()
			if old != 0 && old <= n || t.seconds.CompareAndSwap(old, n) {
				break
			}
		}
	}
}

// datagrams is a connection to a DNS server over UDP.
type datagrams struct {
	*net.UDPConn
	ttls *ttls
}

// Read implements net.Conn.
func (c *datagrams) Read(p []byte) (int, error) {
	n, err := c.UDPConn.Read(p)
	if n > 0 {
		c.ttls.saw(p[:n])
	}
	return n, err
}

// segments is a connection to a DNS server over TCP, where a message follows its length of two bytes.
type segments struct {
	net.Conn
	ttls *ttls
	read []byte
}

// Read implements net.Conn.
func (c *segments) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read = append(c.read, p[:n]...)
	if len(c.read) > 2 {
		if length := int(binary.BigEndian.Uint16(c.read)); len(c.read) >= 2+length {
			c.ttls.saw(c.read[2 : 2+length])
			c.read = c.read[2+length:]
		}
	}
	return n, err
}
