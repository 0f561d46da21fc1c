package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
	. "tafe/app/edge/internal/certs"
)

// authority is a certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate that is signed by a, or by itself if a is nil.
func (a *authority) issue(t *testing.T, name string, isCA bool) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: later, IsCA: isCA,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert, key}
}

// list makes a revocation list of a, in PEM.
func (a *authority) list(t *testing.T, until time.Time, revoked ...*authority) []byte {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: until.Add(-time.Hour), NextUpdate: until}
	for _, r := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.cert.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// accepts reports whether the server accepts a client with this certificate.
func accepts(t *testing.T, s *Store, client *tls.Config, chain ...*authority) bool {
	if len(chain) > 0 {
		pair := tls.Certificate{PrivateKey: chain[0].key}
		for _, a := range chain {
			pair.Certificate = append(pair.Certificate, a.cert.Raw)
		}
		client.Certificates = []tls.Certificate{pair}
	}
	client.InsecureSkipVerify, client.ServerName = true, "a.example"
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	done := make(chan error, 1)
	go func() {
		b, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		server := tls.Server(b, s.Config())
		err = server.Handshake()
		if err == nil {
			_, err = io.WriteString(server, "x") // after it, the client has its session ticket
		}
		_ = b.Close()
		done <- err
	}()
	a, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer func() { _ = a.Close() }()
	_ = a.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Client(a, client)
	if c.Handshake() == nil {
		_, _ = c.Read(make([]byte, 1))
	}
	_, _ = io.Copy(io.Discard, a)
	return <-done == nil
}

func TestRevocation(t *testing.T) {
	var none *authority
	root, stranger := none.issue(t, "root", true), none.issue(t, "root", true) // of the same name
	middle := root.issue(t, "middle", true)
	good, bad, deep := root.issue(t, "good", false), root.issue(t, "bad", false), middle.issue(t, "deep", false)
	join := func(lists ...[]byte) (all []byte) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	der, _ := pem.Decode(root.list(t, later, bad))
	expired := time.Now().Add(-time.Minute)
	for _, c := range []struct {
		why      string
		crl      []byte
		client   []*authority
		accepted bool
		problems int
	}{
		{"not revoked", root.list(t, later, bad), []*authority{good}, true, 0},
		{"revoked", root.list(t, later, bad), []*authority{bad}, false, 0},
		{"a list in DER", der.Bytes, []*authority{bad}, false, 0},
		{"a client without a certificate", root.list(t, later, bad), nil, true, 0},
		{"a list of each issuer", join(root.list(t, later, bad), middle.list(t, later)), []*authority{deep, middle}, true, 0},
		{"no list of the intermediate authority", root.list(t, later, bad), []*authority{deep, middle}, false, 0},
		{"a revoked intermediate authority", join(root.list(t, later, middle), middle.list(t, later)), []*authority{deep, middle}, false, 0},
		{"a list that another authority of that name has signed", stranger.list(t, later), []*authority{good}, false, 0},
		{"an expired list", root.list(t, expired, bad), []*authority{good}, false, 1},
		{"an expired list and a valid one", join(root.list(t, expired), root.list(t, later)), []*authority{good}, true, 1},
		{"revoked by either of two lists", join(root.list(t, later), root.list(t, expired, bad)), []*authority{bad}, false, 1},
	} {
		dir := t.TempDir()
		ca, crl := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "crl.pem")
		require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw}), 0o600))
		require.NoError(t, os.WriteFile(crl, c.crl, 0o600))
		s, err := Load(Options{Certs: []Files{certstest.Write(t, dir, "a", later, "a.example")},
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCA: ca, ClientCRL: crl})
		require.NoError(t, err)
		require.Len(t, s.Problems(), c.problems, c.why)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			require.Equal(t, c.accepted, accepts(t, s, &tls.Config{MaxVersion: version}, c.client...), c.why)
		}
	}
}

func TestRevocationReloads(t *testing.T) {
	var none *authority
	root := none.issue(t, "root", true)
	client := root.issue(t, "client", false)
	dir := t.TempDir()
	ca, crl := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "crl.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw}), 0o600))
	options := Options{Certs: []Files{certstest.Write(t, dir, "a", later, "a.example")},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCA: ca, ClientCRL: crl}
	s, err := Load(options)
	require.NoError(t, err)
	require.False(t, accepts(t, s, &tls.Config{}, client), "without the file no client can be verified")
	require.Len(t, s.Problems(), 1)

	require.NoError(t, os.WriteFile(crl, root.list(t, later), 0o600))
	s.Reload()
	require.Empty(t, s.Problems())
	resumed := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	require.True(t, accepts(t, s, resumed, client))

	require.NoError(t, os.WriteFile(crl, []byte("not a list"), 0o600))
	s.Reload()
	require.Len(t, s.Problems(), 1)
	require.True(t, accepts(t, s, &tls.Config{}, client), "the lists before stay")

	require.NoError(t, os.WriteFile(crl, root.list(t, later, client), 0o600))
	s.Reload()
	require.False(t, accepts(t, s, &tls.Config{}, client), "revoked meanwhile")
	require.False(t, accepts(t, s, resumed, client), "a session from before does not help")
}
