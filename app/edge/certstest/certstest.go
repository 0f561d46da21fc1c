// Package certstest makes certificates for tests.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/internal/certs"
)

// Files are the names of the files of a certificate.
type Files = certs.Files

// Write makes a self-signed certificate for names, in the files dir/base.pem and dir/base.key.
func Write(t testing.TB, dir, base string, expires time.Time, names ...string) Files {
	t.Helper()
	return WriteFor(t, dir, base, expires, "", names...)
}

// WriteFor is Write for a certificate that names an OCSP responder, if it is not "".
func WriteFor(t testing.TB, dir, base string, expires time.Time, responder string, names ...string) Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: expires, DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if responder != "" {
		template.OCSPServer = []string{responder}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	f := Files{Cert: filepath.Join(dir, base+".pem"), Key: filepath.Join(dir, base+".key"), OCSP: filepath.Join(dir, base+".ocsp")}
	require.NoError(t, os.WriteFile(f.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(f.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return f
}
