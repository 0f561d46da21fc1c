// [acme]: its keys, and the acme.Manager that it describes.

package config

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"tafe/app/edge/internal/acme"
)

// ACME is the section of the same name.
type ACME struct {
	// Host names, such as ["example.com", "www.example.com"], beside those of sites without certs. Each gets a certificate, which is
	// renewed in time, for all listeners with TLS. IP addresses can be given, too; see profile. "*.example.com" needs a binary with a DNS provider. If the file has no [[listener]],
	// the server listens on :443, and redirects from :80.
	Domains []HostName `toml:"domains"`
	// Address that the authority may send notices to. Not required.
	Email string `toml:"email" default:"" reload:"restart"`
	Authority
	// A second authority, with the keys ca, ca_roots, eab and profile. It is asked when the first one fails.
	Fallback *Authority `toml:"fallback" reload:"restart"`
	// Directory for certificates, keys, accounts, OCSP responses and keys of session tickets. Servers that share it, on one machine
	// or over a network, order a certificate once. Unset: $STATE_DIRECTORY of systemd, or tafe in the user's data directory.
	Storage string `toml:"storage" default:"" reload:"restart"`
	// A Redis server in place of the directory.
	Redis *RedisStorage `toml:"redis" reload:"restart"`
	// Certificates for names that clients ask for and domains lacks.
	OnDemand *OnDemand `toml:"on_demand" reload:"restart"`
}

// Authority is an ACME server.
type Authority struct {
	// "letsencrypt", "letsencrypt-staging", "zerossl", "google", or the URL of the directory of another authority.
	CA string `toml:"ca" default:"letsencrypt" reload:"restart"`
	// PEM file of the roots for HTTPS to the authority. Unset: those of the system.
	CARoots string `toml:"ca_roots" default:"" reload:"restart"`
	// External account, which some authorities require.
	EAB *ExternalAccount `toml:"eab" reload:"restart"`
	// Profile of the certificates, one of those that the authority offers, such as "shortlived" of Let's Encrypt, which it requires
	// for IP addresses. Unset: its default.
	Profile string `toml:"profile" default:"" reload:"restart"`
}

// ExternalAccount is an account at an authority that was opened elsewhere.
type ExternalAccount struct {
	// Key identifier.
	KeyID string `toml:"key_id" required:"yes"`
	// MAC key in base64url, such as "env:ACME_MAC_KEY".
	MACKey Secret `toml:"mac_key" required:"yes"`
}

// RedisStorage says where Redis is. The private keys are stored in clear text: the server must be protected like a disk.
type RedisStorage struct {
	// Address: HOST:PORT, or unix:/path.
	Address ListenAddress `toml:"address" required:"yes"`
	// Redis user.
	Username string `toml:"username" default:""`
	// Password, such as "env:REDIS_PASSWORD".
	Password Secret `toml:"password"`
	// Number of the database.
	Database int `toml:"database" default:"0" min:"0" max:"65535"`
	// Use TLS.
	TLS bool `toml:"tls" default:"false"`
	// Prefix of the keys. Servers with the same prefix share their certificates.
	Prefix string `toml:"prefix" default:"tafe"`
	// Timeout of connecting and of each reply.
	Timeout Duration `toml:"timeout" default:"5s" min:"10ms" max:"1m"`
}

// OnDemand allows certificates for names that are not in acme.domains. The handshake waits for the order.
type OnDemand struct {
	// URL of a server that is asked about each name, with the query parameter domain, such as "http://127.0.0.1:9000/allowed". A
	// status of 2xx allows the name, one of 4xx refuses it. Unset: no certificates on demand.
	Ask string `toml:"ask" default:""`
	// How long a refusal is remembered.
	RefusedFor Duration `toml:"refused_for" default:"10m" min:"1s" max:"24h"`
	// Orders per hour. Handshakes beyond it fail.
	OrdersPerHourMax int `toml:"orders_per_hour_max" default:"60" min:"1" max:"100000"`
	// Names with a certificate in memory. The one that was not used for the longest time makes room for a new one.
	NamesMax int `toml:"names_max" default:"10000" min:"1" max:"1000000"`
}

var authorities = map[string]string{
	"letsencrypt": acme.LetsEncrypt, "letsencrypt-staging": acme.LetsEncryptStaging, "zerossl": acme.ZeroSSL, "google": acme.GoogleTrust,
}

func (a *Authority) directory() string {
	if known, ok := authorities[a.CA]; ok {
		return known
	}
	return a.CA
}

// Names returns the names that get certificates by themselves: acme.domains, and with [acme] in the file the hosts of sites without certs,
// but for wildcards.
func (c *Config) Names() (all []string) {
	if c.sitesObtain {
		for i := range c.Sites {
			for _, name := range c.Sites[i].Host {
				if len(c.Sites[i].Certs) == 0 && !strings.HasPrefix(string(name), "*") && !slices.Contains(all, string(name)) {
					all = append(all, string(name))
				}
			}
		}
	}
	for _, name := range c.ACME.Domains {
		if !slices.Contains(all, string(name)) {
			all = append(all, string(name))
		}
	}
	return all
}

// ObtainsCertificates reports whether the server obtains certificates.
func (c *Config) ObtainsCertificates() bool { return len(c.Names()) > 0 || c.ACME.onDemand() }

func (a *ACME) onDemand() bool { return a.OnDemand != nil && a.OnDemand.Ask != "" }

// acme checks the section, and adds the listeners that it implies.
func (d *decoder) acme(c *Config) {
	a, p := &c.ACME, path{"acme"}
	implied := len(c.Listeners) == 0 && !d.hasKey(path{"server", "listen"})
	secure := slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.TLS != nil })
	c.sitesObtain = d.hasKey(p) && (implied || secure)
	d.authority(p, &a.Authority)
	if a.Fallback != nil {
		d.authority(p.child("fallback"), a.Fallback)
		if a.Fallback.directory() == a.directory() {
			d.problem(p.child("fallback"), "acme.fallback.ca is the authority of acme.ca: want another one")
		}
	}
	if a.Redis != nil && a.Storage != "" {
		d.problem(p.child("redis"), "acme has both storage and redis: want one")
	}
	if a.Email != "" && (!strings.Contains(a.Email, "@") || strings.ContainsAny(a.Email, " \t\n,")) {
		d.problem(p.child("email"), "acme.email = %q: want one address, such as \"admin@example.com\"", a.Email)
	}
	if o := a.OnDemand; o != nil && o.Ask != "" {
		if u, err := url.Parse(o.Ask); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			d.problem(p.child("on_demand").child("ask"), "acme.on_demand.ask = %q: want a URL such as \"http://127.0.0.1:9000/allowed\"", o.Ask)
		}
	}
	d.wildcards(c)
	if !c.ObtainsCertificates() {
		return
	}
	if implied {
		c.Listeners, secure = impliedListeners(), true
	}
	if !secure {
		d.problem(p, "acme: no [[listener]] has tls, so the certificates would not be used; without server.listen and [[listener]] the server listens on :443 and :80")
	}
}

// WithoutACME makes c obtain no certificates: listeners that would have no others are plain ones, and so are those that redirect. It is
// for tests of programs.
func (c *Config) WithoutACME() {
	if !c.ObtainsCertificates() {
		return
	}
	c.ACME, c.sitesObtain = ACME{}, false
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.RedirectHTTPS = 0; l.TLS != nil && len(l.TLS.Certs) == 0 {
			l.TLS = nil
		}
	}
}

// impliedListeners are those of a file that names domains and no listener.
func impliedListeners() []Listener {
	all := make([]Listener, 2)
	all[0].Listen, all[0].TLS = ":443", &TLS{}
	setDefaults(all[0].TLS)
	all[1].Listen, all[1].RedirectHTTPS = ":80", 443
	return all
}

func (d *decoder) authority(p path, a *Authority) {
	u, err := url.Parse(a.directory())
	if err != nil || u.Host == "" || u.Scheme != "https" {
		d.problem(p.child("ca"), "%s = %q: want letsencrypt, letsencrypt-staging, zerossl, google, or a URL that begins with https://", p.child("ca"), a.CA)
	}
}

// Acme returns the manager of certificates, or nil if the file has none to obtain. broken are parts that cannot be used, with which
// nothing new is obtained. The error is Problems.
func (c *Config) Acme(log *slog.Logger) (m *acme.Manager, broken Problems, err error) {
	if !c.ObtainsCertificates() {
		return nil, nil, nil
	}
	o, broken, err := c.acmeOptions()
	if err != nil {
		return nil, nil, err
	}
	o.Log = log
	m, err = acme.New(o)
	return m, broken, err
}

func (c *Config) acmeOptions() (_ acme.Options, broken Problems, err error) {
	d, a, p := decoder{source: c.source, spoilt: c.spoilt}, &c.ACME, path{"acme"}
	files := decoder{source: c.source, spoilt: c.spoilt}
	o := acme.Options{Names: c.Names(), Email: a.Email, DNS: c.registry.DNS}
	o.Authorities = append(o.Authorities, files.made(p, &a.Authority))
	if a.Fallback != nil {
		o.Authorities = append(o.Authorities, files.made(p.child("fallback"), a.Fallback))
	}
	for _, l := range c.Listeners {
		o.TLSALPN01 = o.TLSALPN01 || l.TLS != nil
		o.HTTP01 = o.HTTP01 || l.TLS == nil
	}
	if r := a.Redis; r != nil {
		network, address := "tcp", string(r.Address)
		if file, ok := strings.CutPrefix(address, "unix:"); ok {
			network, address = "unix", file
		}
		o.Storage = acme.NewRedis(acme.RedisOptions{Network: network, Address: address, Username: r.Username, Password: r.Password.text,
			Database: r.Database, TLS: r.TLS, Prefix: r.Prefix, Timeout: time.Duration(r.Timeout)})
	} else {
		directory, err := a.directoryOfStorage()
		if err != nil {
			d.problem(p.child("storage"), "acme.storage: %v", err)
		}
		o.Storage = &certmagic.FileStorage{Path: directory}
	}
	if x := a.OnDemand; a.onDemand() {
		o.OnDemand = &acme.OnDemand{Ask: x.Ask, RefusedFor: time.Duration(x.RefusedFor), OrdersPerHourMax: x.OrdersPerHourMax, NamesMax: x.NamesMax}
	}
	if len(d.problems) > 0 {
		return o, files.sorted(), d.sorted()
	}
	return o, files.sorted(), nil
}

// wildcards are certified only by records in DNS.
func (d *decoder) wildcards(c *Config) {
	for i, name := range c.ACME.Domains {
		if strings.HasPrefix(string(name), "*.") && c.registry.DNS == nil {
			d.problem(path{"acme", "domains"}.index(i), "acme.domains: %q needs a binary with a DNS provider (edge.WithDNS)", string(name))
		}
	}
}

// made returns an authority with its roots; without any, if the file cannot be used, so that no other authority is trusted.
func (d *decoder) made(p path, a *Authority) acme.Authority {
	made := acme.Authority{Directory: a.directory(), Profile: a.Profile}
	if a.EAB != nil {
		made.KeyID, made.MACKey = a.EAB.KeyID, a.EAB.MACKey.text
	}
	if a.CARoots == "" {
		return made
	}
	made.Roots = x509.NewCertPool()
	text, err := os.ReadFile(a.CARoots)
	if err != nil {
		d.problem(p.child("ca_roots"), "%s: %s", p.child("ca_roots"), withoutCall(err))
	} else if !made.Roots.AppendCertsFromPEM(text) {
		d.problem(p.child("ca_roots"), "%s: %s holds no certificate in PEM", p.child("ca_roots"), a.CARoots)
	}
	return made
}

// directoryOfStorage returns acme.storage or its default.
func (a *ACME) directoryOfStorage() (string, error) {
	if a.Storage != "" {
		return a.Storage, nil
	}
	if state, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); state != "" {
		return filepath.Join(state, "acme"), nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); data != "" {
		return filepath.Join(data, "tafe", "acme"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no default without a home directory: name one")
	}
	return filepath.Join(home, ".local", "share", "tafe", "acme"), nil
}
