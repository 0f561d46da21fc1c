package app

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

func TestClientIP(t *testing.T) {
	const itself = "192.0.2.1" // where the rig's clients come from
	for _, c := range []struct {
		trusted []string
		fields  string
		want    string
		why     string
	}{
		{nil, "X-Forwarded-For: 203.0.113.9\r\n", itself, "no proxy is trusted"},
		{[]string{"10.0.0.0/8"}, "X-Forwarded-For: 203.0.113.9\r\n", itself, "another network is trusted"},
		{[]string{"192.0.2.0/24"}, "", itself, "the proxy speaks for itself"},
		{[]string{"192.0.2.0/24"}, "x-forwarded-FOR: 203.0.113.9\r\n", "203.0.113.9", "one proxy"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\n", "203.0.113.9", "what the client wrote in front does not count"},
		{[]string{"192.0.2.0/24", "10.0.0.0/8"}, "X-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.0.0.7\r\n", "203.0.113.9", "two proxies"},
		{[]string{"192.0.2.0/24", "10.0.0.0/8"}, "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.7\r\n", "203.0.113.9", "in two lines"},
		{[]string{"192.0.2.0/24", "10.0.0.0/8"}, "X-Forwarded-For: 10.0.0.8, 10.0.0.7\r\n", "10.0.0.8", "all are proxies: the first"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: 203.0.113.9:4711\r\n", "203.0.113.9", "with a port"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1", "IPv6 with a port"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1", "in brackets"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1", "without"},
		{[]string{"192.0.2.0/24", "2001:db8::/32"}, "X-Forwarded-For: 203.0.113.9, 2001:db8::1\r\n", "203.0.113.9", "an IPv6 proxy"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: unknown\r\n", itself, "no address"},
		{[]string{"192.0.2.0/24", "10.0.0.0/8"}, "X-Forwarded-For: 203.0.113.9, garbage, 10.0.0.7\r\n", "10.0.0.7", "nothing behind garbage is believed"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: 203.0.113.9, ,\r\n", "203.0.113.9", "empty elements"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: ,\r\n", itself, "nothing else"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: [\r\n", itself, "half a bracket"},
		{[]string{"192.0.2.0/24"}, "X-Forwarded-For: :\r\n", itself, "a colon"},
	} {
		o := Options{Log: quiet}
		for _, n := range c.trusted {
			o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(n))
		}
		a := New(o)
		a.Get("/", func(c *Context) error { return c.String(200, c.ClientIP()) })
		p := newRig(t, a, reactor.Limits{}).dial()
		p.send("GET / HTTP/1.1\r\nHost: a\r\n" + c.fields + "\r\n")
		require.Regexp(t, "\r\n\r\n"+c.want+"$", p.taken(), c.why)
	}
}

func TestScheme(t *testing.T) {
	for _, c := range []struct {
		trusted bool
		fields  string
		want    string
		why     string
	}{
		{false, "", "http", "a plain connection"},
		{false, "X-Forwarded-Proto: https\r\n", "http", "the peer is not trusted"},
		{true, "", "http", "a trusted proxy that sends no header"},
		{true, "X-Forwarded-Proto: https\r\n", "https", "a trusted proxy"},
		{true, "x-forwarded-proto: HTTPS\r\n", "https", "in any case"},
		{true, "X-Forwarded-Proto: http\r\n", "http", "plain in front, too"},
		{true, "X-Forwarded-Proto: https, http\r\n", "http", "the client cannot choose: the last element counts"},
		{true, "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", "https", "over several lines"},
		{true, "X-Forwarded-Proto: wss\r\n", "http", "another scheme is ignored"},
		{true, "X-Forwarded-Proto: https,\r\n", "http", "an empty last element is ignored"},
	} {
		o := Options{Log: quiet}
		if c.trusted {
			o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}
		a := New(o)
		a.Get("/", func(c *Context) error { return c.String(200, c.Scheme()) })
		p := newRig(t, a, reactor.Limits{}).dial()
		p.send("GET / HTTP/1.1\r\nHost: a\r\n" + c.fields + "\r\n")
		require.Regexp(t, "\r\n\r\n"+c.want+"$", p.taken(), c.why)
	}
}

func TestHostOf(t *testing.T) {
	for _, tt := range []struct{ why, remote, want string }{
		{"IPv4", "192.0.2.1:80", "192.0.2.1"},
		{"IPv6", "[2001:db8::1]:80", "2001:db8::1"},
		{"IPv6 with a zone", "[fe80::1%eth0]:80", "fe80::1%eth0"},
		{"a unix socket has no port", "@", ""},
		{"a connection that is closed", "", ""},
	} {
		t.Run(tt.why, func(t *testing.T) { require.Equal(t, tt.want, HostOf(tt.remote)) })
	}
}
