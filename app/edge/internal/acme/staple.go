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
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ocsp"
)

const (
	responseMax  = 64 << 10 // bytes of a response
	responderMax = 10 * time.Second
)

// Stapler fetches OCSP responses. Any goroutine may call its methods.
type Stapler struct {
	storage certmagic.Storage // nil: no cache
	client  *http.Client
}

// NewStapler returns a Stapler that caches in storage; nil is none.
func NewStapler(storage certmagic.Storage) *Stapler {
	return &Stapler{storage: storage, client: &http.Client{Timeout: responderMax}}
}

// Answer is what a responder says of a certificate.
type Answer struct {
	Status  string    // "good", "revoked" or "unknown"
	Staple  []byte    // DER; nil unless the status is good
	Refresh time.Time // when to fetch it again
	Revoked bool
}

// errNoIssuer means that a responder cannot be asked, because the file of the certificate lacks its issuer.
var errNoIssuer = errors.New("OCSP: the chain of the certificate has no issuer")

// Cached returns the staple in the storage and the time to refresh it; nil if there is none that is valid.
func (s *Stapler) Cached(ctx context.Context, pair *tls.Certificate) ([]byte, time.Time) {
	issuer, err := issuerOf(pair)
	if err != nil || s.storage == nil || len(pair.Leaf.OCSPServer) == 0 {
		return nil, time.Time{}
	}
	text, err := s.storage.Load(ctx, stapleKey(pair.Leaf))
	if err != nil {
		return nil, time.Time{}
	}
	response, err := verify(text, pair.Leaf, issuer)
	if err != nil || response.Status != ocsp.Good {
		return nil, time.Time{}
	}
	return text, refreshOf(response)
}

// Fetch returns the cached answer while it is fresh, or else asks the responder. The certificate must name one.
func (s *Stapler) Fetch(ctx context.Context, pair *tls.Certificate) (Answer, error) {
	if staple, refresh := s.Cached(ctx, pair); staple != nil && time.Now().Before(refresh) {
		return Answer{Status: "good", Staple: staple, Refresh: refresh}, nil
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
	a := Answer{Refresh: refreshOf(response)}
	switch response.Status {
	case ocsp.Good:
		a.Status, a.Staple = "good", text
		if s.storage != nil { // without a cache the next process asks again
			_ = s.storage.Store(ctx, stapleKey(pair.Leaf), text)
		}
	case ocsp.Revoked:
		a.Status, a.Revoked = "revoked", true
	default:
		a.Status = "unknown"
	}
	return a, nil
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

// refreshOf returns when half of the validity of a response is over; without an end, in an hour.
func refreshOf(r *ocsp.Response) time.Time {
	if r.NextUpdate.IsZero() {
		return time.Now().Add(time.Hour)
	}
	return r.ThisUpdate.Add(r.NextUpdate.Sub(r.ThisUpdate) / 2)
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
