package acme

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const host = "one.example"

func TestFirstOrder(t *testing.T) {
	for _, c := range []struct {
		why    string
		change func(o *Options)
		flags  []string
	}{
		{"HTTP-01, on a plain listener", func(o *Options) { o.TLSALPN01 = false }, nil},
		{"TLS-ALPN-01, on the TLS listener", func(o *Options) { o.HTTP01 = false }, nil},
		{"both, and an account with an address", func(o *Options) { o.Email = "admin@one.example" }, nil},
		{"a profile", func(o *Options) { o.Authorities[0].Profile = "shortlived" }, []string{"-profile", "shortlived", "-valid", "518400"}},
		{"an external account", func(o *Options) {
			o.Authorities[0].KeyID, o.Authorities[0].MACKey = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
		}, []string{"-eab-key", "kid-1", "-eab-mac", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := startSite(t)
			a := startAuthority(t, s, c.flags...)
			o := quick(files(t.TempDir()), a.options())
			o.Names = []string{host, "two.example"}
			c.change(&o)
			m := s.start(t, o)
			for _, name := range o.Names {
				eventually(t, name+" has a certificate", func() bool { return s.serial(name) != "" })
				_, err := s.handshake(name, a.issuer)
				require.NoError(t, err, "it is the authority's, for the name")
			}
			require.Equal(t, uint64(2), m.Counts().Issued)
			require.NotZero(t, m.Counts().Challenges)
			eventually(t, "the attempt has ended", func() bool { return !row(m, host).Renewal.IsZero() })
			require.Empty(t, row(m, host).Problem)
			require.Contains(t, row(m, host).Issuer, "Pebble")
			require.True(t, row(m, host).Renewal.Before(row(m, host).Expires))
			_, err := s.handshake("other.example", nil)
			require.ErrorContains(t, err, "unrecognized name")
			require.NotEmpty(t, s.serial(""), "a client without SNI gets the first")
		})
	}
}

func TestAProfileThatIsNotOffered(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	o := quick(files(t.TempDir()), a.options())
	o.Names, o.Authorities[0].Profile = []string{host}, "none"
	m := s.start(t, o)
	eventually(t, "it fails", func() bool { return row(m, host).Failures > 0 })
	require.Contains(t, row(m, host).Problem, "profile")
}

func TestAnExternalAccountIsRequired(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s, "-eab-key", "kid-1", "-eab-mac", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	eventually(t, "it fails", func() bool { return row(m, host).Failures > 1 })
	require.Contains(t, row(m, host).Problem, "externalAccountRequired")
}

// Clients with and without kept connections see three certificates and no failure.
func TestRenewalUnderLoad(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s, "-valid", "9")
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	s.start(t, o)
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	var seen sync.Map
	var requests, certificates atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 4 {
		transport := &http.Transport{TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true, VerifyConnection: a.verifyAtStart}, DisableKeepAlives: i%2 == 0}
		client := http.Client{Timeout: patience, Transport: transport}
		clients.Go(func() {
			defer transport.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				w, err := client.Get("https://" + s.secure + "/x")
				if err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				_ = w.Body.Close()
				requests.Add(1)
				if _, again := seen.LoadOrStore(w.TLS.PeerCertificates[0].SerialNumber.String(), true); !again {
					certificates.Add(1)
				}
			}
		})
	}
	eventually(t, "two renewals", func() bool { return certificates.Load() >= 3 || t.Failed() })
	close(stop)
	clients.Wait()
	_, replaced := a.ordersSeen()
	require.NotZero(t, replaced, "the orders say what they replace")
	t.Logf("%d requests", requests.Load())
}

// verifyAtStart verifies a certificate as of its first second: on a slow machine a new one may come late.
func (a *authority) verifyAtStart(state tls.ConnectionState) error {
	leaf, others := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		others.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: a.issuer, Intermediates: others, CurrentTime: leaf.NotBefore.Add(time.Second)})
	return err
}

func TestWithoutItsAuthorityTheOldCertificateIsServed(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s, "-valid", "6")
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	a.set(func() { a.down = true })
	first := s.serial(host)
	eventually(t, "renewals fail", func() bool { return row(m, host).Failures >= 2 })
	eventually(t, "it has expired", func() bool { return time.Now().After(row(m, host).Expires) })
	first = orElse(s.serial(host), first)
	require.NotEmpty(t, first, "what there is, is served")
	require.NotEmpty(t, row(m, host).Problem)
	require.False(t, row(m, host).Next.IsZero())
	s.answers(t)
	a.set(func() { a.down = false })
	eventually(t, "it is renewed", func() bool { now := s.serial(host); return now != "" && now != first })
	eventually(t, "and the problem is gone", func() bool { return row(m, host).Problem == "" })
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// A name that fails keeps no other from its certificate.
func TestAWrongChallengeIsReported(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	s.deaf.Store(true)
	m := s.start(t, o)
	eventually(t, "it fails", func() bool { return row(m, host).Failures > 0 })
	require.Regexp(t, "unauthorized|connection|malformed|tls|dns", row(m, host).Problem)
	require.NotZero(t, m.Counts().Failed)
	s.deaf.Store(false)
	m.SetNames([]string{host, "two.example"})
	eventually(t, "both are obtained", func() bool { return s.serial(host) != "" && s.serial("two.example") != "" })
	m.SetNames([]string{"two.example"})
	require.Empty(t, s.serial(host), "a name that is gone is not served")
	require.False(t, m.Covers(host))
}

// A name that was removed and added again may have two attempts at once. They share certmagic's cache, and both find the certificate.
func TestTwoAttemptsAtOneName(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	o := quick(files(t.TempDir()), a.options())
	o.Names, o.CheckEvery = []string{host}, time.Hour
	m := s.start(t, o)
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	var attempts sync.WaitGroup
	for range 4 {
		attempts.Go(func() {
			for range 50 {
				pair, err := m.manage(t.Context(), m.config, host)
				if pair == nil || err != nil {
					t.Errorf("certificate %v, error %v", pair, err)
					return
				}
			}
		})
	}
	attempts.Wait()
	require.EqualValues(t, 1, m.Counts().Issued)
}

func TestARateLimitIsWaitedFor(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	a.limits, a.limited = 2, "too many certificates"
	o := quick(files(t.TempDir()), a.options())
	o.Names, o.RetryMin, o.RetryMax = []string{host}, 10*time.Millisecond, 2*time.Second
	m := s.start(t, o)
	eventually(t, "the limit is reported", func() bool { return row(m, host).Failures > 0 })
	c := row(m, host)
	require.Contains(t, c.Problem, "rateLimited")
	require.GreaterOrEqual(t, c.Next.Sub(c.FailedAt), 600*time.Millisecond, "an hour for every minute of an ordinary retry")
	eventually(t, "it is obtained", func() bool { return s.serial(host) != "" })
	orders, _ := a.ordersSeen()
	require.Less(t, orders, 8)
}

func TestLostStorage(t *testing.T) {
	for _, c := range []struct {
		why   string
		spoil func(t *testing.T, dir string)
	}{
		{"the directory is gone", func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) }},
		{"the certificate is damaged", func(t *testing.T, dir string) { spoil(t, dir, "*.crt") }},
		{"the key is damaged", func(t *testing.T, dir string) { spoil(t, dir, "*.key") }},
		{"the data beside them is damaged", func(t *testing.T, dir string) { spoil(t, dir, "*.json") }},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := startSite(t)
			a := startAuthority(t, s)
			dir := filepath.Join(t.TempDir(), "certificates")
			o := quick(files(dir), a.options())
			o.Names = []string{host}
			m := s.start(t, o)
			eventually(t, "the first", func() bool { return s.serial(host) != "" })
			first := s.serial(host)
			c.spoil(t, dir)
			eventually(t, "a second is ordered", func() bool { return m.Counts().Issued == 2 })
			require.NotEmpty(t, first)
			require.NotEmpty(t, s.serial(host), "one of them is served")
			eventually(t, "without a problem", func() bool { return row(m, host).Problem == "" })

		})
	}
}

func spoil(t *testing.T, dir, pattern string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "certificates", "*", host, pattern))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.NoError(t, os.WriteFile(all[0], []byte("not what it was"), 0o600))
}

// A process that restarts serves at once, also without its authority.
func TestRestart(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	first := s.serial(host)
	m.Close()
	a.set(func() { a.down = true })
	next := newManager(t, o)
	s.manager.Store(next)
	require.Empty(t, s.serial(host))
	next.Load()
	require.Equal(t, first, s.serial(host))
	require.True(t, next.Covers(host))
}

func TestTheNextAuthorityIsAsked(t *testing.T) {
	s := startSite(t)
	first, second := startAuthority(t, s), startAuthority(t, s)
	first.down = true
	o := quick(files(t.TempDir()), first.options(), second.options())
	o.Names = []string{host}
	s.start(t, o)
	eventually(t, "it is obtained", func() bool { return s.serial(host) != "" })
	_, err := s.handshake(host, second.issuer)
	require.NoError(t, err)
}

// RFC 9773: the authority moves the time of the renewal to now.
func TestReplacedByRenewalInformation(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s)
	a.poll = "1"
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	first, err := s.handshake(host, a.issuer)
	require.NoError(t, err)
	leaf := first.PeerCertificates[0]
	window := func(from, to time.Duration) string {
		text, err := json.Marshal(map[string]any{"suggestedWindow": map[string]any{"start": time.Now().Add(from).UTC(), "end": time.Now().Add(to).UTC()}})
		require.NoError(t, err)
		return string(text)
	}
	move, err := json.Marshal(map[string]string{
		"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})), "ARIResponse": window(-2*time.Hour, -time.Hour),
	})
	require.NoError(t, err)
	a.manage(t, http.MethodPost, "/set-renewal-info/", move)
	eventually(t, "it is replaced", func() bool { now := s.serial(host); return now != "" && now != leaf.SerialNumber.String() })
	_, replaced := a.ordersSeen()
	require.NotZero(t, replaced)
	require.Empty(t, row(m, host).Problem)
}

// RFC 9773: the window of the authority may be later than a third of the lifetime before the end. The renewal is at the time that was picked
// in it.
func TestALaterWindowIsWaitedFor(t *testing.T) {
	s := startSite(t)
	a := startAuthority(t, s, "-valid", "36")
	a.opens = 26 * time.Second // a third of the lifetime is left after 24 s, a sixth after 30 s
	o := quick(files(t.TempDir()), a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	first, err := s.handshake(host, nil)
	require.NoError(t, err)
	leaf := first.PeerCertificates[0]
	eventually(t, "the plan", func() bool { return row(m, host).Renewal.After(leaf.NotBefore.Add(25 * time.Second)) })
	planned := row(m, host).Renewal
	require.True(t, planned.Before(leaf.NotAfter.Add(-6*time.Second)), "in the window")
	eventually(t, "it is renewed", func() bool { now := s.serial(host); return now != "" && now != leaf.SerialNumber.String() })
	second, err := s.handshake(host, nil)
	require.NoError(t, err)
	require.False(t, second.PeerCertificates[0].NotBefore.Before(planned.Add(-time.Second)), "and not when a third of the lifetime is left")
}

func TestRetryAfter(t *testing.T) {
	m := &Manager{options: Options{RetryMin: time.Minute, RetryMax: 6 * time.Hour}}
	limit := func(detail string) error { return problem("rateLimited", detail) }
	in := time.Now().Add(3 * time.Hour).UTC()
	for _, c := range []struct {
		why      string
		err      error
		failures int
		left     time.Duration
		from, to time.Duration
	}{
		{"the first failure", os.ErrClosed, 1, 720 * time.Hour, time.Minute, 72 * time.Second},
		{"doubles", os.ErrClosed, 4, 720 * time.Hour, 8 * time.Minute, 10 * time.Minute},
		{"up to the most", os.ErrClosed, 60, 720 * time.Hour, 6 * time.Hour, 8 * time.Hour},
		{"a dozen attempts before it expires", os.ErrClosed, 60, 12 * time.Hour, time.Hour, 72 * time.Minute},
		{"an expired one is not hurried without end", os.ErrClosed, 60, -time.Hour, time.Minute, 72 * time.Second},
		{"an hour after a rate limit", limit("too many"), 1, 720 * time.Hour, time.Hour, 72 * time.Minute},
		{"or when the authority says", limit("too many, retry after " + in.Format(time.DateTime) + " UTC: see x"), 1, 720 * time.Hour,
			179 * time.Minute, 217 * time.Minute},
		{"within a day", limit("too many, retry after " + in.Add(800*time.Hour).Format(time.RFC3339)), 1, 720 * time.Hour, 24 * time.Hour, 29 * time.Hour},
	} {
		wait := m.retryAfter(c.err, c.failures, c.left)
		require.GreaterOrEqual(t, wait, c.from, c.why)
		require.LessOrEqual(t, wait, c.to, c.why)
	}
}

func TestCanonicalName(t *testing.T) {
	for name, want := range map[string]string{
		"Example.COM": "example.com", "bücher.example": "xn--bcher-kva.example", "*.example.com": "*.example.com", "192.0.2.1": "192.0.2.1",
		"": "", "a b": "", "a..b/": "", ".x": "",
	} {
		got, err := CanonicalName(name)
		if want == "" {
			require.Error(t, err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, want, got)
	}
}
