// /certificates: the certificates of the server, and their series.

package admin

import (
	"net/http"
	"time"
)

// Certificate is one certificate, or a name that has none yet.
type Certificate struct {
	Name     string    `json:"name"`
	Source   string    `json:"source"` // "file", "acme" or "on demand"
	Issuer   string    `json:"issuer,omitempty"`
	Expires  time.Time `json:"expires,omitzero"` // zero: there is none yet
	Renewal  time.Time `json:"renewal,omitzero"` // planned
	Next     time.Time `json:"next,omitzero"`    // next attempt, after a failure
	Problem  string    `json:"problem,omitempty"`
	Failures int       `json:"failures,omitempty"` // in a row
	Staple   string    `json:"ocsp,omitempty"`     // status of the OCSP response
}

// CertificateCounts are counters of certificates that the server obtains.
type CertificateCounts struct{ Issued, Failed, Refused uint64 }

const (
	certificatesShown  = 20   // on the live page
	certificatesListed = 1000 // names in /metrics
	onDemand           = "on demand"
)

func (d *dashboard) certificates(w http.ResponseWriter, _ *http.Request) {
	all := []Certificate{}
	if d.config.CertificateList != nil {
		all = append(all, d.config.CertificateList()...)
	}
	answerJSON(w, all)
}

// certificateSeries emits the series of certificates. Those on demand, of which clients choose the names, have one series, for the first
// that expires. A name that is in several files has one, too.
func (c collector) certificateSeries(e emitter) {
	config := &c.dashboard.config
	if config.CertificateCounts != nil {
		n := config.CertificateCounts()
		e.counter(c.certificatesIssued, float64(n.Issued))
		e.counter(c.certificatesFailed, float64(n.Failed))
		e.counter(c.certificatesRefused, float64(n.Refused))
	}
	if config.CertificateList == nil {
		return
	}
	type key struct{ name, source string }
	seen := map[key]bool{}
	for _, certificate := range config.CertificateList() {
		k := key{certificate.Name, certificate.Source}
		if k.source == onDemand {
			k.name = onDemand
		}
		if seen[k] || len(seen) >= certificatesListed {
			continue
		}
		seen[k] = true
		e.gauge(c.certificateProblem, flag(certificate.Problem != "" || certificate.Expires.IsZero()), k.name, k.source)
		if !certificate.Expires.IsZero() {
			e.gauge(c.daysLeft, certificate.Expires.Sub(c.dashboard.clock()).Hours()/24, k.name, k.source)
		}
	}
}
