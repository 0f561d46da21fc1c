// Information about the client's connection for the server: the PROXY header at the start of a connection, and the client's
// certificate (RFC 9440).

package proxy

import (
	"encoding/base64"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"

	"tafe/app"
)

// preface returns the PROXY header of the given version for the client of c; nil if version is 0. Behind a trusted proxy
// it has the address of the client, and port 0.
func preface(c *app.Context, version int) []byte {
	if version == 0 {
		return nil
	}
	from, err := netip.ParseAddrPort(c.RemoteAddr())
	local, ok := c.LocalAddr().(*net.TCPAddr)
	if err != nil || !ok {
		return prefaceLocal(version) // a unix socket
	}
	if ip, err := netip.ParseAddr(c.ClientIPView()); err == nil && ip.Unmap() != from.Addr().Unmap() {
		from = netip.AddrPortFrom(ip, 0)
	}
	from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
	to := local.AddrPort()
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	if from.Addr().Is4() != to.Addr().Is4() { // behind a trusted proxy; a header has addresses of one family
		unspecified := netip.IPv6Unspecified()
		if from.Addr().Is4() {
			unspecified = netip.IPv4Unspecified()
		}
		to = netip.AddrPortFrom(unspecified, to.Port())
	}
	return format(proxyproto.HeaderProxyFromAddrs(byte(version), net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to)))
}

// prefaceLocal returns the PROXY header for a connection without a client, such as that of a health check.
func prefaceLocal(version int) []byte {
	if version == 0 {
		return nil
	}
	return format(&proxyproto.Header{Version: byte(version), Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC})
}

func format(h *proxyproto.Header) []byte {
	b, err := h.Format()
	if err != nil {
		panic("proxy: PROXY header: " + err.Error()) // all its parts are made here
	}
	return b
}

// Fields of RFC 9440.
const (
	clientCert      = "Client-Cert"
	clientCertChain = "Client-Cert-Chain"
)

// ClientCert is what a Forwarder tells servers about the certificate of the client.
type ClientCert string

// The values of ClientCert.
const (
	NoClientCert    ClientCert = ""
	LeafClientCert  ClientCert = "leaf"  // Client-Cert
	ChainClientCert ClientCert = "chain" // and Client-Cert-Chain
)

// addClientCert adds the client's certificate, which the TLS handshake has verified, as byte sequences of structured
// fields (RFC 9440 section 2). The chain is that of the handshake, without the certificate itself and the trust anchor.
func (f *Forwarder) addClientCert(c *app.Context, x *forward) {
	if f.options.ClientCert == NoClientCert || !c.Secure() {
		return
	}
	state := c.TLS()
	if state == nil || len(state.VerifiedChains) == 0 {
		return
	}
	chain := state.VerifiedChains[0]
	x.req.AddHeader(clientCert, string(appendByteSequence(nil, chain[0].Raw)))
	if f.options.ClientCert != ChainClientCert || len(chain) <= 2 {
		return
	}
	var list []byte
	for i, cert := range chain[1 : len(chain)-1] {
		if i > 0 {
			list = append(list, ", "...)
		}
		list = appendByteSequence(list, cert.Raw)
	}
	x.req.AddHeader(clientCertChain, string(list))
}

// appendByteSequence appends a byte sequence of structured fields (RFC 9651 section 3.3.5).
func appendByteSequence(b, der []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(b, ':'), der), ':')
}
