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

	. "tafe/cmd/tafe/internal/certs"
	"tafe/cmd/tafe/internal/certs/certstest"
)

var later = time.Now().Add(24 * time.Hour)

// shown is what a client that asks for a name is shown.
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
	s, err := Load(Options{MinVersion: tls.VersionTLS12, Certs: []Files{
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
	s, err := Load(Options{MinVersion: tls.VersionTLS12, Certs: []Files{f}})
	require.NoError(t, err)
	changed, err := s.Reload()
	require.NoError(t, err)
	require.False(t, changed, "nothing is new")

	certstest.Write(t, dir, "a", later.Add(time.Hour), "new.example")
	changed, err = s.Reload()
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, "new.example", leaf(t, s, ""))

	require.NoError(t, os.WriteFile(f.Key, []byte("rubbish"), 0o600))
	_, err = s.Reload()
	require.ErrorContains(t, err, "a.pem with")
	require.Equal(t, "new.example", leaf(t, s, ""), "the old ones stay")

	certstest.Write(t, dir, "a", later, "third.example")
	require.NoError(t, os.WriteFile(f.OCSP, []byte("staple"), 0o600))
	changed, err = s.Reload()
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, "staple", string(shown(t, s, "", nil).OCSPResponse))
}

// A folder of certificates may be a link that is swapped, to files of the same time and size.
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
	s, err := Load(Options{MinVersion: tls.VersionTLS12, Certs: []Files{{Cert: filepath.Join(live, "a.pem"), Key: filepath.Join(live, "a.key")}}})
	require.NoError(t, err)
	require.Equal(t, "one.example", leaf(t, s, ""))
	require.NoError(t, os.Symlink("two", live+".new"))
	require.NoError(t, os.Rename(live+".new", live))
	changed, err := s.Reload()
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, "two.example", leaf(t, s, ""))
}

// Tickets go on being good when the certificates are renewed.
func TestTicketsOutliveReloads(t *testing.T) {
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", later, "a.example")
	s, err := Load(Options{MinVersion: tls.VersionTLS12, Certs: []Files{f}})
	require.NoError(t, err)
	client := &tls.Config{MaxVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	require.False(t, shown(t, s, "a.example", client).DidResume)
	require.NoError(t, os.Chtimes(f.Cert, later, later))
	changed, err := s.Reload()
	require.NoError(t, err)
	require.True(t, changed)
	require.True(t, shown(t, s, "a.example", client).DidResume)
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	dir := t.TempDir()
	good := certstest.Write(t, dir, "good", later, "a.example")
	old := certstest.Write(t, dir, "old", time.Now().Add(-time.Hour), "a.example")
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "no certificates"},
		{Options{Certs: []Files{{Cert: "/no/such", Key: good.Key}}}, "/no/such: no such file"},
		{Options{Certs: []Files{{Cert: good.Cert, Key: old.Key}}}, "private key does not match"},
		{Options{Certs: []Files{old}}, "old.pem expired on "},
		{Options{Certs: []Files{good}, ClientCA: good.Key}, "holds no certificate"},
	} {
		_, err := Load(c.o)
		require.ErrorContains(t, err, c.want)
	}
}
