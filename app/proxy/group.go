// Group: its options and its lifecycle. roster.go has its servers, balance.go selects one, health.go excludes servers.

package proxy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tafe/app/client"
	"tafe/httpparse"
)

// ServerOptions is one upstream server, or a name of several.
type ServerOptions struct {
	// Addr is host:port, unix:/path or srv:NAME. Each address of a host name is a server of its own, and so is each
	// address of the targets of an SRV name; see names.go. An IP address and localhost are used as they are.
	Addr   string
	Weight int  // relative share of requests; default 1, at most WeightMax. SRV records have their own weights
	Backup bool // used only while no other server is available
}

// bodyBytesMax is effectively no bound: responses are streamed and never held in memory completely.
const bodyBytesMax = 1 << 60

// WeightMax is the maximum of ServerOptions.Weight.
const WeightMax = 256

// Policy selects a server of a group.
type Policy string

// The policies. All of them use available servers only.
const (
	RoundRobin  Policy = "round_robin"  // in turn, by weight
	LeastActive Policy = "least_active" // the server with the fewest requests in flight, relative to its weight
	TwoChoices  Policy = "two_choices"  // the less busy of two random servers (power of two choices; "random two" of nginx): avoids the herd effect of LeastActive
	Hashed      Policy = "hash"         // the same server for the same key, while it is available and not overloaded
)

// Policies lists all policies. Group.byPolicy has a case for each.
var Policies = []Policy{RoundRobin, LeastActive, TwoChoices, Hashed}

// GroupOptions configures a Group. Zero fields mean the defaults.
type GroupOptions struct {
	Name    string
	Servers []ServerOptions // at least one that is not a backup
	Policy  Policy          // default RoundRobin
	// TLS, if not nil, makes the group use https. ServerName defaults to the host of the server.
	TLS *tls.Config
	// Protocol is spoken to the servers; default client.HTTP1. client.HTTP2 needs TLS, and client.H2C excludes it.
	Protocol client.Protocol
	// Host is the Host field sent to the servers. "" means that of the client.
	Host string

	HeadBytesMax   int // of a response head, or its trailer section; default 64 KiB. Larger heads are answered with 502 and not retried
	HeaderCountMax int // fields in a response head; default 1000

	ConnsPerServerMax int           // connections to one server, per loop; default 256
	StreamsMax        int           // HTTP/2: requests on one connection at once; default 100. The server may allow fewer
	RequestsMax       int           // requests in flight to one server, over all loops; further requests use other servers or wait; 0 means no bound
	DialTimeout       time.Duration // connecting and TLS handshake; default 2 s
	HeadTimeout       time.Duration // from the start of a try to the response head; default 30 s
	BodyTimeout       time.Duration // between two pieces of a body, in either direction; default 30 s
	IdleTimeout       time.Duration // until an idle connection is closed; default 30 s
	WaitTimeout       time.Duration // wait for a server below RequestsMax, and for a connection while all are in use; default 1 s
	QueueMax          int           // requests that wait for a server, over all loops, and for connections to one server, per loop; default 1024; negative means none

	// Tries is the maximum number of tries of a request, on different servers if there are several; default 2. A
	// request is sent again if it could not be sent, or if it is idempotent and no response arrived.
	Tries int
	// RetryPercent bounds retries as a percentage of requests, with bursts of RetryBurst; defaults 20 and 10. Without
	// this bound a failing group would receive Tries times its load.
	RetryPercent int
	RetryBurst   int
	// Hedge, if not nil, sends idempotent requests without a body a second time if the response is late.
	Hedge *client.Hedge

	// FailuresMax is the number of consecutive failures (no connection, no response, 502, 503, 504) after which a
	// server is ejected for EjectTime, and longer each time, up to EjectTimeMax. At most half of the servers are
	// ejected at a time, so a single server never is. Defaults 5, 10 s, 5 min. A negative FailuresMax disables
	// ejection.
	FailuresMax             int
	EjectTime, EjectTimeMax time.Duration
	// Check, if not nil, enables health checks.
	Check *Check
	// SlowStart is the time in which the share of a server grows to its weight after it was added by a lookup, has
	// become available again, or was undrained; default 10 s. Negative means that it gets its share at once.
	SlowStart time.Duration
	// Sticky, if not nil, sends the requests of a client to the same server by a cookie.
	Sticky *Sticky
	// ProxyProtocol is the version, 1 or 2, of the PROXY header that tells the servers the address of the client; 0
	// sends none. The header describes one client, so each request then has a connection of its own.
	ProxyProtocol int
	Names         Names // how host names are looked up

	Tracer client.Tracer // called for every request except health checks; may be nil
	Log    *slog.Logger  // default slog.Default()
}

// Check configures active health checks: a GET to each server at an interval, or a call of gRPC.
type Check struct {
	// GRPC calls Check of grpc.health.v1 for Service in place of the GET. The group must speak HTTP/2.
	GRPC     bool
	Service  string        // "" means the server as a whole
	Path     string        // of a GET; default "/"
	Interval time.Duration // default 5 s
	Timeout  time.Duration // default 2 s
	Rise     int           // consecutive successes after which a server is up; default 2
	Fall     int           // consecutive failures after which a server is down; default 3
	// Status is the expected status; 0 means 200 to 399.
	Status int
}

// Sticky configures a cookie that names the server of a client. It is set with the first response, and again when
// another server answers. A server drained by Group.Drain still gets the requests of its clients.
type Sticky struct {
	Cookie string        // name; default "tafe_server"
	MaxAge time.Duration // 0 means until the browser is closed
}

func (o GroupOptions) withDefaults() GroupOptions {
	orInt := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	orTime := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	if o.Policy == "" {
		o.Policy = RoundRobin
	}
	orInt(&o.HeadBytesMax, 64<<10)
	orInt(&o.HeaderCountMax, 1000)
	orInt(&o.ConnsPerServerMax, 256)
	orInt(&o.Tries, 2)
	orInt(&o.RetryPercent, 20)
	orInt(&o.RetryBurst, 10)
	orInt(&o.FailuresMax, 5)
	orInt(&o.QueueMax, 1024)
	orTime(&o.DialTimeout, 2*time.Second)
	orTime(&o.HeadTimeout, 30*time.Second)
	orTime(&o.BodyTimeout, 30*time.Second)
	orTime(&o.IdleTimeout, 30*time.Second)
	orTime(&o.WaitTimeout, time.Second)
	orTime(&o.EjectTime, 10*time.Second)
	orTime(&o.EjectTimeMax, 5*time.Minute)
	if o.SlowStart == 0 {
		o.SlowStart = 10 * time.Second
	}
	if o.Sticky != nil {
		sticky := *o.Sticky
		sticky.Cookie = cmp.Or(sticky.Cookie, "tafe_server")
		o.Sticky = &sticky
	}
	if o.Check != nil {
		c := *o.Check
		if c.Path == "" {
			c.Path = "/"
		}
		orTime(&c.Interval, 5*time.Second)
		orTime(&c.Timeout, 2*time.Second)
		orInt(&c.Rise, 2)
		orInt(&c.Fall, 3)
		o.Check = &c
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Group is a set of equivalent servers. Its methods may be called from any goroutine.
type Group struct {
	options GroupOptions
	base    time.Time // start of its clock
	client  *client.Client
	roster  atomic.Pointer[roster]
	turn    atomic.Uint64
	budget  atomic.Int64 // remaining retries, in thousandths
	counts  groupCounts
	queue   queue
	started atomic.Bool

	mu       sync.Mutex // guards changes of the roster and the fields below
	sources  []*source
	leaving  []*server           // removed servers with requests in flight
	orders   map[string]operator // by address of the server
	made     int                 // servers made so far
	closed   bool
	ejecting sync.Mutex // serializes ejections

	closing    chan struct{}
	background sync.WaitGroup
	ending     sync.Once
}

// NewGroup returns a Group. The error describes the invalid option.
func NewGroup(o GroupOptions) (*Group, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	g := &Group{options: o, base: time.Now(), closing: make(chan struct{}), orders: map[string]operator{}}
	limits := httpparse.DefaultLimits()
	limits.BodyBytesMax, limits.HeadBytesMax, limits.HeaderCountMax = bodyBytesMax, o.HeadBytesMax, o.HeaderCountMax
	limits.TrailerBytesMax = o.HeadBytesMax // those of gRPC hold the details of errors
	clientOptions := client.Options{
		Limits: limits, TLS: o.TLS, ConnsPerHostMax: o.ConnsPerServerMax, IdlePerHostMax: o.ConnsPerServerMax, WaitersMax: max(o.QueueMax, 1),
		ConnsMax:    1 << 20, // reactor.Config.DialMax is the effective bound
		DialTimeout: o.DialTimeout, HeadTimeout: o.HeadTimeout, BodyTimeout: o.BodyTimeout, IdleTimeout: o.IdleTimeout,
		WaitTimeout: o.WaitTimeout, Tracer: o.Tracer, Protocol: o.Protocol, StreamsMax: o.StreamsMax,
	}
	if o.Hedge != nil {
		clientOptions.Hedge = *o.Hedge
	}
	g.client = client.New(clientOptions)
	for _, s := range o.Servers {
		g.sources = append(g.sources, newSource(s))
	}
	g.budget.Store(int64(o.RetryBurst) * 1000)
	g.rebuild()
	return g, nil
}

// Start starts the lookups of host names, and the health checks if they are configured. The first request to a server
// with a host name starts them too. Before the first check all servers count as healthy.
func (g *Group) Start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || !g.started.CompareAndSwap(false, true) {
		return
	}
	for _, src := range g.sources {
		if src.kind != literal {
			g.background.Go(func() { g.follow(src) })
		}
	}
	for _, s := range g.roster.Load().servers {
		g.startChecks(s)
	}
}

// ServerError is an error of NewGroup about the address of a server.
type ServerError struct {
	Index int // in GroupOptions.Servers
	Err   error
}

// Error returns the text of Err.
func (e *ServerError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *ServerError) Unwrap() error { return e.Err }

func (o *GroupOptions) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("proxy: group %q: %s", o.Name, fmt.Sprintf(format, args...))
	}
	seen, primary := map[string]bool{}, 0
	for i, s := range o.Servers {
		switch {
		case !validAddr(s.Addr):
			return &ServerError{i, wrong("%q is neither host:port nor unix:/path nor srv:NAME", s.Addr)}
		case seen[s.Addr]:
			return &ServerError{i, wrong("%s is listed twice", s.Addr)}
		case s.Weight < 0 || s.Weight > WeightMax:
			return wrong("the weight %d of %s is not between 1 and %d", s.Weight, s.Addr, WeightMax)
		}
		seen[s.Addr] = true
		if !s.Backup {
			primary++
		}
	}
	switch {
	case primary == 0:
		return wrong("has no server other than backups")
	case o.Protocol == client.HTTP2 && o.TLS == nil:
		return wrong("h2 needs TLS; without TLS the protocol is h2c")
	case o.Protocol == client.H2C && o.TLS != nil:
		return wrong("h2c excludes TLS; with TLS the protocol is h2")
	case o.Protocol.Multiplexed() && o.ProxyProtocol != 0:
		return wrong("a connection of HTTP/2 carries requests of several clients, and has no PROXY header")
	case o.Check != nil && o.Check.GRPC && !o.Protocol.Multiplexed():
		return wrong("a health check by gRPC needs h2 or h2c")
	case o.ProxyProtocol < 0 || o.ProxyProtocol > 2:
		return wrong("there is no version %d of the PROXY protocol", o.ProxyProtocol)
	case o.Sticky != nil && !httpparse.ValidToken(o.Sticky.Cookie):
		return wrong("%q is not the name of a cookie", o.Sticky.Cookie)
	case o.Names.Server != "" && !validResolver(o.Names.Server):
		return wrong("the resolver %q is not ADDRESS:PORT", o.Names.Server)
	case o.Tries < 1 || o.RetryPercent < 0 || o.RetryBurst < 0 || o.RequestsMax < 0 || o.HeadBytesMax < 0 || o.HeaderCountMax < 0:
		return wrong("a bound is negative")
	}
	for _, p := range Policies {
		if o.Policy == p {
			return nil
		}
	}
	return wrong("unknown policy %q", o.Policy)
}

// Name returns GroupOptions.Name.
func (g *Group) Name() string { return g.options.Name }

// Close stops the lookups and health checks and closes idle connections. Connections in use are closed when their
// requests end. Later requests are answered with 503. The error is always nil.
func (g *Group) Close() error {
	g.ending.Do(func() {
		g.mu.Lock()
		g.closed = true
		g.mu.Unlock()
		close(g.closing)
	})
	g.background.Wait()
	g.client.Close()
	return nil
}

// errNoServer means that no server is available.
var errNoServer = errors.New("no server of the group is available")
