// Group: its options, its servers and its lifecycle. balance.go selects a server, health.go excludes servers.

package proxy

import (
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

// ServerOptions describes one upstream server.
type ServerOptions struct {
	Addr   string // host:port or unix:/path
	Weight int    // relative share of requests; default 1, at most WeightMax
	Backup bool   // used only while no other server is available
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
	TwoChoices  Policy = "two_choices"  // the less busy of two random servers: avoids the herd effect of LeastActive
	Hashed      Policy = "hash"         // the same server for the same key, while it is available and not overloaded
)

// Policies lists all policies. Group.choose has a case for each.
var Policies = []Policy{RoundRobin, LeastActive, TwoChoices, Hashed}

// GroupOptions configures a Group. Zero fields mean the defaults.
type GroupOptions struct {
	Name    string
	Servers []ServerOptions // at least one
	Policy  Policy          // default RoundRobin
	// TLS, if not nil, makes the group use https. ServerName defaults to the host of the server.
	TLS *tls.Config
	// Host is the Host field sent to the servers. "" means that of the client.
	Host string

	HeadBytesMax   int // of a response head; default 64 KiB. Larger heads are answered with 502 and not retried
	HeaderCountMax int // fields in a response head; default 1000

	ConnsPerServerMax int           // connections to one server, per loop; default 256
	RequestsMax       int           // requests in flight to one server, over all loops; further requests use other servers; 0 means no bound
	DialTimeout       time.Duration // connecting and TLS handshake; default 2 s
	HeadTimeout       time.Duration // from the start of a try to the response head; default 30 s
	BodyTimeout       time.Duration // between two pieces of a body, in either direction; default 30 s
	IdleTimeout       time.Duration // until an idle connection is closed; default 30 s
	WaitTimeout       time.Duration // wait for a connection while all are in use; default 1 s

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

	Tracer client.Tracer // called for every request except health checks; may be nil
	Log    *slog.Logger  // default slog.Default()
}

// Check configures active health checks: a GET to each server at an interval.
type Check struct {
	Path     string        // of a GET; default "/"
	Interval time.Duration // default 5 s
	Timeout  time.Duration // default 2 s
	Rise     int           // consecutive successes after which a server is up; default 2
	Fall     int           // consecutive failures after which a server is down; default 3
	// Status is the expected status; 0 means 200 to 399.
	Status int
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
	orTime(&o.DialTimeout, 2*time.Second)
	orTime(&o.HeadTimeout, 30*time.Second)
	orTime(&o.BodyTimeout, 30*time.Second)
	orTime(&o.IdleTimeout, 30*time.Second)
	orTime(&o.WaitTimeout, time.Second)
	orTime(&o.EjectTime, 10*time.Second)
	orTime(&o.EjectTimeMax, 5*time.Minute)
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
	options   GroupOptions
	base      time.Time // start of its clock
	client    *client.Client
	servers   []*server   // backups last
	primaries int         // number of servers before the backups
	turns     []*server   // see weightedTurns
	points    []ringPoint // the hash ring
	turn      atomic.Uint64
	budget    atomic.Int64 // remaining retries, in thousandths
	counts    groupCounts

	ejecting sync.Mutex // serializes ejections
	closing  chan struct{}
	checks   sync.WaitGroup
	starting sync.Once
	ending   sync.Once
}

// server is a server of a Group and its state.
type server struct {
	ServerOptions
	index    int
	down     atomic.Bool  // according to its health check
	ejected  atomic.Int64 // end of the ejection on the group's clock, in ns; 0 if not ejected
	failures atomic.Int32 // consecutive failures
	times    atomic.Int32 // consecutive ejections
	active   atomic.Int64 // requests in flight
	counts   serverCounts
}

// NewGroup returns a Group. The error describes the invalid option.
func NewGroup(o GroupOptions) (*Group, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	g := &Group{options: o, base: time.Now(), closing: make(chan struct{})}
	limits := httpparse.DefaultLimits()
	limits.BodyBytesMax, limits.HeadBytesMax, limits.HeaderCountMax = bodyBytesMax, o.HeadBytesMax, o.HeaderCountMax
	clientOptions := client.Options{
		Limits: limits, TLS: o.TLS, ConnsPerHostMax: o.ConnsPerServerMax, IdlePerHostMax: o.ConnsPerServerMax,
		ConnsMax:    1 << 20, // reactor.Config.DialMax is the effective bound
		DialTimeout: o.DialTimeout, HeadTimeout: o.HeadTimeout, BodyTimeout: o.BodyTimeout, IdleTimeout: o.IdleTimeout,
		WaitTimeout: o.WaitTimeout, Tracer: o.Tracer,
	}
	if o.Hedge != nil {
		clientOptions.Hedge = *o.Hedge
	}
	g.client = client.New(clientOptions)
	for _, backup := range []bool{false, true} {
		for _, s := range o.Servers {
			if s.Weight == 0 {
				s.Weight = 1
			}
			if s.Backup == backup {
				g.servers = append(g.servers, &server{ServerOptions: s, index: len(g.servers)})
			}
		}
		if !backup {
			g.primaries = len(g.servers)
		}
	}
	g.turns = weightedTurns(g.servers[:g.primaries])
	if o.Policy == Hashed {
		g.points = ringPoints(g.servers[:g.primaries])
	}
	g.budget.Store(int64(o.RetryBurst) * 1000)
	return g, nil
}

// Start starts the health checks, if they are configured. Before that, all servers count as healthy.
func (g *Group) Start() {
	g.starting.Do(func() {
		if g.options.Check == nil {
			return
		}
		for _, s := range g.servers {
			g.checks.Go(func() { g.runChecks(s) })
		}
	})
}

func (o *GroupOptions) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("proxy: group %q: %s", o.Name, fmt.Sprintf(format, args...))
	}
	seen, primary := map[string]bool{}, 0
	for _, s := range o.Servers {
		switch {
		case !client.ValidAddr(s.Addr):
			return wrong("%q is neither host:port nor unix:/path", s.Addr)
		case seen[s.Addr]:
			return wrong("%s is listed twice", s.Addr)
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

// Close stops the health checks and closes idle connections. Connections in use are closed when their requests end.
// Later requests are answered with 503. The error is always nil.
func (g *Group) Close() error {
	g.ending.Do(func() { close(g.closing) })
	g.starting.Do(func() {}) // prevents a later Start
	g.checks.Wait()
	g.client.Close()
	return nil
}

// errNoServer means that no server is available.
var errNoServer = errors.New("no server of the group is available")
