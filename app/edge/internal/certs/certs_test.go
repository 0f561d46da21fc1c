package certs_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
	. "tafe/app/edge/internal/certs"
)

var later = time.Now().Add(24 * time.Hour)

// shown returns the certificate that a client gets for a name.
func shown(t *testing.T, s *Store, name string, client *tls.Config) tls.ConnectionState {
	a, b := net.Pipe()
	defer func() { _ = a.Close(); _ = b.Close() }()
	server := tls.Server(b, s.Config())
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if client == nil {
		client = &tls.Config{}
	}
	client.ServerName, client.InsecureSkipVerify = name, true
	c := tls.Client(a, client)
	require.NoError(t, c.Handshake())
	require.NoError(t, <-done)
	return c.ConnectionState()
}

func leaf(t *testing.T, s *Store, name string) string {
	return shown(t, s, name, nil).PeerCertificates[0].Subject.CommonName
}

func TestNamesChooseTheCertificate(t *testing.T) {
	dir := t.TempDir()
	s, err := Load(Options{Certs: []Files{
		certstest.Write(t, dir, "a", later, "a.example"), certstest.Write(t, dir, "b", later, "b.example", "*.b.example"),
	}})
	require.NoError(t, err)
	for name, want := range map[string]string{"a.example": "a.example", "b.example": "b.example", "x.b.example": "b.example", "other.example": "a.example"} {
		require.Equal(t, want, leaf(t, s, name), name)
	}
	require.True(t, s.Covers("x.b.example"))
	require.False(t, s.Covers("x.y.b.example"))
	require.WithinDuration(t, later, s.Expires(), time.Second)
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "old.example")
	s, err := Load(Options{Certs: []Files{f}})
	require.NoError(t, err)
	require.False(t, s.Reload(), "nothing is new")

	certstest.Write(t, dir, "a", later.Add(time.Hour), "new.example")
	require.True(t, s.Reload())
	require.Equal(t, "new.example", leaf(t, s, ""))

	require.NoError(t, os.WriteFile(f.Key, []byte("rubbish"), 0o600))
	require.False(t, s.Reload())
	require.Len(t, s.Problems(), 1)
	require.ErrorContains(t, s.Problems()[0], "a.pem with")
	require.Equal(t, "new.example", leaf(t, s, ""), "the old ones stay")

	certstest.Write(t, dir, "a", later, "third.example")
	require.NoError(t, os.WriteFile(f.OCSP, []byte("staple"), 0o600))
	require.True(t, s.Reload())
	require.Empty(t, s.Problems())
	require.Equal(t, "staple", string(shown(t, s, "", nil).OCSPResponse))
}

// handshake is what a client that asks for a name gets, by what the server's certificates are for.
func handshake(s *Store, name string) string {
	a, b := net.Pipe()
	defer func() { _ = a.Close(); _ = b.Close() }()
	go func() { _ = tls.Server(b, s.Config()).Handshake() }()
	c := tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return err.Error()
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

const alert = "remote error: tls: unrecognized name"

func TestOneBadCertificateLeavesTheOthers(t *testing.T) {
	for _, c := range []struct {
		why   string
		spoil func(t *testing.T, f Files) // of b.example
		want  string
	}{
		{"expired", func(t *testing.T, f Files) {
			certstest.Write(t, filepath.Dir(f.Cert), "b", time.Now().Add(-time.Hour), "b.example")
		}, "b.pem expired on "},
		{"not there", func(t *testing.T, f Files) { require.NoError(t, os.Remove(f.Cert)) }, "b.pem: no such file"},
		{"no PEM", func(t *testing.T, f Files) { require.NoError(t, os.WriteFile(f.Cert, []byte("x"), 0o600)) }, "b.pem with"},
		{"empty key", func(t *testing.T, f Files) { require.NoError(t, os.WriteFile(f.Key, nil, 0o600)) }, "b.key"},
		{"a directory", func(t *testing.T, f Files) {
			require.NoError(t, os.Remove(f.Key))
			require.NoError(t, os.Mkdir(f.Key, 0o700))
		}, "is a directory"},
	} {
		t.Run(c.why, func(t *testing.T) {
			dir := t.TempDir()
			good, bad := certstest.Write(t, dir, "a", later, "a.example"), certstest.Write(t, dir, "b", later, "b.example")
			o := Options{Certs: []Files{good, bad}}
			before, err := Load(o)
			require.NoError(t, err)
			c.spoil(t, bad)

			before.Reload()
			require.Len(t, before.Problems(), 1)
			require.ErrorContains(t, before.Problems()[0], c.want)
			require.Equal(t, "b.example", handshake(before, "b.example"), "a reload keeps what was good")

			s, err := Load(o)
			require.NoError(t, err)
			require.Len(t, s.Problems(), 1)
			require.ErrorContains(t, s.Problems()[0], c.want)
			require.Equal(t, "a.example", handshake(s, "a.example"), "the good one is served")
			require.Equal(t, "a.example", handshake(s, ""), "without a name, too")
			want := alert // no client is shown another name's certificate
			if c.why == "expired" {
				want = "b.example"
			}
			require.Equal(t, want, handshake(s, "b.example"), "what there is, is served")
			require.Equal(t, want != alert, s.Covers("b.example"))
			leaves := s.FromFiles()
			require.Nil(t, leaves[0].Problem)
			require.ErrorContains(t, leaves[1].Problem, c.want)
			require.Equal(t, want == alert, leaves[1].Certificate == nil)

			require.NoError(t, os.RemoveAll(bad.Key))
			certstest.Write(t, dir, "b", later, "b.example")
			certstest.Write(t, dir, "a", later, "new.example", "a.example")
			require.True(t, s.Reload())
			require.Empty(t, s.Problems())
			require.Equal(t, "b.example", handshake(s, "b.example"), "a mended one is taken")
			require.Equal(t, "new.example", handshake(s, "a.example"))
		})
	}
}

// A certificate that has expired is served to those who ask for its name, unless there is another one for it.
func TestExpired(t *testing.T) {
	dir := t.TempDir()
	past := time.Now().Add(-time.Hour)
	old, older := certstest.Write(t, dir, "old", past, "old", "a.example"), certstest.Write(t, dir, "older", past.Add(-time.Hour), "older", "a.example", "b.example")
	good, wild := certstest.Write(t, dir, "good", later, "good", "a.example"), certstest.Write(t, dir, "wild", later, "wild", "*.example")
	from := source{"a.example": pairOf(t, "source"), "soon.example": nil}
	for _, c := range []struct {
		why        string
		o          Options
		name, want string
	}{
		{"alone", Options{Certs: []Files{old}}, "a.example", "old"},
		{"without a name", Options{Certs: []Files{old}}, "", "old"},
		{"the first of two", Options{Certs: []Files{old, older}}, "a.example", "old"},
		{"that of a site", Options{Certs: []Files{older}, Sites: []Files{old}}, "a.example", "old"},
		{"a good one after it", Options{Certs: []Files{old, good}}, "a.example", "good"},
		{"a good one of the listener", Options{Certs: []Files{good}, Sites: []Files{old}}, "a.example", "good"},
		{"a good one with a wildcard", Options{Certs: []Files{old, wild}}, "a.example", "wild"},
		{"a good one for clients without a name", Options{Certs: []Files{old, wild}}, "", "wild"},
		{"one of the source", Options{Certs: []Files{old}, Source: from}, "a.example", "source"},
		{"none of the source", Options{Certs: []Files{older}, Source: from}, "b.example", "older"},
		{"another name of the source", Options{Certs: []Files{old}, Source: from}, "soon.example", alert},
	} {
		s, err := Load(c.o)
		require.NoError(t, err, c.why)
		require.Equal(t, c.want, handshake(s, c.name), c.why)
		require.NotEmpty(t, s.Problems(), c.why)
		if c.name != "" && c.want != alert {
			require.True(t, s.Covers(c.name), c.why)
			require.True(t, s.Agree(c.name, c.name), c.why)
			require.False(t, s.Agree(c.name, "x.y.example"), c.why)
		}
	}
}

// A certificate that expires while it is served becomes a problem, and is served.
func TestACertificateExpires(t *testing.T) {
	s, err := Load(Options{Certs: []Files{certstest.Write(t, t.TempDir(), "a", time.Now().Add(2*time.Second), "a.example")}})
	require.NoError(t, err)
	require.Empty(t, s.Problems())
	require.Eventually(t, func() bool { s.Reload(); return len(s.Problems()) == 1 }, time.Minute, 10*time.Millisecond)
	require.ErrorContains(t, s.Problems()[0], "expired on")
	require.Equal(t, "a.example", handshake(s, "a.example"))
}

func TestARenewedCertificateIsTakenBesideABadOne(t *testing.T) {
	dir := t.TempDir()
	good, bad := certstest.Write(t, dir, "a", later, "old.example"), certstest.Write(t, dir, "b", later, "b.example")
	s, err := Load(Options{Certs: []Files{good, bad}})
	require.NoError(t, err)
	require.NoError(t, os.Remove(bad.Cert))
	certstest.Write(t, dir, "a", later, "new.example")
	require.True(t, s.Reload())
	require.Equal(t, "new.example", handshake(s, "new.example"))
	require.Equal(t, "b.example", handshake(s, "b.example"))
}

// A client must not be admitted because the authorities that would refuse it cannot be read.
func TestWithoutItsAuthoritiesAListenerRefusesAll(t *testing.T) {
	dir := t.TempDir()
	good := certstest.Write(t, dir, "a", later, "a.example")
	o := Options{Certs: []Files{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCA: dir + "/ca.pem"}
	s, err := Load(o)
	require.NoError(t, err)
	require.Len(t, s.Problems(), 1)
	require.Equal(t, alert, handshake(s, "a.example"))
	require.Equal(t, alert, handshake(s, ""))
	require.False(t, s.Expires().IsZero())

	all, err := Load(Options{Certs: []Files{{Cert: "/no/such", Key: "/no/such"}}})
	require.NoError(t, err)
	require.Equal(t, alert, handshake(all, "a.example"), "no certificate is good")
	require.True(t, all.Expires().IsZero())
}

// A directory of certificates may be a symbolic link that is replaced, to files of the same time and size.
func TestReloadFollowsLinks(t *testing.T) {
	base := t.TempDir()
	for _, version := range []string{"one", "two"} {
		dir := filepath.Join(base, version)
		require.NoError(t, os.Mkdir(dir, 0o700))
		certstest.Write(t, dir, "a", later, version+".example")
		for _, name := range []string{"a.pem", "a.key"} { // PEM may end in empty lines
			text, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Less(t, len(text), 2000)
			text = append(text, bytes.Repeat([]byte("\n"), 2000-len(text))...)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
			require.NoError(t, os.Chtimes(filepath.Join(dir, name), later, later))
		}
	}
	live := filepath.Join(base, "live")
	require.NoError(t, os.Symlink("one", live))
	s, err := Load(Options{Certs: []Files{{Cert: filepath.Join(live, "a.pem"), Key: filepath.Join(live, "a.key")}}})
	require.NoError(t, err)
	require.Equal(t, "one.example", leaf(t, s, ""))
	require.NoError(t, os.Symlink("two", live+".new"))
	require.NoError(t, os.Rename(live+".new", live))
	require.True(t, s.Reload())
	require.Equal(t, "two.example", leaf(t, s, ""))
}

// Session tickets stay valid when certificates are renewed.
func TestTicketsOutliveReloads(t *testing.T) {
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "a.example")
	s, err := Load(Options{Certs: []Files{f}})
	require.NoError(t, err)
	client := &tls.Config{MaxVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	require.False(t, shown(t, s, "a.example", client).DidResume)
	require.NoError(t, os.Chtimes(f.Cert, later, later))
	require.True(t, s.Reload())
	require.True(t, shown(t, s, "a.example", client).DidResume)
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	_, err := Load(Options{})
	require.ErrorContains(t, err, "no certificates")
	dir := t.TempDir()
	good := certstest.Write(t, dir, "good", later, "a.example")
	old := certstest.Write(t, dir, "old", time.Now().Add(-time.Hour), "a.example")
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Certs: []Files{{Cert: "/no/such", Key: good.Key}}}, "/no/such: no such file"},
		{Options{Certs: []Files{{Cert: good.Cert, Key: old.Key}}}, "private key does not match"},
		{Options{Certs: []Files{old}}, "old.pem expired on "},
		{Options{Certs: []Files{good}, ClientCA: good.Key}, "holds no certificate"},
	} {
		s, err := Load(c.o)
		require.NoError(t, err)
		require.Len(t, s.Problems(), 1)
		require.ErrorContains(t, s.Problems()[0], c.want)
	}
}

// The certificates of sites come before those of the listener for their names, and can be replaced while the server runs.
func TestSites(t *testing.T) {
	dir := t.TempDir()
	listener := certstest.Write(t, dir, "listener", later, "*.example", "shared.example")
	one, two := certstest.Write(t, dir, "one", later, "one.example", "shared.example"), certstest.Write(t, dir, "two", later, "two.example", "*.two.example")
	s, err := Load(Options{Certs: []Files{listener}, Sites: []Files{one}})
	require.NoError(t, err)
	names := func() (all []string) {
		for _, name := range []string{"", "one.example", "ONE.example", "shared.example", "two.example", "a.two.example"} {
			all = append(all, leaf(t, s, name))
		}
		return all
	}
	require.Equal(t, []string{"*.example", "one.example", "one.example", "one.example", "*.example", "*.example"}, names(), "the exact name before the wildcard")
	require.True(t, s.Agree("one.example", "shared.example"))
	require.False(t, s.Agree("one.example", "two.example"))
	require.True(t, s.Agree("", "x.example"), "without a name the client gets that of the listener")

	s.SetSites([]Files{two, {Cert: "/no/such", Key: "/no/such"}})
	require.Equal(t, []string{"*.example", "*.example", "*.example", "*.example", "two.example", "two.example"}, names())
	require.True(t, s.LeftOut())
	require.Len(t, s.Problems(), 1)
	require.True(t, s.Covers("b.two.example"))
	require.False(t, s.Covers("a.b.two.example"), "a wildcard is one label")
	require.NoError(t, os.Remove(two.Cert))
	s.SetSites([]Files{one, two})
	require.Equal(t, []string{"*.example", "one.example", "one.example", "one.example", "two.example", "two.example"}, names(), "a certificate whose file is gone stays")

	s, err = Load(Options{Sites: []Files{one}})
	require.NoError(t, err)
	require.Equal(t, "one.example", leaf(t, s, ""), "without certificates of the listener, that of a site")
}
