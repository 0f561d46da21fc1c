// Package certs is the TLS of a listener as files: certificates, their keys and OCSP staples, and the authorities of client
// certificates. It reads them, reads them again when they have changed, and never lets a bad new file take the place of good
// old ones.
package certs

import (
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

// Files are one certificate.
type Files struct {
	Cert string // PEM: the certificate, and the chain behind it
	Key  string // PEM
	OCSP string // DER: an OCSP response to staple; "" or a file that is not there: none
}

// Options are what a Store is made of.
type Options struct {
	// Certs by preference: a client gets the first that fits the name it asks for, and without one the first.
	Certs      []Files
	MinVersion uint16 // of TLS
	ClientAuth tls.ClientAuthType
	ClientCA   string // PEM; "" where clients show no certificates
}

// Store holds what the files said when they were last good. Its methods may be called by any goroutine.
type Store struct {
	options Options
	base    *tls.Config // what listeners use: it owns the keys of session tickets, which outlive reloads
	current atomic.Pointer[loaded]
	mu      sync.Mutex // one Reload at a time
}

type loaded struct {
	config *tls.Config
	leaves []*x509.Certificate
	seen   []stamp
}

// stamp tells whether a file has changed, or its path leads to another one.
type stamp struct {
	file string
	info os.FileInfo
}

// holds tells whether the file is the same and untouched. Its status changes with each rename and touch, its size and modification
// time need not.
func (s *stamp) holds(info os.FileInfo) bool {
	return os.SameFile(info, s.info) && info.Size() == s.info.Size() && info.ModTime().Equal(s.info.ModTime()) && statusTime(info) == statusTime(s.info)
}

func statusTime(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ctim.Nano()
	}
	return 0
}

// Load reads the files. The error names the one that is at fault.
func Load(o Options) (*Store, error) {
	if len(o.Certs) == 0 {
		return nil, errors.New("no certificates")
	}
	s := &Store{options: o}
	l, err := s.load(time.Now())
	if err != nil {
		return nil, err
	}
	s.current.Store(l)
	// Session tickets are encrypted by keys of the base, which crypto/tls makes anew every day and takes for a week.
	s.base = &tls.Config{
		MinVersion:         o.MinVersion,
		NextProtos:         []string{"http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load().config, nil },
	}
	return s, nil
}

// Config is for tls.Server. It follows reloads.
func (s *Store) Config() *tls.Config { return s.base }

func (s *Store) load(now time.Time) (*loaded, error) {
	o := &s.options
	l := &loaded{config: &tls.Config{MinVersion: o.MinVersion, ClientAuth: o.ClientAuth, NextProtos: []string{"http/1.1"}}}
	read := func(file string) ([]byte, error) {
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		l.seen = append(l.seen, stamp{file, info})
		return os.ReadFile(file)
	}
	for _, f := range o.Certs {
		cert, err := loadPair(f, read)
		if err != nil {
			return nil, err
		}
		if now.After(cert.Leaf.NotAfter) {
			return nil, fmt.Errorf("%s expired on %s", f.Cert, cert.Leaf.NotAfter.Format(time.DateOnly))
		}
		l.config.Certificates = append(l.config.Certificates, cert)
		l.leaves = append(l.leaves, cert.Leaf)
	}
	if o.ClientCA != "" {
		pem, err := read(o.ClientCA)
		if err != nil {
			return nil, err
		}
		l.config.ClientCAs = x509.NewCertPool()
		if !l.config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", o.ClientCA)
		}
	}
	return l, nil
}

func loadPair(f Files, read func(string) ([]byte, error)) (cert tls.Certificate, err error) {
	chain, err := read(f.Cert)
	if err != nil {
		return cert, err
	}
	key, err := read(f.Key)
	if err != nil {
		return cert, err
	}
	if cert, err = tls.X509KeyPair(chain, key); err != nil {
		return cert, fmt.Errorf("%s with %s: %w", f.Cert, f.Key, err)
	}
	if f.OCSP != "" {
		staple, err := read(f.OCSP)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return cert, err
		}
		cert.OCSPStaple = staple
	}
	return cert, nil
}

// Reload reads the files again if one of them has changed. After an error all is as before.
func (s *Store) Reload() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stale() {
		return false, nil
	}
	l, err := s.load(time.Now())
	if err != nil {
		return false, err
	}
	s.current.Store(l)
	return true, nil
}

func (s *Store) stale() bool {
	for _, was := range s.current.Load().seen {
		info, err := os.Stat(was.file)
		if err != nil || !was.holds(info) {
			return true
		}
	}
	// A staple that was not there may be now.
	for _, f := range s.options.Certs {
		known := slices.ContainsFunc(s.current.Load().seen, func(w stamp) bool { return w.file == f.OCSP })
		if _, err := os.Stat(f.OCSP); f.OCSP != "" && !known && err == nil {
			return true
		}
	}
	return false
}

// Covers tells whether one of the certificates is good for a host.
func (s *Store) Covers(host string) bool {
	return slices.ContainsFunc(s.current.Load().leaves, func(leaf *x509.Certificate) bool { return leaf.VerifyHostname(host) == nil })
}

// Expires is when the first of the certificates does.
func (s *Store) Expires() (first time.Time) {
	for _, leaf := range s.current.Load().leaves {
		if first.IsZero() || leaf.NotAfter.Before(first) {
			first = leaf.NotAfter
		}
	}
	return first
}
