// AllowIP and DenyIP: access by client address.

package middleware

import (
	"net/netip"
	"slices"

	"tafe/app"
)

// AllowIP admits clients of the given networks and answers others with 403; see app.Context.ClientIP. IPv4-mapped IPv6 addresses count as
// IPv4. Without networks it refuses every request. It panics on an invalid network.
func AllowIP(networks ...netip.Prefix) app.Middleware {
	return byAddress(networks, "AllowIP", true)
}

// DenyIP answers clients of the given networks with 403 and admits others. It panics on an invalid network.
func DenyIP(networks ...netip.Prefix) app.Middleware {
	return byAddress(networks, "DenyIP", false)
}

func byAddress(networks []netip.Prefix, name string, admitted bool) app.Middleware {
	networks = slices.Clone(networks)
	for i, network := range networks {
		if !network.IsValid() {
			panic("middleware: " + name + ": an invalid network")
		}
		networks[i] = unmapPrefix(network)
	}
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			if contains(networks, c.ClientIPView()) != admitted {
				return app.Error(403, "this address is not allowed here")
			}
			return next(c)
		}
	}
}

// unmapPrefix turns an IPv4-mapped prefix, such as ::ffff:10.0.0.0/104, into the IPv4 prefix, 10.0.0.0/8.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func contains(networks []netip.Prefix, client string) bool {
	address, err := netip.ParseAddr(client)
	if err != nil {
		return false
	}
	address = address.Unmap().WithZone("") // Prefix.Contains is false for addresses with a zone
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
}
