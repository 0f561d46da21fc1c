// Package certs makes the TLS configuration of a listener: from files with certificates, keys, OCSP staples, and the authorities of client
// certificates, and from a Source of other certificates. It reloads files that have changed. A certificate that cannot be used is
// left out, or stays as it was, and is reported as a problem; the others are served. One that has expired is served where there is no
// other.
//
// # Files, in reading order
//
//	certs.go     Store: the files, and which certificate a client gets
//	names.go     certificates by the names in them
//	profile.go   Profile: versions, cipher suites and key exchanges
//	staple.go    OCSP responses for certificates from files
//	crl.go       revocation lists for certificates of clients
package certs

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
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

// FileError is a problem of files.
type FileError struct {
	Cert Files  // those of a certificate; zero: none
	File string // the file of the authorities or revocation lists for clients; "": none
	Err  error
}

// Error returns the text of Err.
func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// Options are the files of a Store.
type Options struct {
	// Certs in order of preference: a client gets the first that matches its server name, or else the first of the list.
	Certs []Files
	// Sites are further certificates, which come before Certs for their names; see SetSites.
	Sites      []Files
	Source     Source // of certificates for other names; nil: none
	Profile    Profile
	Protocols  []string // offered by ALPN
	ClientAuth tls.ClientAuthType
	ClientCA   string // PEM; "" where clients show no certificates
	ClientCRL  string // PEM or DER: lists of revoked certificates of clients; "": none
	Stapler    Stapler
}

// Source has certificates that are not from files. Its methods are called by tasks of loops, and must not block.
type Source interface {
	// Certificate returns the certificate for a name that no file covers, or nil.
	Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// Challenge returns the configuration for a connection by which an authority verifies a name, or nil for any other.
	Challenge(hello *tls.ClientHelloInfo) *tls.Config
	// Covers reports whether the source has a certificate for host, or will have one.
	Covers(host string) bool
	// Agree reports whether the certificate in memory for a server name is valid for host.
	Agree(serverName, host string) bool
}

// errNotYet is the error of handshakes for a name whose certificate has not been obtained.
var errNotYet = errors.New("there is no certificate for this name yet")

// Store has the certificates from the last successful load of each. Any goroutine may call its methods.
type Store struct {
	options Options
	base    *tls.Config // what listeners use: it owns the keys of session tickets, which outlive reloads
	current atomic.Pointer[loaded]
	mu      sync.Mutex // one Reload at a time
}

type loaded struct {
	config   *tls.Config        // nil while no client can be served: no certificate is good, or those of clients cannot be verified
	files    []Files            // Options.Certs and then Options.Sites
	own      int                // number of Options.Certs
	pairs    []*tls.Certificate // of files; nil: left out
	names    index              // of pairs that had not expired when they were loaded
	expired  index              // of the others
	at       time.Time          // of the load
	revoked  *revocations       // nil: no list is configured, or none could be read
	problems []*FileError
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

// Load reads the files. It fails if there are neither certificates nor a source; Problems reports those that cannot be used.
func Load(o Options) (*Store, error) {
	if len(o.Certs) == 0 && len(o.Sites) == 0 && o.Source == nil {
		return nil, errors.New("no certificates")
	}
	s := &Store{options: o}
	s.current.Store(s.load(time.Now(), nil))
	// Session tickets are encrypted by keys of the base, which crypto/tls renews every day and accepts for a week, unless
	// SetTicketKeys was called.
	s.base = o.Profile.config(o.Protocols)
	s.base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if o.Source != nil {
			if challenge := o.Source.Challenge(hello); challenge != nil {
				return challenge, nil
			}
		}
		return s.current.Load().configFor(hello.ServerName, o.Source), nil
	}
	return s, nil
}

// SetTicketKeys replaces the keys of session tickets: the first encrypts, all decrypt. Stores that verify clients in different ways
// derive different keys, so that no session moves from one to the other.
func (s *Store) SetTicketKeys(keys [][32]byte) {
	own := slices.Clone(keys)
	if s.options.ClientAuth != tls.NoClientCert {
		for i := range own {
			mac := hmac.New(sha256.New, own[i][:])
			fmt.Fprintf(mac, "%d %s", s.options.ClientAuth, s.options.ClientCA)
			own[i] = [32]byte(mac.Sum(nil))
		}
	}
	s.base.SetSessionTicketKeys(own)
}

// configFor refuses a name without a matching certificate while a certificate is left out, because that one may match.
func (l *loaded) configFor(name string, source Source) *tls.Config {
	switch {
	case l.config == nil:
		return refusal
	case name == "" || !slices.Contains(l.pairs, nil) || l.covers(name) || source != nil && source.Covers(name):
		return l.config
	}
	return refusal
}

// certificate is tls.Config.GetCertificate: that of the files for a name, or else that of the source, or else one of the files that has
// expired. It returns nil for names without any certificate, which get the first of the files.
func (l *loaded) certificate(hello *tls.ClientHelloInfo, source Source) (*tls.Certificate, error) {
	if own := l.names.find(hello.ServerName); len(own) > 0 {
		return preferred(own, hello), nil
	}
	old := l.expired.find(hello.ServerName)
	if source == nil && len(old) == 0 {
		return nil, nil
	}
	var pair *tls.Certificate
	var err error
	if source != nil {
		pair, err = source.Certificate(hello)
	}
	if pair == nil && len(old) > 0 {
		return preferred(old, hello), nil
	}
	if pair == nil && err == nil && len(l.config.Certificates) > 0 && source.Covers(hello.ServerName) {
		err = errNotYet
	}
	return pair, err
}

// preferred returns the first certificate that the client supports, or else the first.
func preferred(own []*tls.Certificate, hello *tls.ClientHelloInfo) *tls.Certificate {
	for _, pair := range own {
		if hello.SupportsCertificate(pair) == nil {
			return pair
		}
	}
	return own[0]
}

func (l *loaded) covers(host string) bool {
	return len(l.names.find(host)) > 0 || len(l.expired.find(host)) > 0
}

// Agree reports whether the certificate that a client with this server name gets is valid for the host. Any goroutine.
func (s *Store) Agree(serverName, host string) bool {
	l := s.current.Load()
	if own := l.names.find(serverName); len(own) > 0 {
		return own[0].Leaf.VerifyHostname(host) == nil
	}
	if old := l.expired.find(serverName); len(old) > 0 {
		return old[0].Leaf.VerifyHostname(host) == nil || s.options.Source != nil && s.options.Source.Agree(serverName, host)
	}
	unnamed := l.config == nil || len(l.config.Certificates) == 0
	if source := s.options.Source; source != nil && (unnamed || serverName != "" && source.Covers(serverName)) {
		return source.Agree(serverName, host)
	}
	return !unnamed && l.config.Certificates[0].Leaf.VerifyHostname(host) == nil
}

// SetSites replaces Options.Sites, and loads those files that are new. A file that cannot be used is a problem, as in Load.
func (s *Store) SetSites(files []Files) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(files, s.options.Sites) {
		return
	}
	s.options.Sites = slices.Clone(files)
	s.current.Store(s.load(time.Now(), s.current.Load()))
}

// LeftOut reports whether a certificate cannot be used, so that its names are not known.
func (s *Store) LeftOut() bool { return slices.Contains(s.current.Load().pairs, nil) }

// Problems returns the problems of the last load, at most one per certificate.
func (s *Store) Problems() []*FileError { return s.current.Load().problems }

// Config returns the configuration for tls.Server. It follows reloads.
func (s *Store) Config() *tls.Config { return s.base }

// load reads all files. Certificates that cannot be read are kept from before, which may be nil.
func (s *Store) load(now time.Time, before *loaded) *loaded {
	o := &s.options
	l := &loaded{files: slices.Concat(o.Certs, o.Sites), own: len(o.Certs), at: now}
	read := func(file string) ([]byte, error) {
		info, err := os.Stat(file)
		if err != nil {
			l.seen = append(l.seen, stamp{file: file})
			return nil, err
		}
		l.seen = append(l.seen, stamp{file, info})
		return os.ReadFile(file)
	}
	config := o.Profile.config(o.Protocols)
	config.ClientAuth = o.ClientAuth
	for _, f := range l.files {
		pair, err := loadPair(f, read)
		if err == nil && hasExpired(pair, now) {
			err = fmt.Errorf("%s expired on %s", f.Cert, pair.Leaf.NotAfter.Format(time.DateOnly))
		}
		if err != nil {
			l.problems = append(l.problems, &FileError{Cert: f, Err: err})
			if old := before.pair(f); pair == nil || old != nil && old.Leaf.NotAfter.After(pair.Leaf.NotAfter) {
				pair = old
			}
		}
		if pair != nil {
			pair = s.stapled(pair, f)
		}
		l.pairs = append(l.pairs, pair)
	}
	l.arrange(config, o.Source)
	if o.ClientCA != "" {
		var err error
		if config.ClientCAs, err = loadPool(o.ClientCA, read); err != nil {
			l.problems = append(l.problems, &FileError{File: o.ClientCA, Err: err})
			if before != nil && before.config != nil {
				config.ClientCAs = before.config.ClientCAs
			}
		}
	}
	l.loadRevocations(o.ClientCRL, now, before, read)
	if l.revoked != nil {
		config.VerifyConnection = l.revoked.verify
	}
	if (len(config.Certificates) > 0 || o.Source != nil) && (o.ClientCA == "" || config.ClientCAs != nil) && (o.ClientCRL == "" || l.revoked != nil) {
		l.use(config, o.Source)
	}
	return l
}

// arrange sets l.names and l.expired, and the certificates of config by l.pairs. Clients without a server name, or with one that no
// certificate has, get the first of the listener, or else of a site. It is one that has expired if there is no other, and no source.
func (l *loaded) arrange(config *tls.Config, source Source) {
	good, old := make([]*tls.Certificate, len(l.pairs)), make([]*tls.Certificate, len(l.pairs))
	for i, pair := range l.pairs {
		if pair != nil && hasExpired(pair, l.at) {
			old[i] = pair
		} else {
			good[i] = pair
		}
	}
	l.names, l.expired = indexOf(good[l.own:], good[:l.own]), indexOf(old[l.own:], old[:l.own])
	if config.Certificates = l.unnamed(good); len(config.Certificates) == 0 && source == nil {
		config.Certificates = l.unnamed(old)
	}
}

// unnamed returns those of pairs that are of the listener, or else the first of a site.
func (l *loaded) unnamed(pairs []*tls.Certificate) (all []tls.Certificate) {
	for i, pair := range pairs {
		if pair != nil && (i < l.own || len(all) == 0) {
			all = append(all, *pair)
		}
	}
	return all
}

func hasExpired(pair *tls.Certificate, now time.Time) bool { return now.After(pair.Leaf.NotAfter) }

// expires reports whether a certificate has expired since the load.
func (l *loaded) expires(now time.Time) bool {
	return slices.ContainsFunc(l.pairs, func(pair *tls.Certificate) bool {
		return pair != nil && hasExpired(pair, now) && !hasExpired(pair, l.at)
	})
}

// pair returns the certificate of the files, or nil. l may be nil.
func (l *loaded) pair(f Files) *tls.Certificate {
	if l == nil {
		return nil
	}
	if i := slices.Index(l.files, f); i >= 0 {
		return l.pairs[i]
	}
	return nil
}

// use makes config that of l.
func (l *loaded) use(config *tls.Config, source Source) {
	l.config = config
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return l.certificate(hello, source) }
}

// loadRevocations sets l.revoked, to that of before if the file cannot be read.
func (l *loaded) loadRevocations(file string, now time.Time, before *loaded, read func(string) ([]byte, error)) {
	if file == "" {
		return
	}
	revoked, expired, err := loadCRL(file, now, read)
	for _, problem := range []error{expired, err} {
		if problem != nil {
			l.problems = append(l.problems, &FileError{File: file, Err: problem})
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

// Reload reads the files again if one of them has changed or could not be used, or if a certificate has expired. A certificate with bad
// new files stays as it was; see Problems.
func (s *Store) Reload() (changed bool) { return s.reload(time.Now()) }

func (s *Store) reload(now time.Time) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.current.Load()
	if len(before.problems) == 0 && !before.stale() && !before.expires(now) {
		return false
	}
	l := s.load(now, before)
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

// Covers reports whether one of the certificates matches host, or one of the source.
func (s *Store) Covers(host string) bool {
	return s.current.Load().covers(host) || s.options.Source != nil && s.options.Source.Covers(host)
}

// FromFiles is the certificate of some files, and the problem with them.
type FromFiles struct {
	Files
	*tls.Certificate            // nil: none is served
	Problem          *FileError // nil: none
}

// FromFiles returns the certificates from files.
func (s *Store) FromFiles() (all []FromFiles) {
	current := s.current.Load()
	for i, pair := range current.pairs {
		one := FromFiles{Files: current.files[i], Certificate: pair}
		for _, problem := range current.problems {
			if problem.File == "" && problem.Cert == one.Files {
				one.Problem = problem
			}
		}
		all = append(all, one)
	}
	return all
}

// Expires returns the earliest expiry of the certificates, or zero if there is none.
func (s *Store) Expires() (first time.Time) {
	for _, pair := range s.current.Load().pairs {
		if pair != nil && (first.IsZero() || pair.Leaf.NotAfter.Before(first)) {
			first = pair.Leaf.NotAfter
		}
	}
	return first
}
