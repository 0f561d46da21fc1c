// When a name is due, one attempt at it, and the wait after a failure.

package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// run starts an attempt at each name that is due, until Close.
func (m *Manager) run() {
	cleaned := time.Now().Add(-cleanEvery + m.options.CheckEvery) // not while the process starts
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.changed:
		case <-timer.C:
		}
		now := time.Now()
		if now.Sub(cleaned) > cleanEvery {
			cleaned = now
			m.running.Go(m.clean)
		}
		next := now.Add(m.options.CheckEvery)
		for e := range m.all {
			if due := e.takeDue(now); !due.IsZero() {
				next = earlier(next, due)
				continue
			}
			m.running.Go(func() {
				defer m.wake()
				select {
				case m.attempts <- struct{}{}:
				case <-m.ctx.Done():
					return
				}
				defer func() { <-m.attempts }()
				m.attempt(m.ctx, e)
			})
		}
		timer.Reset(max(time.Until(next), 0))
	}
}

// takeDue marks an entry that is due as busy and returns zero, or else returns when it will be. A busy one is far off.
func (e *entry) takeDue(now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.state.busy:
		return now.Add(attemptMax)
	case e.state.due.After(now):
		return e.state.due
	}
	e.state.busy = true
	return time.Time{}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// attempt brings a name up to date, whatever is missing: it obtains, renews, loads what another process has renewed, asks the authority
// when to renew (RFC 9773), and fetches the OCSP response. A certificate that was served before is served until there is a
// better one.
func (m *Manager) attempt(ctx context.Context, e *entry) {
	ctx, cancel := context.WithTimeout(ctx, attemptMax)
	defer cancel()
	if e.onDemand && !m.demand.renewable(ctx, e) {
		m.entries.CompareAndDelete(e.name, e)
		return
	}
	m.work(ctx, e)
}

func (m *Manager) work(ctx context.Context, e *entry) {
	before := e.served.Load()
	config := m.config
	if before != nil && !m.suggestedAt(ctx, before.Leaf, e.name).IsZero() {
		config = m.suggested
	}
	pair, err := m.manage(ctx, config, e.name)
	if err != nil && m.repair(ctx, e.name) {
		pair, err = m.manage(ctx, config, e.name)
	}
	if m.ctx.Err() != nil { // Close has interrupted it
		return
	}
	m.use(e, pair)
	current := e.served.Load()
	s := state{due: time.Now().Add(jitter(m.options.CheckEvery, 0.1))}
	if current != nil {
		s.renewal = m.renewalOf(ctx, current.Leaf, e.name)
		if s.renewal.After(time.Now()) {
			s.due = earlier(s.due, s.renewal)
		}
		if stapleErr := m.staple(ctx, e, &s); err == nil {
			err = stapleErr
		}
		current = e.served.Load()
	}
	if err == nil && !same(before, current) {
		m.log.Info("certificate in use", "name", e.name, "issuer", IssuerOf(current), "expires", current.Leaf.NotAfter.Format(time.RFC3339))
	}
	m.settle(e, s, err)
}

// manage makes certmagic do what a name needs, once. It returns the certificate in the storage, also with an error.
func (m *Manager) manage(ctx context.Context, config *certmagic.Config, name string) (*tls.Certificate, error) {
	subject := []certmagic.SubjectIssuer{{Subject: name}}
	m.cache.RemoveManaged(subject) // certmagic reads the storage only for what is not in its cache
	defer m.cache.RemoveManaged(subject)
	err := config.ManageSync(ctx, []string{name})
	pair := m.cached(name)
	if pair == nil && err == nil { // another attempt, from before the name was removed and added again, has removed it from the cache
		if pair = m.stored(ctx, name); pair == nil {
			err = errors.New("the storage has no certificate")
		}
	}
	return pair, err
}

// cached returns the certificate of a name in the cache of certmagic.
func (m *Manager) cached(name string) (newest *tls.Certificate) {
	for _, c := range m.cache.AllMatchingCertificates(name) {
		if len(c.Names) > 0 && c.Names[0] == name && (newest == nil || c.Leaf.NotAfter.After(newest.Leaf.NotAfter)) {
			newest = &c.Certificate
		}
	}
	return newest
}

// stored returns the certificate in the storage, or nil.
func (m *Manager) stored(ctx context.Context, name string) *tls.Certificate {
	c, err := m.config.CacheManagedCertificate(ctx, name)
	m.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: name}})
	if err != nil {
		return nil
	}
	return &c.Certificate
}

// load makes a stored certificate the one that is served, without a network.
func (m *Manager) load(ctx context.Context, e *entry) {
	if pair := m.stored(ctx, e.name); pair != nil {
		pair.OCSPStaple = m.stapler.Cached(ctx, pair).Staple
		m.use(e, pair)
	}
}

// use serves pair from now on, unless the one that is served lives longer: the storage may have been set back.
func (m *Manager) use(e *entry, pair *tls.Certificate) {
	before := e.served.Load()
	if pair == nil || before != nil && (same(before, pair) || before.Leaf.NotAfter.After(pair.Leaf.NotAfter) && time.Now().Before(before.Leaf.NotAfter)) {
		return
	}
	e.served.Store(pair)
}

// repair removes the files of a name from the storage if they are not a certificate with its key, so that a new one is obtained. It
// reports whether it did. A lock keeps other processes from removing what has replaced them.
func (m *Manager) repair(ctx context.Context, name string) bool {
	storage, lock := m.options.Storage, "repair_"+name
	broken := func() (keys []string) {
		for _, issuer := range m.issuers {
			all := []string{certmagic.StorageKeys.SiteCert(issuer.IssuerKey(), name), certmagic.StorageKeys.SitePrivateKey(issuer.IssuerKey(), name),
				certmagic.StorageKeys.SiteMeta(issuer.IssuerKey(), name)}
			var text [3][]byte
			for i, key := range all {
				var err error
				if text[i], err = storage.Load(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return nil // the storage fails, not what is in it
				}
			}
			if text[0] == nil && text[1] == nil && text[2] == nil {
				continue
			}
			if _, err := tls.X509KeyPair(text[0], text[1]); err != nil || !json.Valid(text[2]) {
				keys = append(keys, all...)
			}
		}
		return keys
	}
	if broken() == nil || storage.Lock(ctx, lock) != nil {
		return false
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), lock) }()
	keys := broken()
	for _, key := range keys {
		if err := storage.Delete(ctx, key); err != nil {
			return false
		}
	}
	if len(keys) > 0 {
		m.log.Warn("a stored certificate was damaged and is obtained again", "name", name)
	}
	return true
}

// renewalOf returns the planned time of the renewal: what the authority has suggested, or when a third of the lifetime is left.
func (m *Manager) renewalOf(ctx context.Context, leaf *x509.Certificate, name string) time.Time {
	left := func(ratio float64) time.Time {
		return leaf.NotAfter.Add(-time.Duration(float64(leaf.NotAfter.Sub(leaf.NotBefore)) * ratio))
	}
	if at := m.suggestedAt(ctx, leaf, name); !at.IsZero() {
		return earlier(left(suggestedRatio), at)
	}
	return left(certmagic.DefaultRenewalWindowRatio)
}

// suggestedAt returns the time that was picked at random in the window of the authority, or zero without a window.
func (m *Manager) suggestedAt(ctx context.Context, leaf *x509.Certificate, name string) time.Time {
	id, err := acme.ARIUniqueIdentifier(leaf)
	if err != nil {
		return time.Time{}
	}
	for _, issuer := range m.issuers {
		text, err := m.options.Storage.Load(ctx, certmagic.StorageKeys.SiteMeta(issuer.IssuerKey(), name))
		if err != nil {
			continue
		}
		var resource certmagic.CertificateResource
		var data acme.Certificate
		if json.Unmarshal(text, &resource) == nil && json.Unmarshal(resource.IssuerData, &data) == nil &&
			data.RenewalInfo != nil && data.RenewalInfo.UniqueIdentifier == id {
			return data.RenewalInfo.SelectedTime
		}
	}
	return time.Time{}
}

// staple fetches the OCSP response of the certificate that is served. One that has ended is no longer sent: clients refuse it. A
// certificate that is revoked is replaced.
func (m *Manager) staple(ctx context.Context, e *entry, s *state) error {
	pair := e.served.Load()
	if len(pair.Leaf.OCSPServer) == 0 {
		return nil
	}
	answer, err := m.stapler.Fetch(ctx, pair)
	if err == nil && answer.Revoked {
		s.staple, s.due = answer.Status, time.Now()
		return m.replace(ctx, e)
	}
	staple := answer.Staple
	if staple == nil {
		staple, s.stapleEnds = m.stapler.left(pair)
	}
	if string(staple) != string(pair.OCSPStaple) {
		stapled := *pair
		stapled.OCSPStaple = staple
		e.served.CompareAndSwap(pair, &stapled)
	}
	if err != nil {
		s.staple = "no response"
		return err
	}
	e.replacedAt = time.Time{}
	s.staple, s.due = answer.Status, earlier(s.due, answer.Refresh)
	return nil
}

// errRevokedAgain keeps a responder that is wrong about every certificate from causing one order after the other.
var errRevokedAgain = errors.New("OCSP: the certificate is revoked, and so was the one before it, a short time ago")

// replace obtains and serves a certificate in place of one that is revoked, whichever ends later.
func (m *Manager) replace(ctx context.Context, e *entry) error {
	if time.Since(e.replacedAt) < m.options.RetryMax {
		return errRevokedAgain
	}
	if err := m.config.RenewCertSync(ctx, e.name, true); err != nil {
		return err
	}
	e.replacedAt = time.Now()
	if pair := m.stored(ctx, e.name); pair != nil {
		e.served.Store(pair)
	}
	return nil
}

// settle records the end of an attempt. After a failure the next one waits longer.
func (m *Manager) settle(e *entry, s state, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		e.state = s
		return
	}
	m.counts.failed.Add(1)
	s.failures, s.failedAt, s.problem = e.state.failures+1, time.Now(), reasonOf(err)
	left := m.options.RetryMax
	if pair := e.served.Load(); pair != nil {
		left = time.Until(pair.Leaf.NotAfter)
	}
	s.due = s.failedAt.Add(m.retryAfter(err, s.failures, left))
	if s.stapleEnds.After(s.failedAt) {
		s.due = earlier(s.due, s.stapleEnds)
	}
	e.state = s
	m.log.Error("certificate not obtained", "name", e.name, "reason", s.problem, "failures", s.failures, "next", s.due.Format(time.RFC3339),
		"expires", shownExpiry(e))
}

func shownExpiry(e *entry) string {
	if pair := e.served.Load(); pair != nil {
		return pair.Leaf.NotAfter.Format(time.RFC3339)
	}
	return "none"
}

// reasonOf returns an error in one line, without what certmagic repeats.
func reasonOf(err error) string {
	var problem acme.Problem
	text := err.Error()
	if errors.As(err, &problem) {
		text = problem.Error()
	}
	return strings.Join(strings.Fields(text), " ")
}

// retryText is how Let's Encrypt says when a rate limit ends.
var retryText = regexp.MustCompile(`retry after (\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)`)

// retryAfter is the wait after failures in a row. It doubles each time, but leaves at least a dozen attempts in the time that is left. A
// rate limit ends when the authority says so, or else is waited for for an hour.
func (m *Manager) retryAfter(err error, failures int, left time.Duration) time.Duration {
	o := &m.options
	wait := o.RetryMax
	if doublings := failures - 1; doublings < 20 {
		wait = min(wait, o.RetryMin<<doublings)
	}
	wait = max(min(wait, left/12), min(o.RetryMin, wait))
	var problem acme.Problem
	if errors.As(err, &problem) && problem.Type == acme.ProblemTypeRateLimited {
		wait = min(max(wait, 60*o.RetryMin), o.RetryMax)
		if m := retryText.FindStringSubmatch(problem.Detail); m != nil {
			if at, err := time.Parse(time.DateTime, strings.Replace(m[1], "T", " ", 1)); err == nil {
				wait = min(max(time.Until(at), o.RetryMin), 24*time.Hour)
			}
		}
	}
	return jitter(wait, 0.2)
}

// jitter returns d, longer by up to the part of it, so that processes that began together do not stay together.
func jitter(d time.Duration, part float64) time.Duration {
	return d + time.Duration(rand.Float64()*part*float64(d))
}

// clean removes expired certificates and OCSP responses from the storage, once a day among all processes.
func (m *Manager) clean() {
	err := certmagic.CleanStorage(m.ctx, m.options.Storage, certmagic.CleanStorageOptions{
		Logger: zapLogger(m.log), Interval: cleanEvery, OCSPStaples: true, ExpiredCerts: true, ExpiredCertGracePeriod: expiredKept,
	})
	if err != nil && m.ctx.Err() == nil {
		m.log.Warn("the storage of certificates was not cleaned", "error", cmp.Or(errors.Unwrap(err), err))
	}
}
