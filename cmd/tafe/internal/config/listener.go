// [[listener]]: its keys, and Config.AppListeners, which makes app.Listener values of them.

package config

import (
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"time"

	"tafe/app"
	"tafe/cmd/tafe/internal/certs"
	"tafe/loop/reactor"
)

// Listener is one [[listener]]. With any of them, they are all there is, and server.listen must not be given.
type Listener struct {
	// Address to serve on: HOST:PORT, where port 0 takes a free one, which is printed; unix:/path; or systemd:NAME, the sockets of
	// systemd of that FileDescriptorName. A socket of systemd that is bound to the address is used, too.
	Listen ListenAddress `toml:"listen" required:"yes" reload:"restart"`
	// Networks of balancers in front, such as ["10.0.0.0/8"]: each of their connections begins with a PROXY header (version 1 or
	// 2) that says whose it is. Connections of anybody else, and without a good header within 5 s, are closed. Without it,
	// no header is expected.
	ProxyProtocol []Network `toml:"proxy_protocol" reload:"restart"`
	// Speak HTTPS.
	TLS *TLS `toml:"tls" reload:"restart"`
	// Serve nothing here, but send clients to https on this port with 308. Hosts that no certificate of the listener on that
	// port is good for get 421.
	RedirectHTTPS int `toml:"redirect_https" min:"1" max:"65535" reload:"restart"`
}

// TLS is how HTTPS is spoken.
type TLS struct {
	// Certificates, such as [{ cert = "a.pem", key = "a.key" }]. A client gets the first that fits the name it asks for, and
	// without one the first. Renewed files are noticed within a minute, and at SIGHUP; bad ones are not taken.
	Certs []Certificate `toml:"certs" required:"yes"`
	// The lowest version. Ciphers are those that Go thinks good.
	MinVersion string `toml:"min_version" default:"1.2" oneof:"1.2|1.3"`
	// Whether clients are asked for a certificate: never; asked, and whatever they show is verified; or required.
	ClientAuth string `toml:"client_auth" default:"off" oneof:"off|verify|require"`
	// PEM file of the authorities of client certificates.
	ClientCA string `toml:"client_ca" default:""`
	// From the accepted connection to the end of the handshake. Then it is closed.
	HandshakeTimeout Duration `toml:"handshake_timeout" default:"10s" min:"1ms" max:"10m"`
	// Handshakes under way, of each loop. Beyond it, connections are closed.
	HandshakesMax int `toml:"handshakes_max" default:"1024" min:"1" max:"1000000"`
	// Handshakes begun in a second, by each loop; beyond it they wait, so that a flood of them leaves time for those who are
	// connected. Without it, no bound.
	HandshakesPerSecondMax int `toml:"handshakes_per_second_max" min:"10" max:"1000000"`
}

// Certificate is one certificate as files.
type Certificate struct {
	// PEM file of the certificate and the chain behind it.
	Cert string `toml:"cert" required:"yes"`
	// PEM file of its key.
	Key string `toml:"key" required:"yes"`
	// DER file of an OCSP response to staple; while it is not there, none is.
	OCSP string `toml:"ocsp" default:""`
}

var clientAuths = map[string]tls.ClientAuthType{
	"off": tls.NoClientCert, "verify": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert,
}

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// checkListeners holds the listeners against one another.
func (d *decoder) checkListeners(c *Config) {
	if len(c.Listeners) == 0 {
		return
	}
	if d.lines[path{"server", "listen"}.id()] > 0 {
		d.problem(path{"server", "listen"}, "server.listen is given beside [[listener]]: move it there")
	}
	for i := range c.Listeners {
		l, p := &c.Listeners[i], path{"listener"}.index(i)
		switch {
		case l.ProxyProtocol != nil && len(l.ProxyProtocol) == 0:
			d.problem(p.child("proxy_protocol"), "listener.proxy_protocol is empty: nobody could connect; leave it out for no header")
		case l.TLS != nil && l.RedirectHTTPS != 0:
			d.problem(p, "listener %s has both tls and redirect_https: want one", l.Listen)
		case l.RedirectHTTPS != 0 && c.tlsOn(l.RedirectHTTPS) == nil:
			d.problem(p.child("redirect_https"), "listener.redirect_https = %d: no [[listener]] has tls on that port", l.RedirectHTTPS)
		case l.TLS != nil && (l.TLS.ClientAuth == "off") != (l.TLS.ClientCA == ""):
			d.problem(p.child("tls"), "listener.tls: client_auth and client_ca go together")
		case l.TLS != nil && len(l.TLS.Certs) == 0:
			d.problem(p.child("tls"), "listener.tls.certs is empty")
		}
	}
}

// tlsOn finds the listener with TLS on a port.
func (c *Config) tlsOn(port int) *Listener {
	for i := range c.Listeners {
		_, p, _ := net.SplitHostPort(string(c.Listeners[i].Listen))
		if c.Listeners[i].TLS != nil && p == strconv.Itoa(port) {
			return &c.Listeners[i]
		}
	}
	return nil
}

// Certificates are those of one listener.
type Certificates struct {
	*certs.Store
	source *source
	at     path
}

// Problems are what is wrong with them now. The listener serves with what is good; see certs.Store.
func (c *Certificates) Problems() Problems {
	d := decoder{source: c.source}
	for _, err := range c.Store.Problems() {
		d.problem(c.at, "listener.tls: %s", withoutCall(err))
	}
	return d.problems
}

// withoutCall is an error of a file without the name of the system call.
func withoutCall(err error) string {
	for _, call := range []string{"open ", "stat ", "read "} {
		if text, found := strings.CutPrefix(err.Error(), call); found {
			return text
		}
	}
	return err.Error()
}

// AppListeners are where to listen, with the certificates of those that speak TLS. The error is Problems; certificates that are not good
// are none: see Certificates.Problems.
func (c *Config) AppListeners() (all []app.Listener, stores []*Certificates, err error) {
	if len(c.Listeners) == 0 {
		return []app.Listener{{Addr: string(c.Server.Listen)}}, nil, nil
	}
	d := decoder{source: c.source}
	of := map[*Listener]*certs.Store{}
	for i := range c.Listeners {
		l, p := &c.Listeners[i], path{"listener"}.index(i).child("tls")
		if l.TLS == nil || c.spoilt[p.part()] {
			continue
		}
		store, err := certs.Load(l.TLS.options())
		if err != nil {
			d.problem(p, "listener.tls: %v", err)
			continue
		}
		of[l], stores = store, append(stores, &Certificates{store, c.source, p})
	}
	if len(d.problems) > 0 {
		return nil, nil, d.sorted()
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		a := app.Listener{Addr: string(l.Listen)}
		if l.ProxyProtocol != nil {
			a.Proxy = &reactor.ProxyProtocol{}
			for _, n := range l.ProxyProtocol {
				a.Proxy.Trusted = append(a.Proxy.Trusted, n.Prefix)
			}
		}
		switch {
		case l.TLS != nil:
			a.TLS = &reactor.TLS{Config: of[l].Config(), HandshakeTimeout: time.Duration(l.TLS.HandshakeTimeout), HandshakesMax: l.TLS.HandshakesMax,
				HandshakesPerSecond: l.TLS.HandshakesPerSecondMax}
		case l.RedirectHTTPS != 0:
			a.Redirect = redirectTo(of[c.tlsOn(l.RedirectHTTPS)], l.RedirectHTTPS)
		}
		all = append(all, a)
	}
	return all, stores, nil
}

func (t *TLS) options() certs.Options {
	o := certs.Options{MinVersion: tlsVersions[t.MinVersion], ClientAuth: clientAuths[t.ClientAuth], ClientCA: t.ClientCA}
	for _, c := range t.Certs {
		o.Certs = append(o.Certs, certs.Files(c))
	}
	return o
}

// redirectTo keeps clients on hosts that a certificate is good for: whatever else they name, nobody is sent there.
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
