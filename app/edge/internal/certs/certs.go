// Package certs loads the TLS files of a listener: certificates, keys, OCSP staples, and the authorities of client certificates. It
// reloads those that have changed. A certificate that cannot be used is left out, or stays as it was, and is reported as a
// problem; the others are served.
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Files are the files of one certificate.
type Files struct {
	Cert string // PEM: the certificate, and the chain behind it
	Key  string // PEM
	OCSP string // DER: an OCSP response to staple; "" or a file that is not there: none
}

// Options are the files of a Store.
type Options struct {
	// Certs in order of preference: a client gets the first that matches its server name, or else the first of the list.
	Certs      []Files
	MinVersion uint16   // of TLS
	Protocols  []string // offered by ALPN
	ClientAuth tls.ClientAuthType
	ClientCA   string // PEM; "" where clients show no certificates
	ClientCRL  string // PEM or DER: lists of revoked certificates of clients; "": none
}

// Store has the certificates from the last successful load of each. Any goroutine may call its methods.
type Store struct {
	options Options
	base    *tls.Config // what listeners use: it owns the keys of session tickets, which outlive reloads
	current atomic.Pointer[loaded]
	mu      sync.Mutex // one Reload at a time
}

type loaded struct {
	config   *tls.Config        // nil while no client can be served: no certificate is good, or those of clients cannot be verified
	pairs    []*tls.Certificate // of Options.Certs; nil: left out
	revoked  *revocations       // nil: no list is configured, or none could be read
	problems []error
	seen     []stamp
}

// stamp identifies a version of a file. info is nil if there was no file.
type stamp struct {
	file string
	info os.FileInfo
}

// holds reports whether the file is unchanged. Its change time (ctime) changes with each rename and write; size and
// modification time may stay the same.
func (s *stamp) holds(info os.FileInfo) bool {
	return os.SameFile(info, s.info) && info.Size() == s.info.Size() && info.ModTime().Equal(s.info.ModTime()) && statusTime(info) == statusTime(s.info)
}

func statusTime(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ctim.Nano()
	}
	return 0
}

// refusal makes a handshake fail with the alert unrecognized_name, and resumes no session.
var refusal = &tls.Config{MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}

// Load reads the files. It fails if there are no certificates; Problems reports those that cannot be used.
func Load(o Options) (*Store, error) {
	if len(o.Certs) == 0 {
		return nil, errors.New("no certificates")
	}
	s := &Store{options: o}
	s.current.Store(s.load(time.Now(), nil))
	// Session tickets are encrypted by keys of the base, which crypto/tls renews every day and accepts for a week.
	s.base = &tls.Config{
		MinVersion: o.MinVersion,
		NextProtos: o.Protocols,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.current.Load().configFor(hello.ServerName), nil
		},
	}
	return s, nil
}

// configFor refuses a name without a matching certificate while a certificate is left out, because that one may match.
func (l *loaded) configFor(name string) *tls.Config {
	switch {
	case l.config == nil:
		return refusal
	case name == "" || !slices.Contains(l.pairs, nil) || l.covers(name):
		return l.config
	}
	return refusal
}

func (l *loaded) covers(host string) bool {
	return slices.ContainsFunc(l.pairs, func(c *tls.Certificate) bool { return c != nil && c.Leaf.VerifyHostname(host) == nil })
}

// Agree reports whether the certificate that a client with this server name gets is valid for the host. Any goroutine.
func (s *Store) Agree(serverName, host string) bool {
	var first *tls.Certificate
	for _, c := range s.current.Load().pairs {
		switch {
		case c == nil:
		case serverName != "" && c.Leaf.VerifyHostname(serverName) == nil:
			return c.Leaf.VerifyHostname(host) == nil
		case first == nil:
			first = c
		}
	}
	return first != nil && first.Leaf.VerifyHostname(host) == nil
}

// Problems returns the problems of the last load, at most one per certificate.
func (s *Store) Problems() []error { return s.current.Load().problems }

// Config returns the configuration for tls.Server. It follows reloads.
func (s *Store) Config() *tls.Config { return s.base }

// load reads all files. Certificates that cannot be read are kept from before, which may be nil.
func (s *Store) load(now time.Time, before *loaded) *loaded {
	o := &s.options
	l := &loaded{}
	read := func(file string) ([]byte, error) {
		info, err := os.Stat(file)
		if err != nil {
			l.seen = append(l.seen, stamp{file: file})
			return nil, err
		}
		l.seen = append(l.seen, stamp{file, info})
		return os.ReadFile(file)
	}
	config := &tls.Config{MinVersion: o.MinVersion, ClientAuth: o.ClientAuth, NextProtos: o.Protocols}
	for i, f := range o.Certs {
		pair, err := loadPair(f, read)
		if err == nil && now.After(pair.Leaf.NotAfter) {
			err = fmt.Errorf("%s expired on %s", f.Cert, pair.Leaf.NotAfter.Format(time.DateOnly))
		}
		if err != nil {
			l.problems = append(l.problems, err)
			if pair = nil; before != nil {
				pair = before.pairs[i]
			}
		}
		if l.pairs = append(l.pairs, pair); pair != nil {
			config.Certificates = append(config.Certificates, *pair)
		}
	}
	if o.ClientCA != "" {
		var err error
		if config.ClientCAs, err = loadPool(o.ClientCA, read); err != nil {
			l.problems = append(l.problems, err)
			if before != nil && before.config != nil {
				config.ClientCAs = before.config.ClientCAs
			}
		}
	}
	l.loadRevocations(o.ClientCRL, now, before, read)
	if l.revoked != nil {
		config.VerifyConnection = l.revoked.verify
	}
	if len(config.Certificates) > 0 && (o.ClientCA == "" || config.ClientCAs != nil) && (o.ClientCRL == "" || l.revoked != nil) {
		l.config = config
	}
	return l
}

// loadRevocations sets l.revoked, to that of before if the file cannot be read.
func (l *loaded) loadRevocations(file string, now time.Time, before *loaded, read func(string) ([]byte, error)) {
	if file == "" {
		return
	}
	revoked, expired, err := loadCRL(file, now, read)
	for _, problem := range []error{expired, err} {
		if problem != nil {
			l.problems = append(l.problems, problem)
		}
	}
	if l.revoked = revoked; err != nil && before != nil {
		l.revoked = before.revoked
	}
}

// loadPool returns nil with an error: for crypto/tls a nil pool means the authorities of the system.
func loadPool(file string, read func(string) ([]byte, error)) (*x509.CertPool, error) {
	pem, err := read(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return pool, nil
}

func loadPair(f Files, read func(string) ([]byte, error)) (*tls.Certificate, error) {
	chain, err := read(f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := read(f.Key)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", f.Cert, f.Key, err)
	}
	if f.OCSP != "" {
		staple, err := read(f.OCSP)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		cert.OCSPStaple = staple
	}
	return &cert, nil
}

// Reload reads the files again if one of them has changed or could not be used. A certificate with bad new files stays as it
// was; see Problems.
func (s *Store) Reload() (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.current.Load()
	if len(before.problems) == 0 && !before.stale() {
		return false
	}
	l := s.load(time.Now(), before)
	s.current.Store(l)
	return len(l.problems) == 0 || !slices.EqualFunc(l.pairs, before.pairs, same)
}

// same reports whether clients get the same certificates.
func same(a, b *tls.Certificate) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Leaf.Equal(b.Leaf) && bytes.Equal(a.OCSPStaple, b.OCSPStaple)
}

func (l *loaded) stale() bool {
	return slices.ContainsFunc(l.seen, func(was stamp) bool {
		info, err := os.Stat(was.file)
		if err != nil {
			return was.info != nil
		}
		return was.info == nil || !was.holds(info)
	})
}

// Covers reports whether one of the certificates matches host.
func (s *Store) Covers(host string) bool { return s.current.Load().covers(host) }

// Expires returns the earliest expiry of the certificates, or zero if there is none.
func (s *Store) Expires() (first time.Time) {
	for _, pair := range s.current.Load().pairs {
		if pair != nil && (first.IsZero() || pair.Leaf.NotAfter.Before(first)) {
			first = pair.Leaf.NotAfter
		}
	}
	return first
}
