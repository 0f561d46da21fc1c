// Certificates by the names in them, so that a handshake does not compare its server name with every certificate.

package certs

import (
	"crypto/tls"
	"net/netip"
	"strings"
)

// index has certificates by name: a DNS name in lower case, which may begin with "*.", or an IP address. Those of one name are in the order of
// preference.
type index map[string][]*tls.Certificate

// indexOf indexes lists of certificates, the first preferred. A nil certificate was left out.
func indexOf(lists ...[]*tls.Certificate) index {
	x := index{}
	for _, list := range lists {
		for _, pair := range list {
			if pair == nil {
				continue
			}
			for _, name := range pair.Leaf.DNSNames {
				x.add(strings.TrimSuffix(strings.ToLower(name), "."), pair)
			}
			for _, ip := range pair.Leaf.IPAddresses {
				if a, ok := netip.AddrFromSlice(ip); ok {
					x.add(a.Unmap().String(), pair)
				}
			}
		}
	}
	return x
}

func (x index) add(name string, pair *tls.Certificate) { x[name] = append(x[name], pair) }

// find returns the certificates for a host: those with its name, or else those with a wildcard for its first label.
func (x index) find(host string) []*tls.Certificate {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return x[a.Unmap().WithZone("").String()]
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if own := x[name]; len(own) > 0 && !strings.HasPrefix(name, "*") {
		return own
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		return x["*"+name[i:]]
	}
	return nil
}
