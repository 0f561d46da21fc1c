// The authorities: how certmagic speaks to them, and the address that keeps it from opening listeners of its own.

package acme

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// Authority is one ACME server.
type Authority struct {
	Directory     string         // URL
	Roots         *x509.CertPool // of its HTTPS certificate; nil: those of the system
	KeyID, MACKey string         // of an external account; "": none
	Profile       string         // of certificates, one that the authority offers; "": its default
}

// URLs of the directories of public authorities.
const (
	LetsEncrypt        = certmagic.LetsEncryptProductionCA
	LetsEncryptStaging = certmagic.LetsEncryptStagingCA
	ZeroSSL            = certmagic.ZeroSSLProductionCA
	GoogleTrust        = certmagic.GoogleTrustProductionCA
)

// noEmail is an address for no contact. An empty one would make certmagic ask on the terminal; it removes the space.
const noEmail = " "

// orderMax bounds the time for which an order is polled.
const orderMax = 90 * time.Second

// connect makes the objects of certmagic.
func (m *Manager) connect() error {
	// Before a challenge, certmagic opens a listener on the port of the challenge, unless the port is in use. Here listeners of the
	// server answer challenges, on whatever port they have: so certmagic is shown a port that is in use.
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("no loopback address: %w", err)
	}
	m.occupied = occupied
	port := occupied.Addr().(*net.TCPAddr).Port
	log := zapLogger(m.log)
	// The cache renews what is in it, by itself. A configuration on demand is left out of that: the Manager renews.
	var idle *certmagic.Config
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return idle, nil },
		RenewCheckInterval: m.options.CheckEvery, Logger: log,
	})
	idle = certmagic.New(m.cache, certmagic.Config{
		Storage: m.options.Storage, Logger: log, OCSP: certmagic.OCSPConfig{DisableStapling: true}, OnDemand: &certmagic.OnDemandConfig{},
	})
	template := certmagic.Config{
		Storage: m.options.Storage, Logger: log, OCSP: certmagic.OCSPConfig{DisableStapling: true},
		OnEvent: func(_ context.Context, event string, _ map[string]any) error {
			if event == "cert_obtained" {
				m.counts.issued.Add(1)
			}
			return nil
		},
	}
	m.config = certmagic.New(m.cache, template)
	m.config.Issuers = nil
	// certmagic renews at the time that it has picked in the window of the authority, or when its own share of the lifetime is left, if that is
	// earlier. With its default, a third, the second one would win for many windows, and for many certificates at once.
	template.RenewalWindowRatio = suggestedRatio
	m.suggested = certmagic.New(m.cache, template)
	for _, a := range m.options.Authorities {
		template := certmagic.ACMEIssuer{
			CA: a.Directory, Email: m.options.Email, Agreed: true, TrustedRoots: a.Roots,
			DisableHTTPChallenge: !m.options.HTTP01, DisableTLSALPNChallenge: !m.options.TLSALPN01,
			ListenHost: "127.0.0.1", AltHTTPPort: port, AltTLSALPNPort: port, CertObtainTimeout: orderMax,
			Profile: a.Profile, Logger: log, HTTPProxy: http.ProxyFromEnvironment,
		}
		if template.Email == "" {
			template.Email = noEmail
		}
		if a.KeyID != "" {
			template.ExternalAccount = &acme.EAB{KeyID: a.KeyID, MACKey: a.MACKey}
		}
		if m.options.DNS != nil {
			template.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{DNSProvider: m.options.DNS, Resolvers: m.options.Resolvers, Logger: log}}
		}
		issuer := certmagic.NewACMEIssuer(m.config, template)
		m.issuers, m.config.Issuers = append(m.issuers, issuer), append(m.config.Issuers, issuer)
	}
	m.suggested.Issuers = m.config.Issuers
	return nil
}

// yieldOccupied closes the connections by which certmagic finds out that the port is in use.
func (m *Manager) yieldOccupied() {
	for {
		c, err := m.occupied.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
}
