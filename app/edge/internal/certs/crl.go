// Revocation lists (RFC 5280 section 5) for the certificates of clients.

package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// revocations are the lists of one file.
type revocations struct {
	file  string
	lists []revocationList
}

type revocationList struct {
	*x509.RevocationList
	serials map[string]bool // of the revoked certificates
}

// loadCRL reads lists in PEM or DER. expired is the problem of a list that is not valid any more; it is returned with the
// lists, because certificates of other issuers can still be verified.
func loadCRL(file string, now time.Time, read func(string) ([]byte, error)) (r *revocations, expired, err error) {
	text, err := read(file)
	if err != nil {
		return nil, nil, err
	}
	r = &revocations{file: file}
	for _, der := range crlBlocks(text) {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		serials := make(map[string]bool, len(list.RevokedCertificateEntries))
		for _, entry := range list.RevokedCertificateEntries {
			serials[string(entry.SerialNumber.Bytes())] = true
		}
		r.lists = append(r.lists, revocationList{list, serials})
		if now.After(list.NextUpdate) {
			expired = fmt.Errorf("%s: the list of %s expired on %s", file, list.Issuer, list.NextUpdate.Format(time.DateOnly))
		}
	}
	if len(r.lists) == 0 {
		return nil, nil, fmt.Errorf("%s holds no revocation list", file)
	}
	return r, expired, nil
}

// crlBlocks returns the lists in a PEM file, or text itself if it is not PEM.
func crlBlocks(text []byte) (all [][]byte) {
	block, rest := pem.Decode(text)
	if block == nil && len(text) > 0 {
		return [][]byte{text}
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "X509 CRL" {
			all = append(all, block.Bytes)
		}
	}
	return all
}

// verify is tls.Config.VerifyConnection: it refuses a client that has a certificate but no chain without revoked ones.
// crypto/tls calls it for resumed sessions too.
func (r *revocations) verify(state tls.ConnectionState) error {
	var refusal error
	for _, chain := range state.VerifiedChains {
		if refusal = r.check(chain, time.Now()); refusal == nil {
			return nil
		}
	}
	return refusal
}

// check returns an error unless each certificate of the chain but the root is absent from a valid list of its issuer.
func (r *revocations) check(chain []*x509.Certificate, now time.Time) error {
	for i, cert := range chain[:len(chain)-1] {
		found := false
		for _, list := range r.lists {
			if !bytes.Equal(list.RawIssuer, cert.RawIssuer) || list.CheckSignatureFrom(chain[i+1]) != nil {
				continue
			}
			if list.serials[string(cert.SerialNumber.Bytes())] {
				return fmt.Errorf("the certificate of %s is revoked", cert.Subject)
			}
			found = found || now.Before(list.NextUpdate)
		}
		if !found {
			return fmt.Errorf("%s has no valid list of %s", r.file, cert.Issuer)
		}
	}
	return nil
}
