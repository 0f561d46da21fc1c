// Command pebble runs Pebble, the ACME test server of Let's Encrypt, with a DNS server that answers every name with 127.0.0.1. The tests
// of certificates use it, and `make pebble`. It is a module of its own, so that Pebble is no dependency of the server.
//
// It writes two files: ca.pem has the authority of its own HTTPS certificate, which ACME clients need, and issuer.pem the root
// of the certificates that it issues. Both are new at each start.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

type options struct {
	listen, management, dir  string
	httpPort, tlsPort, valid int
	ocsp, key, mac, keys     string
	dns, profile             string
	verbose                  bool
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:14000", "`address` of the ACME server")
	flag.StringVar(&o.management, "management", "127.0.0.1:15000", "`address` of Pebble's management interface; empty: none")
	flag.StringVar(&o.dir, "dir", ".", "`directory` for ca.pem and issuer.pem")
	flag.IntVar(&o.httpPort, "http-port", 80, "`port` that HTTP-01 challenges are sent to")
	flag.IntVar(&o.tlsPort, "tls-port", 443, "`port` that TLS-ALPN-01 challenges are sent to")
	flag.IntVar(&o.valid, "valid", 90*24*3600, "lifetime of certificates in `seconds`")
	flag.StringVar(&o.ocsp, "ocsp", "", "`URL` of an OCSP responder to name in certificates")
	flag.StringVar(&o.key, "eab-key", "", "`ID` of an external account, which is then required")
	flag.StringVar(&o.mac, "eab-mac", "", "MAC key of the external account, in base64url")
	flag.StringVar(&o.keys, "keys", "ecdsa", "`kind` of the keys of its authorities: ecdsa, or rsa, which the management interface shows")
	flag.StringVar(&o.dns, "dns", "", "`address` of a DNS server that finds names; default one that answers with 127.0.0.1")
	flag.StringVar(&o.profile, "profile", "default", "`name` of the only profile of certificates")
	flag.BoolVar(&o.verbose, "v", false, "log to stderr")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "pebble:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	// Pebble waits for a random time before each validation unless this is set.
	if os.Getenv("PEBBLE_VA_NOSLEEP") == "" {
		_ = os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	}
	logger := log.New(io.Discard, "pebble ", log.LstdFlags)
	if o.verbose {
		logger.SetOutput(os.Stderr)
	}
	names := o.dns
	if names == "" {
		var err error
		if names, err = resolver(logger); err != nil {
			return err
		}
	}
	store := db.NewMemoryStore()
	if o.key != "" {
		if err := store.AddExternalAccountKeyByID(o.key, o.mac); err != nil {
			return err
		}
	}
	profiles := map[string]ca.Profile{o.profile: {Description: "the only one", ValidityPeriod: uint64(o.valid)}}
	issuer := ca.New(logger, store, o.ocsp, o.keys, 0, 1, profiles)
	validation := va.New(logger, o.httpPort, o.tlsPort, false, names, store)
	front := wfe.New(logger, store, validation, issuer, []string{"pebble.letsencrypt.org"}, false, o.key != "", 0, 0)

	own, roots, err := ownCertificate()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "ca.pem"), roots, 0o644); err != nil {
		return err
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.GetRootCert(0).Cert.Raw})
	if err := os.WriteFile(filepath.Join(o.dir, "issuer.pem"), root, 0o644); err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{own}}
	failed := make(chan error, 2)
	management := "off"
	if o.management != "" {
		l, err := tls.Listen("tcp", o.management, config)
		if err != nil {
			return err
		}
		management = "https://" + l.Addr().String()
		go func() { failed <- http.Serve(l, front.ManagementHandler()) }()
	}
	service, err := tls.Listen("tcp", o.listen, config)
	if err != nil {
		return err
	}
	go func() { failed <- http.Serve(service, front.Handler()) }()
	fmt.Printf("ca = \"https://%s%s\"\nca_roots = %q\nmanagement %s\n",
		service.Addr(), wfe.DirectoryPath, filepath.Join(o.dir, "ca.pem"), management)
	// A parent that ends closes the pipe of stdin. A terminal keeps it open.
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			failed <- nil
		}()
	}
	return <-failed
}

// resolver starts a DNS server that answers every name with 127.0.0.1, and returns its address.
func resolver(logger *log.Logger) (string, error) {
	for range 10 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		address := free.Addr().String()
		_ = free.Close()
		server, err := challtestsrv.New(challtestsrv.Config{Log: logger, DNSAddrs: []string{address}})
		if err != nil {
			return "", err
		}
		server.SetDefaultDNSIPv6("")
		go server.Run()
		for range 100 {
			if c, err := net.Dial("tcp", address); err == nil {
				_ = c.Close()
				return address, nil
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return "", errors.New("the DNS server does not start")
}

// ownCertificate makes the certificate of the ACME server, which is its own authority.
func ownCertificate() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "Pebble"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		DNSNames: []string{"localhost", "pebble"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
