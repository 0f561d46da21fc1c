package config

import (
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
)

func TestListeners(t *testing.T) {
	f := certstest.Write(t, t.TempDir(), "a", time.Now().Add(time.Hour), "a.example")
	const route = "\n[[route]]\npath = \"/\"\nrespond = {}\n"
	secure := sprintf("[[listener]]\nlisten = \":8443\"\ntls = { certs = [{ cert = %q, key = %q }] }\n", f.Cert, f.Key)
	for _, c := range []struct{ text, want, why string }{
		{secure + "[[listener]]\nlisten = \":8080\"\nredirect_https = 8443", "", "good"},
		{"[server]\nlisten = \":80\"\n" + secure, "f.toml:2:1: server.listen cannot be used with [[listener]]: move it there", "which would it be?"},
		{secure + "[[listener]]\nlisten = \":80\"\nredirect_https = 443", "f.toml:6:1: listener.redirect_https = 443: no [[listener]] has tls on that port", "a way to nowhere"},
		{secure + "redirect_https = 8443", "has both tls and redirect_https", "one or the other"},
		{"[[listener]]\nlisten = \"unix:/tmp/a.sock\"\nproxy_protocol = [\"10.0.0.0/8\"]", "", "a socket and a balancer"},
		{"[[listener]]\nlisten = \"unix:a.sock\"", "f.toml:2:1: listener.listen = \"unix:a.sock\": not unix:/path", "relative to what?"},
		{"[[listener]]\nlisten = \"unix:/a\"\n[[listener]]\nlisten = \":1\"\n[[listener]]\nlisten = \"systemd:http\"", "", "kinds of sockets beside one another"},
		{"[[listener]]\nlisten = \":1\"\nproxy_protocol = []", "no connection would be accepted", "a slip"},
		{"[[listener]]\nlisten = \":1\"\n[listener.tls]\ncerts = []", "listener.tls has no certs", "nothing to show"},
		{"[[listener]]\nlisten = \":1\"\n[listener.tls]\ncerts = [{ cert = \"/no/such\", key = \"k\" }]", "", "a file that is not there refuses no start"},
		{"[[listener]]\nlisten = \":1\"\n[listener.tls]\nclient_auth = \"require\"\ncerts = [{ cert = \"c\", key = \"k\" }]", "client_auth and client_ca go together", "whom to believe?"},
	} {
		config, err := Parse("f.toml", []byte(c.text+route), nil)
		if err == nil {
			_, _, err = config.AppListeners(Sources{})
		}
		if c.want == "" {
			require.NoError(t, err, c.why)
			continue
		}
		require.ErrorContains(t, err, c.want, c.why)
	}
	config, err := Parse("f.toml", []byte("[[listener]]\nlisten = \":1\"\n[listener.tls]\ncerts = [{ cert = \"/no/such\", key = \"k\" }]"+route), nil)
	require.NoError(t, err)
	_, stores, err := config.AppListeners(Sources{})
	require.NoError(t, err)
	require.EqualError(t, stores[0].Problems(), "f.toml:4:10: listener.tls.certs: /no/such: no such file or directory", "but is named")
	config, err = Parse("f.toml", []byte(secure+"[[listener]]\nlisten = \":80\"\nredirect_https = 8443"+route), nil)
	require.NoError(t, err)
	listeners, stores, err := config.AppListeners(Sources{})
	require.NoError(t, err)
	require.Len(t, listeners, 2)
	require.Len(t, stores, 1)
	require.Equal(t, "a.example:8443", listeners[1].Redirect("a.example"))
	require.Empty(t, listeners[1].Redirect("b.example"), "no redirect to a host without a certificate")
}

// The same socket cannot be bound twice.
func TestAddresses(t *testing.T) {
	file := func(addresses ...string) string {
		text := ""
		for _, a := range addresses {
			text += sprintf("[[listener]]\nlisten = %q\n", a)
		}
		return text + minimal
	}
	const admin = "[admin]\nlisten = \"127.0.0.1:9999\"\n"
	for _, c := range []struct{ text, want, why string }{
		{file("127.0.0.1:81", "127.0.0.1:82", "127.0.0.2:81", "[::1]:81"), "", "different ports and addresses"},
		{file("127.0.0.1:0", "127.0.0.1:0", ":0"), "", "port 0 is another one each time"},
		{file("127.0.0.1:81", "127.0.0.1:82", "127.0.0.1:81"), `f.toml:6:1: listener.listen = "127.0.0.1:81": listener.listen in line 2 has 127.0.0.1:81`, "as it is"},
		{file("127.0.0.1:81", ":81"), `f.toml:4:1: listener.listen = ":81": listener.listen in line 2 has 127.0.0.1:81`, "all addresses include this one"},
		{file("[::]:81", "0.0.0.0:81"), "f.toml:4:1: listener.listen", "both are all addresses, of both families"},
		{file("[::1]:81", "[0:0::1]:81"), "f.toml:4:1: listener.listen", "another spelling"},
		{file("[::ffff:127.0.0.1]:81", "127.0.0.1:81"), "f.toml:4:1: listener.listen", "an IPv4 address in IPv6"},
		{file("LOCALHOST:81", "localhost:81"), "f.toml:4:1: listener.listen", "names have no case"},
		{file("localhost:80", "localhost:http"), "f.toml:4:1: listener.listen", "the name of a port"},
		{file("unix:/run/a", "unix:/run/b", "unix:/run/a"), `f.toml:6:1: listener.listen = "unix:/run/a": listener.listen in line 2`, "a file"},
		{file("systemd:a", "systemd:a"), "f.toml:4:1: listener.listen", "a name"},
		{admin + file("127.0.0.1:9999"), `f.toml:4:1: listener.listen = "127.0.0.1:9999": admin.listen in line 2 has 127.0.0.1:9999`, "the admin listener"},
		{file(":9180"), `f.toml:2:1: listener.listen = ":9180": the default of admin.listen is 127.0.0.1:9180`, "its default"},
		{"[admin]\nlisten = \":8080\"\n" + minimal, `f.toml:2:1: admin.listen = ":8080": the default of server.listen is 127.0.0.1:8080`, "the default of the server"},
		{"[server]\nlisten = \":9999\"\n" + admin + minimal, `f.toml:4:1: admin.listen = "127.0.0.1:9999": server.listen in line 2 has :9999`, "server.listen"},
	} {
		_, problems := parse("f.toml", []byte(c.text), nil, true)
		if c.want == "" {
			require.Empty(t, problems, c.why)
			continue
		}
		require.ErrorContains(t, problems, c.want, c.why)
		require.Len(t, problems, 1, "one cause, one problem: %s", c.why)
	}
	_, err := Parse("f.toml", []byte(file(":9180")), nil)
	require.NoError(t, err, "a flag may give another address of the admin listener")
	_, err = Parse("f.toml", []byte(file(":81", ":81")), nil)
	require.Error(t, err, "no flag gives others")
}

// provider is a DNS provider.
type provider struct{ certmagic.DNSProvider }

func TestACME(t *testing.T) {
	const route = "\n[[route]]\npath = \"/\"\nrespond = {}\n"
	const own = "[acme]\ndomains = [\"a.example\"]\n"
	const tls = "[[listener]]\nlisten = \":8443\"\ntls = {}\n"
	for _, c := range []struct{ text, want, why string }{
		{own, "", "listeners are implied"},
		{own + tls, "", "or given"},
		{own + tls + "[[listener]]\nlisten = \":80\"\nredirect_https = 8443", "", "with a redirect"},
		{own + "[server]\nlisten = \":80\"", "f.toml:1:2: acme: no [[listener]] has tls", "the certificates would not be used"},
		{own + "[[listener]]\nlisten = \":80\"", "f.toml:1:2: acme: no [[listener]] has tls", "nor here"},
		{"[acme]\nemail = \"a@a.example\"\n" + tls, "listener.tls has no certs, and [acme] no domains", "an address alone obtains nothing"},
		{"[acme]\ndomains = [\"https://a.example\"]\n" + tls, "f.toml:2:12: acme.domains = \"https://a.example\": not a host name", "a URL"},
		{"[acme]\ndomains = [\"a.example:443\"]\n" + tls, "not a host name", "a port"},
		{"[acme]\ndomains = [\"*.a.example\"]\n" + tls, "f.toml:2:12: acme.domains: \"*.a.example\" needs a binary with a DNS provider", "a wildcard"},
		{own + "ca = \"http://ca.example/dir\"\n", "f.toml:3:1: acme.ca = \"http://ca.example/dir\": want letsencrypt", "no HTTPS"},
		{own + "ca = \"lets-encrypt\"\n", "f.toml:3:1: acme.ca = \"lets-encrypt\": want letsencrypt", "a slip"},
		{own + "fallback = { ca = \"zerossl\" }\n", "", "a second authority"},
		{own + "fallback = {}\n", "f.toml:3:1: acme.fallback.ca is the authority of acme.ca", "the same twice"},
		{own + "fallback = { ca = \"x\" }\n", "f.toml:3:14: acme.fallback.ca = \"x\": want", "a slip in the second"},
		{own + "eab = { key_id = \"k\" }\n", "acme.eab lacks the key mac_key", "half an account"},
		{own + "storage = \"/x\"\nredis = { address = \"127.0.0.1:1\" }\n", "f.toml:4:1: acme has both storage and redis", "which would it be?"},
		{own + "email = \"admin\"\n", "f.toml:3:1: acme.email = \"admin\": want one address", "no address"},
		{"[acme]\non_demand = { ask = \"a.example\" }\n", "f.toml:2:15: acme.on_demand.ask = \"a.example\": want a URL", "no URL"},
		{"[acme]\non_demand = { ask = \"http://a.example/\" }\n", "", "on demand alone"},
		{own + "[[listener]]\nlisten = \":1\"\ntls = { profile = \"modern\", min_version = \"1.2\" }\n", "f.toml:5:29: listener.tls.min_version = \"1.2\" contradicts the profile modern", "two minds"},
		{own + "[[listener]]\nlisten = \":1\"\ntls = { profile = \"old\" }\n", "want one of modern, intermediate", "a profile that is not offered"},
	} {
		config, err := Parse("f.toml", []byte(c.text+route), nil)
		if err == nil {
			_, _, err = config.acmeOptions()
		}
		if err == nil {
			_, _, err = config.AppListeners(Sources{})
		}
		if c.want == "" {
			require.NoError(t, err, c.why)
			continue
		}
		require.ErrorContains(t, err, c.want, c.why)
	}

	config, err := Parse("f.toml", []byte("[acme]\ndomains = [\"B.example\", \"b.example\", \"bücher.example\"]\nca_roots = \"/no/such\"\n"+route), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"b.example", "xn--bcher-kva.example"}, config.Names())
	require.Len(t, config.Listeners, 2)
	o, broken, err := config.acmeOptions()
	require.NoError(t, err, "a file that is not there refuses no start")
	require.EqualError(t, broken, "f.toml:3:1: acme.ca_roots: /no/such: no such file or directory")
	require.True(t, o.HTTP01 && o.TLSALPN01)
	listeners, stores, err := config.AppListeners(Sources{})
	require.NoError(t, err)
	require.Len(t, stores, 1)
	require.Equal(t, []string{":443", ":80"}, []string{listeners[0].Addr, listeners[1].Addr})
	require.Equal(t, "acme-tls/1", listeners[0].TLS.HandshakeOnly)

	wild, err := Parse("f.toml", []byte("[acme]\ndomains = [\"*.a.example\"]\nprofile = \"shortlived\"\nfallback = { ca = \"zerossl\", profile = \"p\" }\n"+route), &Registry{DNS: provider{}})
	require.NoError(t, err)
	o, _, err = wild.acmeOptions()
	require.NoError(t, err)
	require.Equal(t, provider{}, o.DNS)
	require.Equal(t, []string{"*.a.example"}, o.Names)
	require.Equal(t, []string{"shortlived", "p"}, []string{o.Authorities[0].Profile, o.Authorities[1].Profile})

	// The default storage.
	t.Setenv("STATE_DIRECTORY", "/var/lib/tafe:/other")
	directory, err := config.ACME.directoryOfStorage()
	require.NoError(t, err)
	require.Equal(t, "/var/lib/tafe/acme", directory)
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("XDG_DATA_HOME", "/data")
	directory, err = config.ACME.directoryOfStorage()
	require.NoError(t, err)
	require.Equal(t, "/data/tafe/acme", directory)

	// Domains change at a reload; the rest does not.
	next, err := Parse("f.toml", []byte("[acme]\ndomains = [\"c.example\"]\nca_roots = \"/no/such\"\n"+route), nil)
	require.NoError(t, err)
	require.Empty(t, config.NeedRestart(next))
	next, err = Parse("f.toml", []byte("[acme]\ndomains = [\"c.example\"]\nemail = \"a@b.example\"\n"+route), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"3:1: acme.email", "1:2: acme.ca_roots"}, keysOfRestart(config.NeedRestart(next)))

	config.WithoutACME()
	require.False(t, config.ObtainsCertificates())
	_, stores, err = config.AppListeners(Sources{})
	require.NoError(t, err)
	require.Empty(t, stores, "for tests the listeners are plain")
}
