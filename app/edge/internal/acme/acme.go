// Package acme obtains certificates by ACME (RFC 8555) and renews them, with certmagic. Handshakes read a table in memory: all work on
// certificates, which waits for disks, names and authorities, runs on goroutines beside the loops.
//
// # Files, in reading order
//
//	acme.go       Options, Manager: start, end, the names
//	entry.go      one name: its certificate and the state of its last attempt
//	renew.go      when a name is due, one attempt, the wait after a failure
//	handshake.go  the certificate for a client hello, TLS-ALPN-01
//	challenge.go  HTTP-01
//	demand.go     certificates for names that a handshake asks for
//	staple.go     OCSP responses
//	tickets.go    keys of session tickets that several processes share
//	authority.go  the authorities and their accounts
//	redis.go      Redis as storage
//	zap.go        the log of certmagic
package acme

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/net/idna"

	"tafe/loop"
)

// Options configure a Manager.
type Options struct {
	// Names get certificates without being asked for. "*.example.com" needs DNS.
	Names []string
	// Email is the contact of the accounts; "" is none.
	Email string
	// Authorities in order of preference. The next one is asked when one fails.
	Authorities []Authority
	// Storage keeps certificates, keys and accounts. Processes with the same storage share them: a name is ordered once.
	Storage certmagic.Storage
	// HTTP01 and TLSALPN01 say which challenges listeners of this process, or of one with the same storage, can answer. DNS
	// replaces both.
	HTTP01, TLSALPN01 bool
	// DNS makes records for the challenge DNS-01.
	DNS certmagic.DNSProvider
	// Resolvers are DNS servers, HOST:PORT, that find the zone of a name and its records for DNS; nil: those of the system.
	Resolvers []string
	// OnDemand, if not nil, allows certificates for other names.
	OnDemand *OnDemand
	// CheckEvery is how often the storage is read for certificates that other processes have renewed, and how much earlier than
	// planned a renewal may be; default 10 min.
	CheckEvery time.Duration
	// RetryMin is the wait after the first failure; each further failure doubles it, up to RetryMax. Defaults: 1 min, 6 h.
	RetryMin, RetryMax time.Duration
	Log                *slog.Logger // default slog.Default()
}

const (
	checkEvery     = 10 * time.Minute
	retryMin       = time.Minute
	retryMax       = 6 * time.Hour
	suggestedRatio = 1.0 / 6         // of the lifetime is left: the latest renewal, whatever the authority suggests
	attemptMax     = 5 * time.Minute // for one attempt at one name
	loadMax        = 10 * time.Second
	attemptsAtOnce = 8
	readsAtOnce    = 4  // of the storage, for challenges of other processes
	readsQueued    = 64 // beyond, challenges fail
	cleanEvery     = 24 * time.Hour
	expiredKept    = 30 * 24 * time.Hour // in the storage
)

// Manager has the certificates of a process. Any goroutine may call its methods.
type Manager struct {
	options Options
	log     *slog.Logger
	cache   *certmagic.Cache
	config  *certmagic.Config
	// suggested is config for certificates whose authority suggests when to renew.
	suggested *certmagic.Config
	issuers   []*certmagic.ACMEIssuer
	stapler   *Stapler
	reads     *loop.Pool
	demand    *demand // nil: none
	occupied  net.Listener
	entries   sync.Map // name: *entry
	first     atomic.Pointer[entry]
	attempts  chan struct{} // one element for each attempt in progress
	changed   chan struct{} // names have come or gone
	counts    counts
	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup
	closed    sync.Once
}

type counts struct{ issued, failed, asked, refused, challenges atomic.Uint64 }

// Counts are counters since the start.
type Counts struct {
	Issued     uint64 // certificates obtained or renewed by this process
	Failed     uint64 // failed attempts
	Asked      uint64 // names that OnDemand.Ask was asked about
	Refused    uint64 // handshakes for names without a certificate that were refused one
	Challenges uint64 // challenges answered
}

// New returns a Manager. It reads nothing: Load and Start do.
func New(o Options) (*Manager, error) {
	if len(o.Authorities) == 0 {
		return nil, errors.New("no authority")
	}
	if o.Storage == nil {
		return nil, errors.New("no storage")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.CheckEvery = cmp.Or(o.CheckEvery, checkEvery)
	o.RetryMin = cmp.Or(o.RetryMin, retryMin)
	o.RetryMax = max(cmp.Or(o.RetryMax, retryMax), o.RetryMin)
	m := &Manager{
		options: o, log: o.Log, reads: loop.NewPool(readsAtOnce, readsQueued), stapler: NewStapler(o.Storage),
		attempts: make(chan struct{}, attemptsAtOnce), changed: make(chan struct{}, 1),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := m.connect(); err != nil {
		m.cancel()
		return nil, err
	}
	if o.OnDemand != nil {
		m.demand = newDemand(m, *o.OnDemand)
	}
	m.setNames(o.Names)
	return m, nil
}

// CanonicalName returns a name as certificates have it: in lower case, with Punycode. The error says why no certificate can have
// it.
func CanonicalName(name string) (string, error) {
	if address, err := netip.ParseAddr(name); err == nil && address.Zone() == "" {
		return address.String(), nil
	}
	host, wildcard := strings.CutPrefix(name, "*.")
	ascii, err := idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true), idna.VerifyDNSLength(true)).ToASCII(host)
	if err != nil {
		return "", fmt.Errorf("%q is not a host name", name)
	}
	if wildcard {
		ascii = "*." + ascii
	}
	return ascii, nil
}

// Load reads the certificates of the names from the storage, for at most ten seconds, so that a process that restarts serves at
// once. Certificates that are not there are obtained after Start.
func (m *Manager) Load() {
	ctx, cancel := context.WithTimeout(m.ctx, loadMax)
	defer cancel()
	var loading sync.WaitGroup
	for e := range m.all {
		select {
		case m.attempts <- struct{}{}:
		case <-ctx.Done():
			return
		}
		loading.Go(func() {
			defer func() { <-m.attempts }()
			m.load(ctx, e)
		})
	}
	loading.Wait()
}

// Start begins to obtain and renew. The listeners must accept connections, because authorities connect to them.
func (m *Manager) Start() {
	m.running.Go(m.run)
	m.running.Go(m.yieldOccupied)
}

// Close ends all work on certificates. Handshakes still get those in memory.
func (m *Manager) Close() { m.closed.Do(m.end) }

func (m *Manager) end() {
	m.cancel()
	_ = m.occupied.Close()
	m.running.Wait()
	if m.demand != nil {
		m.demand.close()
	}
	m.cache.Stop()
	m.reads.Close()
}

// SetNames replaces the names. Certificates of names that are gone are neither served nor renewed.
func (m *Manager) SetNames(names []string) {
	m.setNames(names)
	m.wake()
}

func (m *Manager) setNames(names []string) {
	for e := range m.all {
		if !e.onDemand && !slices.Contains(names, e.name) {
			m.entries.CompareAndDelete(e.name, e)
		}
	}
	for i, name := range names {
		e := &entry{name: name}
		if before, loaded := m.entries.LoadOrStore(name, e); loaded {
			e = before.(*entry)
		}
		if i == 0 {
			m.first.Store(e)
		}
	}
	if len(names) == 0 {
		m.first.Store(nil)
	}
}

// all iterates over the entries.
func (m *Manager) all(yield func(*entry) bool) {
	m.entries.Range(func(_, e any) bool { return yield(e.(*entry)) })
}

func (m *Manager) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Counts returns the counters.
func (m *Manager) Counts() Counts {
	c := &m.counts
	return Counts{Issued: c.issued.Load(), Failed: c.failed.Load(), Asked: c.asked.Load(), Refused: c.refused.Load(), Challenges: c.challenges.Load()}
}

// Stapler returns the Stapler of the storage.
func (m *Manager) Stapler() *Stapler { return m.stapler }
