// Handshakes: the certificate for a client hello, from memory, and the challenge TLS-ALPN-01 (RFC 8737).

package acme

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"

	"tafe/loop"
	"tafe/loop/reactor"
)

// ChallengeProtocol is the ALPN protocol of TLS-ALPN-01. Connections with it end with the handshake.
const ChallengeProtocol = acmez.ACMETLS1Protocol

// Certificate returns the certificate for the name of a hello, or nil if there is none. It reads memory only, except for names on demand:
// for those the task of the handshake waits, and the loop goes on. A hello without a name gets the certificate of its IP address,
// or else of the first name.
func (m *Manager) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	if pair := m.find(name, hello.Conn); pair != nil {
		return pair, nil
	}
	if m.demand == nil || name == "" || m.manages(name) {
		return nil, nil
	}
	return m.demand.await(name, reactor.HandshakeTask(hello))
}

// find returns the certificate in memory for a name in lower case, or nil.
func (m *Manager) find(name string, conn net.Conn) *tls.Certificate {
	if name == "" {
		if conn != nil {
			if host, _, err := net.SplitHostPort(conn.LocalAddr().String()); err == nil {
				if pair := m.served(host); pair != nil {
					return pair
				}
			}
		}
		if first := m.first.Load(); first != nil {
			return first.served.Load()
		}
		return nil
	}
	if pair := m.served(name); pair != nil {
		return pair
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		return m.served("*." + parent)
	}
	return nil
}

func (m *Manager) served(name string) *tls.Certificate {
	found, ok := m.entries.Load(name)
	if !ok {
		return nil
	}
	e := found.(*entry)
	if e.onDemand {
		e.usedAt.Store(time.Now().Unix())
	}
	return e.served.Load()
}

// Covers reports whether host has a certificate, or may get one.
func (m *Manager) Covers(host string) bool {
	host = strings.ToLower(host)
	return m.manages(host) || m.demand != nil && certifiable(host)
}

// Agree reports whether the certificate in memory for a server name is valid for host.
func (m *Manager) Agree(serverName, host string) bool {
	pair := m.find(strings.ToLower(serverName), nil)
	return pair != nil && pair.Leaf.VerifyHostname(host) == nil
}

// manages reports whether a name in lower case has an entry.
func (m *Manager) manages(host string) bool {
	if _, ok := m.entries.Load(host); ok {
		return true
	}
	_, parent, _ := strings.Cut(host, ".")
	_, ok := m.entries.Load("*." + parent)
	return ok
}

// Challenge returns the configuration for a hello of TLS-ALPN-01, or nil for any other hello. A client certificate is not asked for:
// the connection must end with its handshake.
func (m *Manager) Challenge(hello *tls.ClientHelloInfo) *tls.Config {
	if !m.options.TLSALPN01 || hello.ServerName == "" || !slices.Equal(hello.SupportedProtos, []string{ChallengeProtocol}) {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{ChallengeProtocol}, SessionTicketsDisabled: true, GetCertificate: m.challengeCertificate,
	}
}

var errNoTask = errors.New("acme: no task")

// challengeCertificate returns the certificate that answers a challenge: from memory if this process has begun it, or else from the
// storage, beside the loop.
func (m *Manager) challengeCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	answer := func() (*tls.Certificate, error) {
		pair, err := m.config.GetCertificate(hello)
		if err == nil {
			m.counts.challenges.Add(1)
		}
		return pair, err
	}
	if _, ok := certmagic.GetACMEChallenge(hello.ServerName); ok {
		return answer()
	}
	t := reactor.HandshakeTask(hello)
	if t == nil {
		return nil, errNoTask
	}
	return loop.Offload(t, m.reads, answer)
}
