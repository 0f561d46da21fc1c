// OCSP responses (RFC 6960): fetched from the responder that a certificate names, verified, and cached in the storage.

package acme

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ocsp"
)

const (
	responseMax  = 64 << 10 // bytes of a response
	responderMax = 10 * time.Second
	updateRetry  = 10 * time.Minute
	knownMax     = 1024 // certificates from files
)

// Stapler fetches OCSP responses. Any goroutine may call its methods.
type Stapler struct {
	storage certmagic.Storage // nil: no cache
	client  *http.Client
	mu      sync.Mutex
	known   map[string]Answer // by stapleKey
}

// NewStapler returns a Stapler that caches in storage; nil is none.
func NewStapler(storage certmagic.Storage) *Stapler {
	return &Stapler{storage: storage, client: &http.Client{Timeout: responderMax}, known: map[string]Answer{}}
}

// Known returns the staple of the last Update while it is valid, or nil. It does not block.
func (s *Stapler) Known(pair *tls.Certificate) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known[stapleKey(pair.Leaf)]
	if ended(known.Ends) {
		return nil
	}
	return known.Staple
}

// ended reports whether a response that is valid until at has ended. Zero is no end.
func ended(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }

// left returns the response that pair has and its end, or nil if it has ended.
func (s *Stapler) left(pair *tls.Certificate) ([]byte, time.Time) {
	if pair.OCSPStaple == nil {
		return nil, time.Time{}
	}
	response, err := ocsp.ParseResponseForCert(pair.OCSPStaple, pair.Leaf, nil)
	if err != nil || ended(response.NextUpdate) {
		return nil, time.Time{}
	}
	return pair.OCSPStaple, response.NextUpdate
}

// Update fetches the response of a certificate if the last one is no longer fresh. After a failure it waits for some minutes, and returns
// nil meanwhile.
func (s *Stapler) Update(ctx context.Context, pair *tls.Certificate) error {
	key, now := stapleKey(pair.Leaf), time.Now()
	s.mu.Lock()
	known, ok := s.known[key]
	s.mu.Unlock()
	if ok && now.Before(known.Refresh) {
		return nil
	}
	answer, err := s.Fetch(ctx, pair)
	if err == nil && answer.Revoked {
		err = fmt.Errorf("OCSP: the certificate is revoked: %s", pair.Leaf.Subject)
	}
	if err != nil {
		answer.Refresh = now.Add(updateRetry)
		if answer.Status == "" && now.Before(known.Ends) { // the last one is still valid
			answer.Status, answer.Staple, answer.Ends = known.Status, known.Staple, known.Ends
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= knownMax { // certificates that were replaced
		clear(s.known)
	}
	s.known[key] = answer
	return err
}

// Answer is what a responder says of a certificate.
type Answer struct {
	Status  string    // "good", "revoked" or "unknown"
	Staple  []byte    // DER; nil unless the status is good
	Refresh time.Time // when to fetch it again
	Ends    time.Time // until when it is valid
	Revoked bool
}

// errNoIssuer means that a responder cannot be asked, because the file of the certificate lacks its issuer.
var errNoIssuer = errors.New("OCSP: the chain of the certificate has no issuer")

// Cached returns the answer in the storage. Its Staple is nil if there is none that is valid.
func (s *Stapler) Cached(ctx context.Context, pair *tls.Certificate) Answer {
	issuer, err := issuerOf(pair)
	if err != nil || s.storage == nil || len(pair.Leaf.OCSPServer) == 0 {
		return Answer{}
	}
	text, err := s.storage.Load(ctx, stapleKey(pair.Leaf))
	if err != nil {
		return Answer{}
	}
	response, err := verify(text, pair.Leaf, issuer)
	if err != nil || response.Status != ocsp.Good {
		return Answer{}
	}
	return answerOf(response, text)
}

// Fetch returns the cached answer while it is fresh, or else asks the responder. The certificate must name one.
func (s *Stapler) Fetch(ctx context.Context, pair *tls.Certificate) (Answer, error) {
	if a := s.Cached(ctx, pair); a.Staple != nil && time.Now().Before(a.Refresh) {
		return a, nil
	}
	issuer, err := issuerOf(pair)
	if err != nil {
		return Answer{}, err
	}
	text, err := s.ask(ctx, pair.Leaf, issuer)
	if err != nil {
		return Answer{}, fmt.Errorf("OCSP: %w", err)
	}
	response, err := verify(text, pair.Leaf, issuer)
	if err != nil {
		return Answer{}, fmt.Errorf("OCSP: %w", err)
	}
	a := answerOf(response, text)
	if a.Staple != nil && s.storage != nil { // without a cache the next process asks again
		_ = s.storage.Store(ctx, stapleKey(pair.Leaf), text)
	}
	return a, nil
}

// answerOf returns what a verified response says. It is fresh for half of its validity; without an end, for an hour.
func answerOf(r *ocsp.Response, text []byte) Answer {
	a := Answer{Status: "unknown", Refresh: time.Now().Add(time.Hour), Ends: r.NextUpdate}
	if !r.NextUpdate.IsZero() {
		a.Refresh = r.ThisUpdate.Add(r.NextUpdate.Sub(r.ThisUpdate) / 2)
	}
	switch r.Status {
	case ocsp.Good:
		a.Status, a.Staple = "good", text
	case ocsp.Revoked:
		a.Status, a.Revoked = "revoked", true
	}
	return a
}

func (s *Stapler) ask(ctx context.Context, leaf, issuer *x509.Certificate) ([]byte, error) {
	question, err := ocsp.CreateRequest(leaf, issuer, nil)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, leaf.OCSPServer[0], bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/ocsp-request")
	r.Header.Set("Accept", "application/ocsp-response")
	w, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Body.Close() }()
	if w.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", leaf.OCSPServer[0], w.Status)
	}
	return io.ReadAll(io.LimitReader(w.Body, responseMax))
}

// verify parses a response for leaf. The signature must be that of the issuer, or of a responder that the issuer has authorised (RFC
// 6960, section 4.2.2.2), and the response must be valid now.
func verify(text []byte, leaf, issuer *x509.Certificate) (*ocsp.Response, error) {
	response, err := ocsp.ParseResponseForCert(text, leaf, issuer)
	if err != nil {
		return nil, err
	}
	if by := response.Certificate; by != nil && !by.Equal(issuer) && !slices.Contains(by.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return nil, errors.New("the responder is not authorised by the issuer")
	}
	if now := time.Now(); response.ThisUpdate.After(now) || !response.NextUpdate.IsZero() && now.After(response.NextUpdate) {
		return nil, errors.New("the response is not valid now")
	}
	return response, nil
}

func issuerOf(pair *tls.Certificate) (*x509.Certificate, error) {
	if len(pair.Certificate) < 2 {
		return nil, errNoIssuer
	}
	return x509.ParseCertificate(pair.Certificate[1])
}

func stapleKey(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return path.Join("ocsp", hex.EncodeToString(sum[:16]))
}
