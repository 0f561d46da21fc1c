// Certificates that the server obtains: start and end, OCSP responses, keys of session tickets, and what operators see of them.

package edge

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"

	"tafe/app/admin"
	"tafe/app/edge/internal/acme"
	"tafe/app/edge/internal/certs"
	"tafe/app/edge/internal/config"
)

// DNSProvider makes records in DNS, for certificates of names with a wildcard and of servers that authorities cannot reach. The
// packages of github.com/libdns implement it for many providers.
type DNSProvider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

// WithDNS returns a Part: authorities verify all names by records that p makes, in place of connections to the server.
func WithDNS(p DNSProvider) Part { return dnsPart{p} }

type dnsPart struct{ DNSProvider }

func (d dnsPart) addTo(p *program) { p.dns = d.DNSProvider }

const (
	ticketsEvery = 10 * time.Minute
	ticketsMax   = 10 * time.Second // for reading the keys
)

// makeAcme makes the manager of certificates and loads those in its storage.
func (e *edge) makeAcme() (err error) {
	var broken config.Problems
	if e.acme, broken, err = e.settings.Acme(e.log); err != nil {
		return err
	}
	e.acmeBroken, e.stapler = broken, acme.NewStapler(nil)
	if e.acme != nil {
		e.stapler = e.acme.Stapler()
		e.acme.Load()
	}
	return nil
}

// sources returns where listeners get their certificates.
func (e *edge) sources() config.Sources { return config.Sources{Acme: e.acme, Stapler: e.stapler} }

// startAcme begins to obtain certificates. Authorities connect to the listeners, so they must be open.
func (e *edge) startAcme() {
	for _, s := range e.certs {
		e.log.Info("TLS", "addr", s.Addr, "version_min", tls.VersionName(s.Profile.Version()), "key_exchange", s.Profile.KeyExchanges())
	}
	if len(e.certs) == 0 {
		return
	}
	if e.acme != nil {
		e.acme.Start()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		var tickets time.Time
		for {
			e.staple(ctx)
			if time.Since(tickets) >= ticketsEvery {
				tickets = time.Now()
				e.shareTickets(ctx)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	e.upkeep = func() { cancel(); <-done }
}

// staple fetches the OCSP responses of certificates from files.
func (e *edge) staple(ctx context.Context) {
	for _, s := range e.certs {
		for _, err := range s.Staple(ctx) {
			if ctx.Err() == nil {
				e.log.Warn("no OCSP response", "addr", s.Addr, "reason", oneLine(err.Error()))
			}
		}
	}
}

// shareTickets uses the keys of session tickets in the storage. Without a storage crypto/tls has its own.
func (e *edge) shareTickets(ctx context.Context) {
	if e.acme == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ticketsMax)
	defer cancel()
	keys, err := e.acme.Tickets(ctx)
	if err != nil {
		e.log.Warn("keys of session tickets are not shared", "reason", oneLine(err.Error()))
		return
	}
	for _, s := range e.certs {
		s.SetTicketKeys(keys)
	}
}

// closeAcme ends all work on certificates.
func (e *edge) closeAcme() {
	if e.upkeep != nil {
		e.upkeep()
	}
	if e.acme != nil {
		e.acme.Close()
	}
}

// acmeProblems returns the names without a good certificate, as problems of the section.
func (e *edge) acmeProblems() (all []string) {
	if e.acme == nil {
		return nil
	}
	for _, p := range e.acmeBroken {
		all = append(all, p.Error())
	}
	for _, c := range e.acme.Certificates() {
		switch {
		case c.Problem == "":
		case c.Expires.IsZero():
			all = append(all, "[acme] "+c.Name+" has no certificate: "+c.Problem)
		default:
			all = append(all, "[acme] the certificate of "+c.Name+", which expires "+c.Expires.Format(time.RFC3339)+", has a problem: "+c.Problem)
		}
	}
	return all
}

// certificateList returns all certificates, those that expire first before the others. Names without one come first.
func (e *edge) certificateList() (all []admin.Certificate) {
	for _, s := range e.certs {
		for _, l := range s.FromFiles() {
			all = append(all, shownFile(l))
		}
	}
	if e.acme != nil {
		for _, own := range e.acme.Certificates() {
			c := admin.Certificate{Name: own.Name, Source: "acme", Issuer: own.Issuer, Expires: own.Expires, Renewal: own.Renewal, Next: own.Next,
				Problem: own.Problem, Failures: own.Failures, Staple: own.Staple}
			if own.OnDemand {
				c.Source = "on demand"
			}
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b admin.Certificate) int {
		if c := a.Expires.Compare(b.Expires); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

// shownFile shows the certificate of some files. Without one it has the name of the file.
func shownFile(l certs.FromFiles) admin.Certificate {
	c := admin.Certificate{Name: l.Cert, Source: "file"}
	if l.Problem != nil {
		c.Problem = oneLine(l.Problem.Error())
	}
	if l.Certificate == nil {
		return c
	}
	c.Issuer, c.Expires = acme.IssuerOf(l.Certificate), l.Leaf.NotAfter
	switch {
	case len(l.Leaf.DNSNames) > 0:
		c.Name = l.Leaf.DNSNames[0]
	case l.Leaf.Subject.CommonName != "":
		c.Name = l.Leaf.Subject.CommonName
	}
	if len(l.OCSPStaple) > 0 {
		c.Staple = "good"
	}
	return c
}

// acmeCounts returns the counters of the manager; nil without one.
func (e *edge) acmeCounts() func() admin.CertificateCounts {
	if e.acme == nil {
		return nil
	}
	return func() admin.CertificateCounts {
		c := e.acme.Counts()
		return admin.CertificateCounts{Issued: c.Issued, Failed: c.Failed, Refused: c.Refused}
	}
}
