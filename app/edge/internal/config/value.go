// Types of values that TOML lacks: durations, sizes, addresses, networks, header parts, paths, secrets. The error of each says what is accepted.

package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"tafe/app/edge/internal/acme"
	"tafe/httpparse"
	"tafe/loop/reactor"
)

// value is a type that is set from a TOML value. Its error completes the message "KEY = VALUE: …".
type value interface{ set(v any) error }

// Duration is written "500ms", "10s", "2m", "1h30m".
type Duration time.Duration

func (d *Duration) set(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New(`want a duration in quotes, such as "500ms", "10s" or "2m"`)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return errors.New(`not a duration: want a number with its unit, such as "500ms", "10s" or "2m"`)
	}
	*d = Duration(parsed)
	return nil
}

func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Handoff is a duration of 100us to 1m, or "off", which is negative. 0 is unset.
type Handoff time.Duration

const (
	handoffOff = Handoff(-1)
	handoffMin = 100 * time.Microsecond
	handoffMax = time.Minute
)

func (h *Handoff) set(v any) error {
	if text, ok := v.(string); ok {
		return h.UnmarshalText([]byte(text))
	}
	return errors.New(`want a duration in quotes, such as "2ms", or "off"`)
}

// UnmarshalText is for flags.
func (h *Handoff) UnmarshalText(text []byte) error {
	if string(text) == "off" || string(text) == "0" {
		*h = handoffOff
		return nil
	}
	d, err := time.ParseDuration(string(text))
	switch {
	case err != nil:
		return errors.New(`neither a duration, such as "2ms", nor "off"`)
	case d == 0:
		*h = handoffOff
		return nil
	case d < handoffMin || d > handoffMax:
		return fmt.Errorf(`not between %v and %v, and not "off"`, handoffMin, Duration(handoffMax))
	}
	*h = Handoff(d)
	return nil
}

// MarshalText is for flags.
func (h Handoff) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func (h Handoff) String() string {
	if h < 0 {
		return "off"
	}
	return Duration(h).String()
}

// Switch is true, false, or unset.
type Switch int8

const (
	switchOff = Switch(-1)
	switchOn  = Switch(1)
)

func (s *Switch) set(v any) error {
	on, ok := v.(bool)
	switch {
	case !ok:
		return errors.New("want true or false")
	case on:
		*s = switchOn
	default:
		*s = switchOff
	}
	return nil
}

// or returns the value, or other if it is unset.
func (s Switch) or(other bool) bool { return s == switchOn || s == 0 && other }

// Bytes is a size: a whole number of bytes, or "64KiB", "10MiB", "1GiB", "1TiB".
type Bytes int64

var byteUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

func (b *Bytes) set(v any) error {
	const want = `want bytes as a whole number, or with a unit, such as "64KiB", "10MiB" or "1GiB"`
	switch v := v.(type) {
	case int64:
		*b = Bytes(v)
		return nil
	case string:
		for _, unit := range byteUnits {
			number, ok := strings.CutSuffix(v, unit.name)
			if !ok {
				continue
			}
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			if err != nil || n < 0 || n > math.MaxInt64/unit.bytes {
				break
			}
			*b = Bytes(n * unit.bytes)
			return nil
		}
	}
	return errors.New(want)
}

func (b Bytes) String() string {
	for _, unit := range byteUnits {
		if unit.bytes > 1 && b > 0 && int64(b)%unit.bytes == 0 {
			return strconv.FormatInt(int64(b)/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Address is HOST:PORT.
type Address string

func (a *Address) set(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New(`want an address in quotes, such as "127.0.0.1:8080" or ":8080"`)
	}
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return errors.New(`not HOST:PORT: want an address such as "127.0.0.1:8080", ":8080" or "[::1]:8080"`)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Errorf("there is no port %q: want a number from 0 to 65535", port)
	}
	*a = Address(text)
	return nil
}

// ListenAddress is HOST:PORT, unix:/path or systemd:NAME.
type ListenAddress string

func (a *ListenAddress) set(v any) error {
	if text, ok := v.(string); ok && strings.HasPrefix(text, "unix:") {
		if len(text) <= len("unix:/") || text[len("unix:")] != '/' || len(text) > len("unix:")+unixPathMax {
			return fmt.Errorf("not unix:/path: want an absolute path of at most %d bytes", unixPathMax)
		}
		*a = ListenAddress(text)
		return nil
	}
	if text, ok := v.(string); ok && strings.HasPrefix(text, "systemd:") {
		if text == "systemd:" {
			return errors.New("not systemd:NAME: want the FileDescriptorName of a socket unit")
		}
		*a = ListenAddress(text)
		return nil
	}
	return (*Address)(a).set(v)
}

// UnmarshalText is for flags.
func (a *ListenAddress) UnmarshalText(text []byte) error { return a.set(string(text)) }

// MarshalText is for flags.
func (a ListenAddress) MarshalText() ([]byte, error) { return []byte(a), nil }

// SocketPath is the path of a unix socket, or "" for none.
type SocketPath string

func (p *SocketPath) set(v any) error {
	text, ok := v.(string)
	if !ok || text != "" && (text[0] != '/' || strings.ContainsRune(text, 0) || len(text) > reactor.HandoverPathMax) {
		return fmt.Errorf("want an absolute path in quotes, of at most %d bytes", reactor.HandoverPathMax)
	}
	*p = SocketPath(text)
	return nil
}

// unixPathMax is the longest path of a unix socket in bytes.
const unixPathMax = 107

// Network is an address or a prefix.
type Network struct{ netip.Prefix }

func (n *Network) set(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New(`want a network in quotes, such as "10.0.0.0/8" or "::1"`)
	}
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		n.Prefix = netip.PrefixFrom(address, address.BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return errors.New(`not a network: want an address or a prefix, such as "10.0.0.0/8" or "::1"`)
	case prefix != prefix.Masked():
		return fmt.Errorf("has bits set after the prefix length: want %q", prefix.Masked())
	}
	n.Prefix = prefix
	return nil
}

// HeaderName is the name of a header field, or "".
type HeaderName string

func (h *HeaderName) set(v any) error {
	text, ok := v.(string)
	if !ok || text != "" && !httpparse.ValidToken(text) {
		return errors.New(`want the name of a header in quotes, such as "X-Request-ID"`)
	}
	*h = HeaderName(text)
	return nil
}

// HeaderValue is a value that a header field can hold.
type HeaderValue string

func (h *HeaderValue) set(v any) error {
	text, ok := v.(string)
	switch {
	case !ok:
		return errors.New("want text in quotes")
	case !httpparse.ValidFieldValue(text):
		return errors.New("has a control character, such as a line feed, which is not allowed in a header")
	}
	*h = HeaderValue(text)
	return nil
}

// Resolver is the address of a DNS server, or "".
type Resolver string

func (r *Resolver) set(v any) error {
	text, ok := v.(string)
	if _, err := netip.ParseAddrPort(text); !ok || text != "" && err != nil {
		return errors.New(`want the IP address and port of a DNS server in quotes, such as "10.0.0.2:53"`)
	}
	*r = Resolver(text)
	return nil
}

// Path is a file, "-" for stdout, or "off".
type Path string

func (p *Path) set(v any) error {
	text, ok := v.(string)
	if !ok || text == "" || strings.ContainsRune(text, 0) {
		return errors.New(`want a file in quotes, or "off"`)
	}
	*p = Path(text)
	return nil
}

// HostName is a name that a certificate can have.
type HostName string

func (h *HostName) set(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New(`want a host name in quotes, such as "www.example.com"`)
	}
	name, err := acme.CanonicalName(text)
	if err != nil {
		return errors.New(`not a host name: want one such as "www.example.com", without scheme, port and path`)
	}
	*h = HostName(name)
	return nil
}

var errEnvUnset = errors.New("the environment has no variable")

// Secret is text that is never shown. "env:NAME" is the value of that environment variable.
type Secret struct{ text string }

func (s *Secret) set(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New(`want text in quotes, such as "env:NAME" for the value of an environment variable`)
	}
	if name, ok := strings.CutPrefix(text, "env:"); ok {
		if text, ok = os.LookupEnv(name); !ok {
			s.text = "unset"
			return fmt.Errorf("%w %q", errEnvUnset, name)
		}
	}
	if text == "" {
		return errors.New("is empty")
	}
	s.text = text
	return nil
}

// Reveal returns the secret.
func (s Secret) Reveal() string { return s.text }

// String hides the secret.
func (s Secret) String() string { return "(secret)" }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }
