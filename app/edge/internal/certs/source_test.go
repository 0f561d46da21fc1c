package certs_test

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
	. "tafe/app/edge/internal/certs"
)

// source has certificates by name; a nil one is to come.
type source map[string]*tls.Certificate

func (s source) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s[hello.ServerName], nil
}

func (s source) Covers(host string) bool { _, ok := s[host]; return ok }

func (s source) Agree(serverName, host string) bool {
	pair := s[serverName]
	return pair != nil && pair.Leaf.VerifyHostname(host) == nil
}

func (s source) Challenge(hello *tls.ClientHelloInfo) *tls.Config {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != "challenge" {
		return nil
	}
	return &tls.Config{Certificates: []tls.Certificate{*s["challenge"]}, NextProtos: []string{"challenge"}}
}

func pairOf(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	f := certstest.Write(t, t.TempDir(), "x", later, name)
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	require.NoError(t, err)
	return &pair
}

func TestSource(t *testing.T) {
	dir := t.TempDir()
	file := certstest.Write(t, dir, "file", later, "file.example")
	broken := Files{Cert: "/no/such", Key: "/no/such"}
	from := source{"own.example": pairOf(t, "own.example"), "soon.example": nil, "": pairOf(t, "first.example"), "challenge": pairOf(t, "challenge.example")}
	for _, c := range []struct {
		why   string
		files []Files
		name  string
		want  string
	}{
		{"without files", nil, "own.example", "own.example"},
		{"without a name, the source's first", nil, "", "first.example"},
		{"an unknown name", nil, "other.example", alert},
		{"one that has none yet", nil, "soon.example", alert},
		{"files come first", []Files{file}, "file.example", "file.example"},
		{"then the source", []Files{file}, "own.example", "own.example"},
		{"without a name, the first file", []Files{file}, "", "file.example"},
		{"an unknown name gets the first file, as without a source", []Files{file}, "other.example", "file.example"},
		{"but not a name of the source", []Files{file}, "soon.example", "remote error: tls: internal error"},
		{"a broken file may be for the name", []Files{file, broken}, "other.example", alert},
		{"but not for that of the source", []Files{file, broken}, "own.example", "own.example"},
		{"a broken file alone", []Files{broken}, "own.example", "own.example"},
	} {
		s, err := Load(Options{Certs: c.files, Source: from})
		require.NoError(t, err, c.why)
		require.Equal(t, c.want, handshake(s, c.name), c.why)
		require.True(t, s.Covers("own.example"), c.why)
		require.True(t, s.Agree("own.example", "own.example"), c.why)
		require.False(t, s.Agree("own.example", "file.example"), "%s: a connection for another host", c.why)
		require.Equal(t, len(c.files) > 0 && c.files[0] == file, s.Agree("file.example", "file.example"), c.why)
		require.False(t, s.Covers("other.example"), c.why)
		require.Len(t, s.FromFiles(), len(c.files), c.why)
	}
	s, err := Load(Options{Source: from, ClientAuth: tls.RequireAndVerifyClientCert, ClientCA: file.Cert})
	require.NoError(t, err)
	state := shown(t, s, "own.example", &tls.Config{NextProtos: []string{"challenge"}})
	require.Equal(t, "challenge.example", state.PeerCertificates[0].DNSNames[0], "an authority has no client certificate")
	s, err = Load(Options{Source: from, ClientAuth: tls.RequireAndVerifyClientCert, ClientCA: "/no/such"})
	require.NoError(t, err)
	require.Equal(t, alert, handshake(s, "own.example"), "a client that cannot be verified is refused")
}

// stapler has the response next once Update was called.
type stapler struct {
	known, next []byte
	err         error
}

func (s *stapler) Known(*tls.Certificate) []byte { return s.known }

func (s *stapler) Update(context.Context, *tls.Certificate) error {
	s.known = s.next
	return s.err
}

func TestStapled(t *testing.T) {
	dir := t.TempDir()
	named := certstest.WriteFor(t, dir, "named", later, "http://127.0.0.1:1/", "a.example")
	named.OCSP = ""
	plain := certstest.Write(t, dir, "plain", later, "b.example")
	own := named
	own.OCSP = dir + "/own.der"
	require.NoError(t, os.WriteFile(own.OCSP, []byte("own"), 0o600))
	for _, c := range []struct {
		why    string
		file   Files
		name   string
		staple string
	}{
		{"the certificate names a responder", named, "a.example", "fetched"},
		{"it names none", plain, "b.example", ""},
		{"the response is in a file", own, "a.example", "own"},
	} {
		s, err := Load(Options{Certs: []Files{c.file}, Source: source{"own.example": pairOf(t, "own.example")}, Stapler: &stapler{next: []byte("fetched")}})
		require.NoError(t, err)
		require.Empty(t, s.Staple(context.Background()))
		require.Equal(t, c.staple, string(shown(t, s, c.name, nil).OCSPResponse), c.why)
		require.Equal(t, "own.example", handshake(s, "own.example"))
		future := time.Now().Add(time.Hour)
		require.NoError(t, os.Chtimes(c.file.Cert, future, future))
		s.Reload()
		require.Equal(t, c.staple, string(shown(t, s, c.name, nil).OCSPResponse), "%s: after a reload", c.why)
	}
	s, err := Load(Options{Certs: []Files{named}, Stapler: &stapler{err: errors.New("no answer")}})
	require.NoError(t, err)
	require.EqualError(t, errors.Join(s.Staple(context.Background())...), "no answer")
	require.Equal(t, "a.example", handshake(s, "a.example"), "it is served without a response")
}

func TestProfileVersions(t *testing.T) {
	for _, c := range []struct {
		p    Profile
		want uint16
	}{
		{Profile{}, tls.VersionTLS12}, {Profile{Name: "intermediate", MinVersion: tls.VersionTLS13}, tls.VersionTLS13},
		{Profile{Name: "modern"}, tls.VersionTLS13}, {Profile{Name: "modern", MinVersion: tls.VersionTLS12}, tls.VersionTLS13},
	} {
		require.Equal(t, c.want, c.p.Version(), "%+v", c.p)
	}
	require.Equal(t, "X25519MLKEM768 X25519 CurveP256 CurveP384", Profile{}.KeyExchanges())
}

// Stores resume the sessions of one another only if they verify clients in the same way.
func TestTicketKeys(t *testing.T) {
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "a.example")
	ca := certstest.Write(t, dir, "ca", later, "client")
	keys := [][32]byte{{1}, {2}}
	store := func(o Options) *Store {
		o.Certs = []Files{f}
		s, err := Load(o)
		require.NoError(t, err)
		s.SetTicketKeys(keys)
		return s
	}
	verify := Options{ClientAuth: tls.VerifyClientCertIfGiven, ClientCA: ca.Cert}
	other := Options{ClientAuth: tls.VerifyClientCertIfGiven, ClientCA: f.Cert}
	for _, c := range []struct {
		why  string
		a, b Options
		want bool
	}{
		{"the same", Options{}, Options{}, true}, {"the same authorities", verify, verify, true},
		{"client certificates and none", Options{}, verify, false}, {"other authorities", verify, other, false},
	} {
		client := &tls.Config{MaxVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		require.False(t, shown(t, store(c.a), "a.example", client).DidResume)
		require.Equal(t, c.want, shown(t, store(c.b), "a.example", client).DidResume, c.why)
	}
	require.Equal(t, [][32]byte{{1}, {2}}, keys, "the keys of others are left alone")
}
