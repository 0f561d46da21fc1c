// One name: its certificate, and the state of the work on it.

package acme

import (
	"crypto/tls"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// entry is one name of a Manager.
type entry struct {
	name     string
	onDemand bool
	served   atomic.Pointer[tls.Certificate] // nil: none yet
	usedAt   atomic.Int64                    // Unix time in seconds; on demand only
	// replacedAt is when a certificate that was revoked was replaced; zero once a responder has called one good. Only attempts use it, of
	// which there is one at a time.
	replacedAt time.Time

	mu    sync.Mutex
	state state
}

// state is what an attempt leaves behind.
type state struct {
	busy       bool      // an attempt is in progress
	due        time.Time // of the next attempt
	renewal    time.Time // planned; zero: not known
	failures   int       // in a row
	problem    string    // of the last attempt, "" after a good one
	failedAt   time.Time
	staple     string    // status of the OCSP response
	stapleEnds time.Time // end of the response that is served, if it could not be replaced
}

// Certificate is the state of one name.
type Certificate struct {
	Name     string
	OnDemand bool
	Issuer   string
	Expires  time.Time // zero: there is no certificate yet
	Renewal  time.Time // planned time of the next renewal; zero: not known
	Next     time.Time // time of the next attempt after a failure
	Problem  string    // of the last attempt; "" if it was good
	Failures int       // attempts that have failed since the last good one
	FailedAt time.Time
	Staple   string // status of the OCSP response; "" if the certificate names no responder
}

// Certificates returns the state of all names, those that expire first before the others.
func (m *Manager) Certificates() (all []Certificate) {
	for e := range m.all {
		all = append(all, e.show())
	}
	slices.SortFunc(all, func(a, b Certificate) int {
		if c := a.Expires.Compare(b.Expires); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

func (e *entry) show() Certificate {
	e.mu.Lock()
	s := e.state
	e.mu.Unlock()
	c := Certificate{Name: e.name, OnDemand: e.onDemand, Renewal: s.renewal, Problem: s.problem, Failures: s.failures, FailedAt: s.failedAt, Staple: s.staple}
	if s.problem != "" {
		c.Next = s.due
	}
	if pair := e.served.Load(); pair != nil {
		c.Expires, c.Issuer = pair.Leaf.NotAfter, IssuerOf(pair)
	}
	return c
}

// IssuerOf returns the name of the authority that issued a certificate.
func IssuerOf(pair *tls.Certificate) string {
	issuer := pair.Leaf.Issuer
	switch {
	case len(issuer.Organization) > 0 && issuer.CommonName != "":
		return issuer.Organization[0] + " " + issuer.CommonName
	case issuer.CommonName != "":
		return issuer.CommonName
	}
	return issuer.String()
}

// same reports whether two certificates are the same to clients.
func same(a, b *tls.Certificate) bool { return a != nil && b != nil && a.Leaf.Equal(b.Leaf) }
