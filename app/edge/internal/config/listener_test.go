package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
)

func TestListeners(t *testing.T) {
	f := certstest.Write(t, t.TempDir(), "a", time.Now().Add(time.Hour), "a.example")
	const route = "\n[[route]]\npath = \"/\"\nrespond = {}\n"
	secure := sprintf("[[listener]]\nlisten = \":8443\"\ntls = { certs = [{ cert = %q, key = %q }] }\n", f.Cert, f.Key)
	for _, c := range []struct{ text, want, why string }{
		{secure + "[[listener]]\nlisten = \":8080\"\nredirect_https = 8443", "", "good"},
		{"[server]\nlisten = \":80\"\n" + secure, "f.toml:2: server.listen cannot be used with [[listener]]: move it there", "which would it be?"},
		{secure + "[[listener]]\nlisten = \":80\"\nredirect_https = 443", "f.toml:6: listener.redirect_https = 443: no [[listener]] has tls on that port", "a way to nowhere"},
		{secure + "redirect_https = 8443", "has both tls and redirect_https", "one or the other"},
		{"[[listener]]\nlisten = \"unix:/tmp/a.sock\"\nproxy_protocol = [\"10.0.0.0/8\"]", "", "a socket and a balancer"},
		{"[[listener]]\nlisten = \"unix:a.sock\"", "f.toml:2: listener.listen = \"unix:a.sock\": not unix:/path", "relative to what?"},
		{"[[listener]]\nlisten = \"unix:/a\"\n[[listener]]\nlisten = \":1\"\n[[listener]]\nlisten = \"systemd:http\"", "", "kinds of sockets beside one another"},
		{"[[listener]]\nlisten = \":1\"\nproxy_protocol = []", "no connection would be accepted", "a slip"},
		{"[[listener]]\nlisten = \":1\"\n[listener.tls]\ncerts = []", "listener.tls.certs is empty", "nothing to show"},
		{"[[listener]]\nlisten = \":1\"\n[listener.tls]\ncerts = [{ cert = \"/no/such\", key = \"k\" }]", "", "a file that is not there refuses no start"},
		{"[[listener]]\nlisten = \":1\"\n[listener.tls]\nclient_auth = \"require\"\ncerts = [{ cert = \"c\", key = \"k\" }]", "client_auth and client_ca go together", "whom to believe?"},
	} {
		config, err := Parse("f.toml", []byte(c.text+route), nil)
		if err == nil {
			_, _, err = config.AppListeners()
		}
		if c.want == "" {
			require.NoError(t, err, c.why)
			continue
		}
		require.ErrorContains(t, err, c.want, c.why)
	}
	config, err := Parse("f.toml", []byte("[[listener]]\nlisten = \":1\"\n[listener.tls]\ncerts = [{ cert = \"/no/such\", key = \"k\" }]"+route), nil)
	require.NoError(t, err)
	_, stores, err := config.AppListeners()
	require.NoError(t, err)
	require.EqualError(t, stores[0].Problems(), "f.toml:3: listener.tls: /no/such: no such file or directory", "but is named")
	config, err = Parse("f.toml", []byte(secure+"[[listener]]\nlisten = \":80\"\nredirect_https = 8443"+route), nil)
	require.NoError(t, err)
	listeners, stores, err := config.AppListeners()
	require.NoError(t, err)
	require.Len(t, listeners, 2)
	require.Len(t, stores, 1)
	require.Equal(t, "a.example:8443", listeners[1].Redirect("a.example"))
	require.Empty(t, listeners[1].Redirect("b.example"), "no redirect to a host without a certificate")
}
