package run

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Role is the configuration of a server in a scenario.
type Role string

// The roles. A peer that lacks one takes no part in its scenarios.
const (
	RolePlain  Role = ""       // /plaintext, /json, /echo, /sleep
	RoleWork   Role = "work"   // /work and /hold, with a delay backend
	RoleProxy  Role = "proxy"  // everything goes to one upstream
	RoleStatic Role = "static" // files
	RoleTLS    Role = "tls"    // /plaintext over TLS
	RoleCast   Role = "cast"   // /events and /feed, streams that get each message of POST /publish
	RoleCalls  Role = "calls"  // everything goes to one upstream that answers unary calls, over HTTP/2
	RoleCalls1 Role = "calls1" // over HTTP/1.1
)

// needsBackend reports whether the server asks another one.
func (r Role) needsBackend() bool {
	return r == RoleWork || r == RoleProxy || r == RoleCalls || r == RoleCalls1
}

// Setting is what a server is started with.
type Setting struct {
	Root         string         // the bench folder
	Dir          string         // a folder for the server's own files
	Role         Role           //
	HTTP2        bool           // clients speak HTTP/2
	Listen       netip.AddrPort // where it serves
	Admin        netip.AddrPort // tafe: its admin listener
	Backend      netip.AddrPort // the delay backend, or the upstream
	Files        string         // static: the folder to serve
	Cert, Key    string         // tls: PEM files
	Rounds       int            // rounds of computation that make a millisecond
	PythonRounds int            // the same for the Python peers
	Extra        []string       // further arguments that a case asks for
}

// Bin names a built program.
func (s Setting) Bin(name string) string { return filepath.Join(s.Root, "bin", name) }

// setting gives a server free addresses and a folder with what its role needs, until cleanup.
func (b *Bench) setting(role Role, http2 bool) (set Setting, cleanup func(), err error) {
	set = Setting{Root: b.Root, Role: role, HTTP2: http2, Rounds: b.Rounds, PythonRounds: b.PythonRounds}
	addrs, err := FreeAddrs(3)
	if err != nil {
		return set, nil, err
	}
	set.Listen, set.Admin, set.Backend = addrs[0], addrs[1], addrs[2]
	if set.Dir, err = os.MkdirTemp("", "tafe-bench-"); err != nil {
		return set, nil, err
	}
	_ = os.Chmod(set.Dir, 0o755) // servers that start as root change their user
	cleanup = func() { _ = os.RemoveAll(set.Dir) }
	switch role {
	case RoleStatic:
		err = set.writeFiles()
	case RoleTLS:
		err = set.writeCertificate()
	}
	if err != nil {
		cleanup()
	}
	return set, cleanup, err
}

// StaticFiles are the files of the static scenario and their sizes in bytes.
var StaticFiles = map[string]int{"1k.bin": 1 << 10, "100k.bin": 100 << 10, "1m.bin": 1 << 20, "10m.bin": 10 << 20}

func (s *Setting) writeFiles() error {
	s.Files = filepath.Join(s.Dir, "files")
	if err := os.Mkdir(s.Files, 0o755); err != nil {
		return err
	}
	for name, size := range StaticFiles {
		if err := os.WriteFile(filepath.Join(s.Files, name), bytes.Repeat([]byte("static\n."), size/8), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeCertificate makes a self-signed ECDSA certificate, the kind that is common today.
func (s *Setting) writeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	s.Cert, s.Key = filepath.Join(s.Dir, "cert.pem"), filepath.Join(s.Dir, "key.pem")
	both := append(block("CERTIFICATE", cert), block("PRIVATE KEY", private)...)
	if err := os.WriteFile(filepath.Join(s.Dir, "both.pem"), both, 0o600); err != nil { // HAProxy wants one file
		return err
	}
	if err := os.WriteFile(s.Cert, block("CERTIFICATE", cert), 0o644); err != nil {
		return err
	}
	return os.WriteFile(s.Key, block("PRIVATE KEY", private), 0o600)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// startBackend starts what the role needs behind the server; nil when it needs nothing.
func (b *Bench) startBackend(set Setting) (*Server, error) {
	argv := []string{set.Bin("peer"), "delay", "--listen", set.Backend.String(), "--ms"}
	switch set.Role {
	case RoleWork:
		argv = append(argv, "5")
	case RoleProxy:
		argv = append(argv, "0")
	case RoleCalls, RoleCalls1:
		argv = []string{set.Bin("peer"), "calls", "--listen", set.Backend.String()}
	default:
		return nil, nil
	}
	s, err := Start(argv, nil, b.Cores.Load, set.Backend)
	if err != nil {
		return nil, fmt.Errorf("the backend: %w", err)
	}
	return s, nil
}
