// [[listener]]: its keys, and Config.AppListeners, which makes app.Listener values of them.

package config

import (
	"crypto/tls"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"tafe/app"
	"tafe/app/edge/internal/acme"
	"tafe/app/edge/internal/certs"
	"tafe/loop/reactor"
)

// Listener is one [[listener]]. If there is one, server.listen must not be given.
type Listener struct {
	// Listen address: HOST:PORT (port 0 picks a free port, which is printed), unix:/path, or systemd:NAME for the systemd
	// sockets with that FileDescriptorName. A systemd socket that is bound to the address is used in its place.
	Listen ListenAddress `toml:"listen" required:"yes" reload:"restart"`
	// Networks of load balancers that send a PROXY header (version 1 or 2) at the start of each connection, such as
	// ["10.0.0.0/8"]. Connections from other networks, and those without a valid header within 5 s, are closed. Unset: no
	// header is expected.
	ProxyProtocol []Network `toml:"proxy_protocol" reload:"restart"`
	// Serve HTTP/2: with TLS to clients that choose it (ALPN), without TLS to clients that begin with it (h2c by prior
	// knowledge). Unset: true with TLS, false without.
	HTTP2 Switch `toml:"http2" reload:"restart"`
	// Serve HTTPS.
	TLS *TLS `toml:"tls" reload:"restart"`
	// Answer every request with 308 to https on this port. Hosts without a certificate on the listener of that port get 421.
	RedirectHTTPS int `toml:"redirect_https" min:"1" max:"65535" reload:"restart"`
}

// TLS configures HTTPS.
type TLS struct {
	// Certificates, such as [{ cert = "a.pem", key = "a.key" }]. A client gets the first that matches its server name, or else
	// one of [acme], or else the first of the list. Renewed files are loaded within a minute, and at SIGHUP; invalid ones are
	// ignored. Required without [acme].
	Certs []Certificate `toml:"certs"`
	// Recommendation of Mozilla that versions and cipher suites follow. "modern": TLS 1.3. "intermediate": also TLS 1.2, with
	// forward secrecy and authenticated encryption, which all browsers since 2014 have. Both prefer the post-quantum key
	// exchange X25519MLKEM768.
	Profile string `toml:"profile" default:"intermediate" oneof:"modern|intermediate"`
	// Minimum TLS version, in place of the one of the profile.
	MinVersion string `toml:"min_version" default:"1.2" oneof:"1.2|1.3"`
	// Client certificates: off, verified if the client sends one, or required.
	ClientAuth string `toml:"client_auth" default:"off" oneof:"off|verify|require"`
	// PEM file of the authorities for client certificates.
	ClientCA string `toml:"client_ca" default:""`
	// PEM or DER file of revocation lists. A client certificate is refused if it is revoked, or if it or an intermediate one
	// has no valid list of its issuer. The file is loaded again as those of certs.
	ClientCRL string `toml:"client_crl" default:""`
	// From accept to the end of the handshake. After it the connection is closed.
	HandshakeTimeout Duration `toml:"handshake_timeout" default:"10s" min:"1ms" max:"10m"`
	// Concurrent handshakes, per loop. Connections beyond it are closed.
	HandshakesMax int `toml:"handshakes_max" default:"1024" min:"1" max:"1000000"`
	// New handshakes per second, per loop. More are queued, so that a flood of handshakes leaves time for established
	// connections. Unset: no bound.
	HandshakesPerSecondMax int `toml:"handshakes_per_second_max" min:"10" max:"1000000"`
}

// Certificate names the files of one certificate.
type Certificate struct {
	// PEM file of the certificate and its chain.
	Cert string `toml:"cert" required:"yes"`
	// PEM file of the private key.
	Key string `toml:"key" required:"yes"`
	// DER file of an OCSP response to staple. Nothing is stapled while it is missing. Unset: the response is fetched, if the
	// certificate names a responder.
	OCSP string `toml:"ocsp" default:""`
}

var clientAuths = map[string]tls.ClientAuthType{
	"off": tls.NoClientCert, "verify": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert,
}

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// checkListeners checks the listeners against one another.
func (d *decoder) checkListeners(c *Config) {
	if len(c.Listeners) == 0 {
		return
	}
	if d.hasKey(path{"server", "listen"}) {
		d.problem(path{"server", "listen"}, "server.listen cannot be used with [[listener]]: move it there")
	}
	for i := range c.Listeners {
		l, p := &c.Listeners[i], path{"listener"}.index(i)
		switch {
		case l.ProxyProtocol != nil && len(l.ProxyProtocol) == 0:
			d.problem(p.child("proxy_protocol"), "listener.proxy_protocol is empty, so no connection would be accepted; remove it to expect no header")
		case l.TLS != nil && l.RedirectHTTPS != 0:
			d.problem(p, "listener %s has both tls and redirect_https: want one", l.Listen)
		case l.RedirectHTTPS != 0 && c.tlsOn(l.RedirectHTTPS) == nil:
			d.problem(p.child("redirect_https"), "listener.redirect_https = %d: no [[listener]] has tls on that port", l.RedirectHTTPS)
		case l.TLS != nil && (l.TLS.ClientAuth == "off") != (l.TLS.ClientCA == ""):
			d.problem(p.child("tls"), "listener.tls: client_auth and client_ca go together")
		case l.TLS != nil && l.TLS.ClientCRL != "" && l.TLS.ClientCA == "":
			d.problem(p.child("tls").child("client_crl"), "listener.tls.client_crl: want client_ca too")
		case l.TLS != nil && len(l.TLS.Certs) == 0 && len(c.siteCerts()) == 0 && !c.ObtainsCertificates():
			d.problem(p.child("tls"), "listener.tls has no certs, and [acme] no domains: name a certificate, or the domains to obtain some for")
		case l.TLS != nil && l.TLS.Profile == "modern" && l.TLS.MinVersion == "1.2" && d.hasKey(p.child("tls").child("min_version")):
			d.problem(p.child("tls").child("min_version"), "listener.tls.min_version = \"1.2\" contradicts the profile modern, which is TLS 1.3: remove one of them")
		}
	}
}

// tlsOn returns the listener with TLS on a port.
func (c *Config) tlsOn(port int) *Listener {
	for i := range c.Listeners {
		_, p, _ := net.SplitHostPort(string(c.Listeners[i].Listen))
		if c.Listeners[i].TLS != nil && p == strconv.Itoa(port) {
			return &c.Listeners[i]
		}
	}
	return nil
}

// Certificates are the certificates of one listener.
type Certificates struct {
	*certs.Store
	Addr    string
	Profile certs.Profile
	index   int // of the listener
	follows atomic.Pointer[followed]
}

// followed is what Certificates take from the current Config.
type followed struct {
	source *source
	keys   map[certs.Files]path // of the listener's and the sites' certificates, the first place of each
	tls    *TLS                 // of the listener
	hosts  []siteHost
}

// siteHost is a host of a site, and the problem that it has on a listener without a certificate for it.
type siteHost struct {
	name    string
	problem Problem
}

// at is the place of listener.tls.
func (s *Certificates) at() path { return path{"listener"}.index(s.index).child("tls") }

// Follow replaces the certificates and hosts of sites by those of c, whose listeners are the same.
func (s *Certificates) Follow(c *Config) {
	f := &followed{source: c.source, keys: map[certs.Files]path{}, tls: c.Listeners[s.index].TLS}
	note := func(p path, list []Certificate) {
		for i := range list {
			if _, known := f.keys[certs.Files(list[i])]; !known {
				f.keys[certs.Files(list[i])] = p.index(i)
			}
		}
	}
	note(s.at().child("certs"), f.tls.Certs)
	for i := range c.Sites {
		note(path{"site"}.index(i).child("certs"), c.Sites[i].Certs)
		for j, name := range c.Sites[i].Host {
			if name == "*" || name == "" { // empty: a problem of its own
				continue
			}
			p := path{"site"}.index(i).child("host").index(j)
			f.hosts = append(f.hosts, siteHost{string(name), c.source.newProblem(p, c.source.place(p),
				"site.host: no certificate of the listener %s is valid for %s: name one in site.certs or listener.tls.certs, or obtain one with [acme]", s.Addr, name)})
		}
	}
	s.follows.Store(f)
	s.SetSites(c.siteCerts())
}

// siteCerts returns the certificates of all sites.
func (c *Config) siteCerts() (all []certs.Files) {
	for i := range c.Sites {
		for _, f := range c.Sites[i].Certs {
			if !slices.Contains(all, certs.Files(f)) {
				all = append(all, certs.Files(f))
			}
		}
	}
	return all
}

// uncovered returns the hosts of sites without a certificate. There are none while a certificate is left out, which may be theirs.
func (s *Certificates) uncovered() (all Problems) {
	if s.LeftOut() {
		return nil
	}
	for _, h := range s.follows.Load().hosts {
		name := h.name
		if rest, wildcard := strings.CutPrefix(name, "*"); wildcard {
			name = "any" + rest
		}
		if !s.Covers(strings.Trim(name, "[]")) {
			all = append(all, h.problem)
		}
	}
	return all
}

// Problems returns the current problems of the certificates. The listener serves with the others; see certs.Store.
func (s *Certificates) Problems() Problems {
	f := s.follows.Load()
	d := decoder{source: f.source}
	for _, err := range s.Store.Problems() {
		p, known := f.keys[err.Cert]
		switch {
		case known:
		case err.File != "" && err.File == f.tls.ClientCA:
			p = s.at().child("client_ca")
		case err.File != "" && err.File == f.tls.ClientCRL:
			p = s.at().child("client_crl")
		default:
			p = s.at()
		}
		d.problem(p, "%s: %s", p, withoutCall(err))
	}
	return append(d.problems, s.uncovered()...)
}

// withoutCall removes the name of the system call from the error of a file.
func withoutCall(err error) string {
	for _, call := range []string{"open ", "stat ", "read "} {
		if text, found := strings.CutPrefix(err.Error(), call); found {
			return text
		}
	}
	return err.Error()
}

// Sources are where certificates come from, besides files.
type Sources struct {
	Acme    *acme.Manager // nil: none
	Stapler certs.Stapler // nil: none
}

// source returns the source of certificates of the listeners.
func (s *Sources) source(c *Config) certs.Source {
	switch {
	case s.Acme != nil:
		return s.Acme
	case c.ObtainsCertificates(): // a check, which obtains none
		return noSource{}
	}
	return nil
}

// noSource stands for a manager that a check does not start.
type noSource struct{}

func (noSource) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
func (noSource) Challenge(*tls.ClientHelloInfo) *tls.Config                 { return nil }
func (noSource) Covers(string) bool                                         { return true }
func (noSource) Agree(string, string) bool                                  { return true }

// AppListeners returns the listeners, and the certificates of those with TLS. The error is Problems; certificates that cannot
// be used are not an error: see Certificates.Problems.
func (c *Config) AppListeners(from Sources) (all []app.Listener, stores []*Certificates, err error) {
	if len(c.Listeners) == 0 {
		return []app.Listener{{Addr: string(c.Server.Listen), H2C: c.Server.HTTP2}}, nil, nil
	}
	d := decoder{source: c.source}
	of := map[*Listener]*certs.Store{}
	for i := range c.Listeners {
		l, p := &c.Listeners[i], path{"listener"}.index(i).child("tls")
		if l.TLS == nil || c.spoilt[p.part()] {
			continue
		}
		store, err := certs.Load(l.TLS.options(c, &from, l.HTTP2.or(true)))
		if err != nil {
			d.problem(p, "listener.tls: %v", err)
			continue
		}
		own := &Certificates{Store: store, Addr: string(l.Listen), Profile: l.TLS.profile(), index: i}
		own.Follow(c)
		of[l], stores = store, append(stores, own)
	}
	if len(d.problems) > 0 {
		return nil, nil, d.sorted()
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		a := app.Listener{Addr: string(l.Listen), H2C: l.TLS == nil && l.HTTP2.or(false)}
		if l.ProxyProtocol != nil {
			a.Proxy = &reactor.ProxyProtocol{}
			for _, n := range l.ProxyProtocol {
				a.Proxy.Trusted = append(a.Proxy.Trusted, n.Prefix)
			}
		}
		switch {
		case l.TLS != nil && of[l] == nil: // spoilt, or its neighbour is: Check goes on
			continue
		case l.TLS != nil:
			a.Covers = of[l].Agree
			a.TLS = &reactor.TLS{Config: of[l].Config(), HandshakeTimeout: time.Duration(l.TLS.HandshakeTimeout), HandshakesMax: l.TLS.HandshakesMax,
				HandshakesPerSecond: l.TLS.HandshakesPerSecondMax, HandshakeOnly: acme.ChallengeProtocol}
		case l.RedirectHTTPS != 0:
			a.Redirect = redirectTo(of[c.tlsOn(l.RedirectHTTPS)], l.RedirectHTTPS)
		}
		if l.TLS == nil && from.Acme != nil {
			a.Challenge = from.Acme.AnswerChallenge
		}
		all = append(all, a)
	}
	return all, stores, nil
}

func (t *TLS) options(c *Config, from *Sources, http2 bool) certs.Options {
	o := certs.Options{Protocols: []string{"http/1.1"}, Profile: t.profile(), ClientAuth: clientAuths[t.ClientAuth], ClientCA: t.ClientCA, ClientCRL: t.ClientCRL,
		Source: from.source(c), Stapler: from.Stapler}
	if http2 {
		o.Protocols = []string{"h2", "http/1.1"}
	}
	for _, f := range t.Certs {
		o.Certs = append(o.Certs, certs.Files(f))
	}
	o.Sites = c.siteCerts()
	return o
}

func (t *TLS) profile() certs.Profile {
	return certs.Profile{Name: t.Profile, MinVersion: tlsVersions[t.MinVersion]}
}

// redirectTo redirects only to hosts with a certificate, whatever host the client names.
func redirectTo(store *certs.Store, port int) func(host string) string {
	suffix := ""
	if port != 443 {
		suffix = ":" + strconv.Itoa(port)
	}
	return func(host string) string {
		if !store.Covers(strings.Trim(host, "[]")) {
			return ""
		}
		return host + suffix
	}
}
