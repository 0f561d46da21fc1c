// This file owns admitting clients by their address: that of the connection, and nothing a header claims.

package middleware

import (
	"net/netip"
	"slices"

	"tafe/app"
)

// AllowIP admits clients of the given networks and answers others with 403. The address is the connection's; behind a
// proxy that is the proxy's. IPv4 addresses mapped into IPv6 count as IPv4. Without networks nobody is admitted.
func AllowIP(networks ...netip.Prefix) app.Middleware {
	networks = slices.Clone(networks)
	for i, network := range networks {
		if !network.IsValid() {
			panic("middleware: AllowIP: an invalid network")
		}
		networks[i] = unmapPrefix(network)
	}
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			if !contains(networks, c.RemoteAddr()) {
				return app.Error(403, "this address is not allowed here")
			}
			return next(c)
		}
	}
}

// unmapPrefix takes ::ffff:10.0.0.0/104 for what it means, 10.0.0.0/8.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func contains(networks []netip.Prefix, remote string) bool {
	client, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	address := client.Addr().Unmap().WithZone("") // a Prefix has no zone and would contain none that has
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
}
