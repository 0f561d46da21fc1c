// OCSP responses for certificates from files that name a responder and have no file with a response.

package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"slices"
)

// Stapler has OCSP responses.
type Stapler interface {
	// Known returns the response in memory, or nil. It does not block.
	Known(pair *tls.Certificate) []byte
	// Update fetches the response unless the one in memory is fresh. The error is that of the responder.
	Update(ctx context.Context, pair *tls.Certificate) error
}

// stapled returns pair with the response in memory, if it needs one.
func (s *Store) stapled(pair *tls.Certificate, f Files) *tls.Certificate {
	if s.options.Stapler == nil || f.OCSP != "" || len(pair.Leaf.OCSPServer) == 0 {
		return pair
	}
	known := s.options.Stapler.Known(pair)
	if bytes.Equal(known, pair.OCSPStaple) {
		return pair
	}
	updated := *pair
	updated.OCSPStaple = known
	return &updated
}

// Staple fetches responses that are due, and serves them. It blocks; the errors are those of responders.
func (s *Store) Staple(ctx context.Context) (errs []error) {
	if s.options.Stapler == nil {
		return nil
	}
	current := s.current.Load()
	for i, pair := range current.pairs {
		if pair == nil || current.files[i].OCSP != "" || len(pair.Leaf.OCSPServer) == 0 {
			continue
		}
		if err := s.options.Stapler.Update(ctx, pair); err != nil {
			errs = append(errs, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.current.Load()
	if before.config == nil {
		return errs
	}
	after, config, changed := *before, before.config.Clone(), false
	after.pairs = slices.Clone(before.pairs)
	for i, pair := range after.pairs {
		if pair != nil {
			after.pairs[i] = s.stapled(pair, after.files[i])
			changed = changed || after.pairs[i] != pair
		}
	}
	if changed {
		after.arrange(config, s.options.Source)
		after.use(config, s.options.Source)
		s.current.Store(&after)
	}
	return errs
}
