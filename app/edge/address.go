// Addresses as an operator writes them: their form, and the errors of listening on them.

package edge

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"tafe/app"
	"tafe/app/edge/internal/config"
)

// CheckAddress reports an address without the form HOST:PORT, before the network is used.
func CheckAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Errorf("%q has no such port", address)
	}
	return nil
}

// checkListen is CheckAddress for listen addresses, which include unix: and systemd:.
func checkListen(address string) error {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "systemd:") {
		return new(config.ListenAddress).UnmarshalText([]byte(address))
	}
	return CheckAddress(address)
}

// ListenError returns a one-line error for a failed listen. address is used if err has none.
func ListenError(address string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		address = op.Addr.String()
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("no permission to listen on %s: ports below 1024 need CAP_NET_BIND_SERVICE", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: no interface of this machine has that address", address)
	default:
		return fmt.Errorf("cannot listen on %s: %w", address, err)
	}
}

// urls returns the addresses of the server as URLs; unix sockets as unix:/path.
func (e *edge) urls() (all []string) {
	secure := map[int]bool{}
	for i := range e.settings.Listeners {
		secure[i] = e.settings.Listeners[i].TLS != nil
	}
	for i, a := range e.server.Addrs() {
		scheme := "http://"
		if secure[i] {
			scheme = "https://"
		}
		if a.Network() == "unix" {
			all = append(all, "unix:"+a.String())
			continue
		}
		all = append(all, scheme+a.String()+"/")
	}
	return all
}

// addresses returns the configured addresses of listeners, separated by commas.
func addresses(listeners []app.Listener) string {
	var all []string
	for _, l := range listeners {
		all = append(all, l.Addr)
	}
	return strings.Join(all, ", ")
}
