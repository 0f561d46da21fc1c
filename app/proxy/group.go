// This file owns the upstream group: what it is made of, and its life. Who is asked is balance.go's, who is left out health.go's.

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

// Server is one upstream server.
type Server struct {
	Addr   string // host:port or unix:/path
	Weight int    // its share beside the others; default 1, at most WeightMax
	Backup bool   // asked only while no other server can be
}

// bodyBytesMax is no bound in practice: answers are streamed, and never in memory as a whole.
const bodyBytesMax = 1 << 60

// WeightMax bounds Server.Weight.
const WeightMax = 256

// Policy says which of a group's servers is asked.
type Policy string

// The policies. All of them leave out servers that cannot be asked.
const (
	RoundRobin  Policy = "round_robin"  // in turn, by weight
	LeastActive Policy = "least_active" // who has the fewest requests in flight for its weight
	TwoChoices  Policy = "two_choices"  // the less busy of two that chance picks: as good as LeastActive, without a herd
	Hashed      Policy = "hash"         // the same server for the same key, as long as it can be asked and is not overloaded
)

// Policies lists them.
var Policies = []Policy{RoundRobin, LeastActive, TwoChoices, Hashed}

// GroupOptions are what a Group is made of. Zero fields take the defaults.
type GroupOptions struct {
	Name    string
	Servers []Server // at least one
	Policy  Policy   // default RoundRobin
	// TLS speaks https to the servers; nil: http. ServerName is the server's host unless set.
	TLS *tls.Config
	// Host is the Host field that the servers are sent; "": the client's.
	Host string

	HeadBytesMax   int // of the head of an answer; default 64 KiB. Larger ones are answered with 502, and not asked for again
	HeaderCountMax int // of its fields; default 1000

	ConnsPerServerMax int           // connections to one server, per loop; default 256
	RequestsMax       int           // requests in flight to one server, of all loops; beyond, others are asked; 0: no bound
	DialTimeout       time.Duration // for connecting and the TLS handshake; default 2 s
	HeadTimeout       time.Duration // of one try, from its start to the head of the answer; default 30 s
	BodyTimeout       time.Duration // between two pieces of a body, either way; default 30 s
	IdleTimeout       time.Duration // until an idle connection is closed; default 30 s
	WaitTimeout       time.Duration // for a connection while all are in use; default 1 s

	// Tries bounds how often a request is sent, to different servers where there are several; default 2. A request is sent
	// again if it could not be sent, or if it is idempotent and no answer came.
	Tries int
	// RetryPercent bounds retries to this share of requests, with bursts of RetryBurst; default 20 and 10. Without a bound,
	// a group that fails gets Tries times its load.
	RetryPercent int
	RetryBurst   int
	// Hedge sends idempotent requests without a body a second time when the answer is late; nil: never.
	Hedge *client.Hedge

	// FailuresMax ejects a server after so many failures in a row (no connection, no answer, 502, 503, 504), for EjectTime,
	// and longer each time up to EjectTimeMax. At most half of the servers are ejected at a time, so a lone one never is.
	// Default 5, 10 s, 5 min; FailuresMax < 0: never.
	FailuresMax             int
	EjectTime, EjectTimeMax time.Duration
	// Check, if not nil, asks every server from time to time.
	Check *Check

	Tracer client.Tracer // told of every request to a server, but those of Check; nil: nobody
	Log    *slog.Logger  // default slog.Default()
}

// Check is an active health check.
type Check struct {
	Path     string        // of a GET; default "/"
	Interval time.Duration // default 5 s
	Timeout  time.Duration // default 2 s
	Rise     int           // successes in a row that bring a server back; default 2
	Fall     int           // failures in a row that take it out; default 3
	// Status is what counts as a success; 0: 200 to 399.
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

// Group is a set of servers that can answer the same requests.
type Group struct {
	options   GroupOptions
	base      time.Time // of its clock
	client    *client.Client
	servers   []*server   // backups last
	primaries int         // servers before the backups
	turns     []*server   // the primaries by weight, in the order of their turns
	points    []ringPoint // of the hash ring
	turn      atomic.Uint64
	budget    atomic.Int64 // retries that are left, in thousandths
	counts    groupCounts

	ejecting sync.Mutex // decisions about who is ejected
	closing  chan struct{}
	checks   sync.WaitGroup
	starting sync.Once
	ending   sync.Once
}

// server is one server and what is known of it.
type server struct {
	Server
	index    int
	down     atomic.Bool  // by its health check
	ejected  atomic.Int64 // until, ns of the group's clock; 0: not
	failures atomic.Int32 // in a row
	times    atomic.Int32 // ejected in a row
	active   atomic.Int64 // requests in flight
	counts   serverCounts
}

// NewGroup makes a Group. The error tells what is wrong with o.
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
		ConnsMax:    1 << 20, // loop.Config.DialMax bounds them all
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
				g.servers = append(g.servers, &server{Server: s, index: len(g.servers)})
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

// Start starts the health checks, if there are any. Until then all servers count as healthy.
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
		return wrong("has no server that is not a backup")
	case o.Tries < 1 || o.RetryPercent < 0 || o.RetryBurst < 0 || o.RequestsMax < 0 || o.HeadBytesMax < 0 || o.HeaderCountMax < 0:
		return wrong("a bound is negative")
	}
	for _, p := range Policies {
		if o.Policy == p {
			return nil
		}
	}
	return wrong("no policy %q", o.Policy)
}

// Name is that of the options.
func (g *Group) Name() string { return g.options.Name }

// Close ends the checks and closes idle connections; those in use are closed when their requests end. Requests made from now
// on are answered with 503. The error is nil.
func (g *Group) Close() error {
	g.ending.Do(func() { close(g.closing) })
	g.starting.Do(func() {}) // not any more
	g.checks.Wait()
	g.client.Close()
	return nil
}

// errNoServer: there is nobody to ask.
var errNoServer = errors.New("no server of the group can be asked")
