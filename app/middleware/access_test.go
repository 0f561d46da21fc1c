package middleware

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

func TestAllowAndDenyIP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		networks string
		client   string
		want     bool
		why      string
	}{
		{"10.0.0.0/8", "10.1.2.3", true, "inside"},
		{"10.0.0.0/8", "11.0.0.1", false, "outside"},
		{"192.0.2.7/32", "192.0.2.7", true, "one address"},
		{"192.0.2.7/32", "192.0.2.8", false, "its neighbour"},
		{"10.0.0.0/8 192.0.2.0/24", "192.0.2.200", true, "any of several"},
		{"10.0.0.0/8", "::ffff:10.1.2.3", true, "IPv4 that came through an IPv6 socket"},
		{"::ffff:10.0.0.0/104", "10.1.2.3", true, "a network written that way"},
		{"::/0", "10.1.2.3", false, "all of IPv6 is not IPv4"},
		{"0.0.0.0/0", "2001:db8::1", false, "nor the reverse"},
		{"2001:db8::/32", "2001:db8::1", true, "IPv6"},
		{"fe80::/10", "fe80::1%eth0", true, "a zone says where, not who"},
		{"0.0.0.0/0 ::/0", "@", false, "no address"},
		{"", "10.1.2.3", false, "an empty list admits no client"},
	} {
		var networks []netip.Prefix
		for _, n := range strings.Fields(c.networks) {
			networks = append(networks, unmapPrefix(netip.MustParsePrefix(n)))
		}
		require.Equal(t, c.want, contains(networks, c.client), "%s in %q: %s", c.client, c.networks, c.why)
	}

	addr := serve(t, quietApp(AllowIP(netip.MustParsePrefix("127.0.0.0/8"))))
	resp, body := ask(t, addr, "GET /")
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "ok", body)
	addr = serve(t, quietApp(AllowIP(netip.MustParsePrefix("10.0.0.0/8"))))
	resp, body = ask(t, addr, "GET /\nX-Forwarded-For: 10.0.0.1")
	require.Equal(t, 403, resp.StatusCode, "what a header claims does not count")
	require.NotContains(t, body, "ok", "the handler was not reached")
	mustPanic(t, "invalid network", "a zero Prefix", func() { AllowIP(netip.Prefix{}) })

	addr = serve(t, quietApp(DenyIP(netip.MustParsePrefix("127.0.0.0/8"))))
	resp, body = ask(t, addr, "GET /")
	require.Equal(t, 403, resp.StatusCode)
	require.NotContains(t, body, "ok")
	addr = serve(t, quietApp(DenyIP(netip.MustParsePrefix("10.0.0.0/8"))))
	resp, _ = ask(t, addr, "GET /")
	require.Equal(t, 200, resp.StatusCode)

	behind := app.New(app.Options{Log: quiet, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	behind.Use(DenyIP(netip.MustParsePrefix("10.0.0.0/8")))
	behind.Get("/", func(c *app.Context) error { return c.String(200, "ok") })
	addr = serve(t, behind)
	resp, _ = ask(t, addr, "GET /\nX-Forwarded-For: 10.0.0.1")
	require.Equal(t, 403, resp.StatusCode, "a trusted proxy is believed")
	resp, _ = ask(t, addr, "GET /\nX-Forwarded-For: 10.0.0.1, 192.0.2.1")
	require.Equal(t, 200, resp.StatusCode, "what its client claims is not")
}

func basic(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

func TestBasicAuth(t *testing.T) {
	t.Parallel()
	a := app.New(app.Options{Log: quiet})
	g := a.Group("", BasicAuth(`the "realm"`, map[string]string{"ann": "secret", "bob": "p:w:", "eve": "", "jörg": "straße"}))
	g.Get("/", func(c *app.Context) error { return c.String(200, "hello "+User(c)) })
	a.Get("/open", func(c *app.Context) error { return c.String(200, "user:"+User(c)) })
	addr := serve(t, a)
	for _, c := range []struct{ authorization, want, why string }{
		{basic("ann:secret"), "hello ann", "the right password"},
		{"bASIC " + basic("ann:secret")[6:], "hello ann", "the scheme's case is free (RFC 9110 section 11.1)"},
		{"Basic   " + basic("ann:secret")[6:], "hello ann", "so is the space"},
		{basic("bob:p:w:"), "hello bob", "a password may hold colons"},
		{basic("eve:"), "hello eve", "or be empty"},
		{basic("jörg:straße"), "hello jörg", "UTF-8, as the challenge says"},
		{"", "", "nothing"},
		{basic("ann:Secret"), "", "another case"},
		{basic("ann:secret "), "", "more than the password"},
		{basic("ann:"), "", "no password"},
		{basic("bob:secret"), "", "the password of another user"},
		{basic("mallory:secret"), "", "an unknown user with a known password"},
		{basic("mallory:"), "", "an unknown user without one"},
		{basic(":secret"), "", "no user"},
		{basic("annsecret"), "", "no colon"},
		{"Bearer " + basic("ann:secret")[6:], "", "another scheme"},
		{"Basic", "", "the scheme alone"},
		{"Basic ann:secret", "", "not encoded"},
		{basic("ann:secret") + "=", "", "badly encoded"},
		{basic("ann:secret" + strings.Repeat("x", 4096)), "", "longer than anyone's"},
	} {
		request := "GET /"
		if c.authorization != "" {
			request += "\nAuthorization: " + c.authorization
		}
		resp, body := ask(t, addr, request)
		if c.want != "" {
			require.Equal(t, 200, resp.StatusCode, c.why)
			require.Equal(t, c.want, body, c.why)
			require.Empty(t, resp.Header.Get("WWW-Authenticate"), c.why)
			continue
		}
		require.Equal(t, 401, resp.StatusCode, c.why)
		require.Equal(t, `Basic realm="the \"realm\"", charset="UTF-8"`, resp.Header.Get("WWW-Authenticate"), c.why)
	}
	_, body := ask(t, addr, "GET /open\nAuthorization: "+basic("ann:secret"))
	require.Equal(t, "user:", body, "without BasicAuth there is no user")
	mustPanic(t, "no users", "no request could be admitted", func() { BasicAuth("r", nil) })
	mustPanic(t, "a colon", "the password could not be separated", func() { BasicAuth("r", map[string]string{"a:b": "c"}) })
	mustPanic(t, "empty", "no name", func() { BasicAuth("r", map[string]string{"": "c"}) })
	mustPanic(t, "control characters", "a header injected", func() { BasicAuth("r\r\nX: y", map[string]string{"a": "b"}) })
}
