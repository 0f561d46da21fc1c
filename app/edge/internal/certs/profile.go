// Profile: which versions, cipher suites and key exchanges a listener offers, as Mozilla recommends them.

package certs

import (
	"crypto/tls"
	"slices"
	"strings"
)

// Profile is one of Mozilla's recommendations (https://wiki.mozilla.org/Security/Server_Side_TLS).
type Profile struct {
	Name       string // "modern" or "intermediate", which is the default
	MinVersion uint16 // of TLS; more than the profile's, or 0
}

// curves are the key exchanges of both profiles, in order of preference. The first is a hybrid of X25519 and ML-KEM, which is
// safe from a quantum computer that comes later.
var curves = []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}

// suites are the cipher suites of TLS 1.2 in the profile intermediate, but for those with DHE, which crypto/tls lacks. Those of TLS
// 1.3 are fixed.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// KeyExchanges returns the names of the key exchanges, the preferred one first.
func (Profile) KeyExchanges() string {
	var names []string
	for _, c := range curves {
		names = append(names, c.String())
	}
	return strings.Join(names, " ")
}

// Version returns the lowest version of TLS.
func (p Profile) Version() uint16 {
	if p.Name == "modern" {
		return tls.VersionTLS13
	}
	return max(p.MinVersion, tls.VersionTLS12)
}

// config returns a configuration without certificates, for protocols of ALPN.
func (p Profile) config(protocols []string) *tls.Config {
	return &tls.Config{
		MinVersion: p.Version(), CipherSuites: slices.Clone(suites), CurvePreferences: slices.Clone(curves), NextProtos: protocols,
	}
}
