package proxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/loop/reactor"
)

// prefaced starts a server that expects a PROXY header on every connection, with or without TLS, and tells what it said.
func prefaced(t *testing.T, secure bool) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey))
	}))
	s.Listener = &proxyproto.Listener{Listener: s.Listener, ReadHeaderTimeout: patience,
		ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.REQUIRE, nil }}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func TestProxyProtocolToServers(t *testing.T) {
	t.Parallel()
	for _, version := range []int{1, 2} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint(version, secure), func(t *testing.T) {
				t.Parallel()
				s := prefaced(t, secure)
				o := GroupOptions{Servers: to(s.Listener.Addr().String()), ProxyProtocol: version, Check: &Check{Interval: time.Millisecond}}
				if secure {
					o.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
					o.TLS.ServerName = "example.com"
				}
				f := serve(t, o, Options{}, netip.MustParsePrefix("127.0.0.0/8"))
				f.group.Start()
				for range 3 { // each on a connection of its own
					c, err := net.Dial("tcp", f.Addr().String())
					require.NoError(t, err)
					_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
					require.NoError(t, err)
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					require.NoError(t, err)
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.Equal(t, c.LocalAddr().String()+" "+f.Addr().String(), string(body))
					_ = c.Close()
				}
				require.Equal(t, "200 192.0.2.7:0 "+f.Addr().String(), f.raw(t, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"), "the client behind a trusted proxy")
				require.Contains(t, f.raw(t, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 2001:db8::7\r\n\r\n"), "200 [2001:db8::7]:0 [::]:", "of another family")
				require.Equal(t, Up, f.group.Stats().Servers[0].State)
				require.Zero(t, f.group.Stats().Servers[0].CheckFailures, "health checks send a header too")
			})
		}
	}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate that is signed by a, or by itself if a is nil.
func (a *authority) issue(t *testing.T, name string, isCA bool) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		DNSNames: []string{name}}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert, key}
}

func (a *authority) pair(chain ...*authority) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key}
	for _, link := range chain {
		c.Certificate = append(c.Certificate, link.cert.Raw)
	}
	return c
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	var none *authority
	root := none.issue(t, "root", true)
	middle := root.issue(t, "middle", true)
	leaf, direct := middle.issue(t, "client", false), root.issue(t, "direct", false)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	site := root.issue(t, "site.example", false)
	const forged = "Client-Cert: :AAAA:\r\nClient-Cert-Chain: :BBBB:\r\nClient_Cert: :CCCC:\r\n"
	b64 := func(a *authority) string { return ":" + base64.StdEncoding.EncodeToString(a.cert.Raw) + ":" }
	for _, c := range []struct {
		why   string
		pass  ClientCert
		shown *tls.Certificate
		proxy bool // the peer is a trusted proxy
		want  string
	}{
		{"without the option, fields of the client are removed", NoClientCert, ptr(leaf.pair(middle)), false, "||"},
		{"no certificate, and none is believed", LeafClientCert, nil, false, "||"},
		{"the certificate", LeafClientCert, ptr(leaf.pair(middle)), false, b64(leaf) + "||"},
		{"the chain without leaf and root", ChainClientCert, ptr(leaf.pair(middle)), false, b64(leaf) + "|" + b64(middle) + "|"},
		{"a chain without intermediates", ChainClientCert, ptr(direct.pair()), false, b64(direct) + "||"},
		{"a trusted proxy has verified the client", LeafClientCert, nil, true, ":AAAA:|:BBBB:|"},
		{"the certificate of the proxy itself is not the client's", LeafClientCert, ptr(direct.pair()), true, ":AAAA:|:BBBB:|"},
	} {
		t.Run(c.why, func(t *testing.T) {
			seen := make(chan http.Header, 1)
			g := newGroup(t, GroupOptions{Servers: to(backend(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))})
			h, err := New(g, Options{ClientCert: c.pass})
			require.NoError(t, err)
			o := app.Options{Log: quiet}
			if c.proxy {
				o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
			a := app.New(o)
			a.Handle("", "/{path...}", h.Serve)
			s, err := app.Listen(a, app.ServerConfig{Loops: 1, Listeners: []app.Listener{{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{
				Certificates: []tls.Certificate{site.pair()}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12}}}}})
			require.NoError(t, err)
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				require.NoError(t, s.Stop(ctx))
			})
			client := &tls.Config{RootCAs: pool, ServerName: "site.example", MinVersion: tls.VersionTLS12}
			if c.shown != nil {
				client.Certificates = []tls.Certificate{*c.shown}
			}
			conn, err := tls.Dial("tcp", s.Addr().String(), client)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n"+forged+"\r\n")
			require.NoError(t, err)
			_, err = http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			header := <-seen
			require.Equal(t, c.want, header.Get("Client-Cert")+"|"+header.Get("Client-Cert-Chain")+"|"+header.Get("Client_Cert"))
		})
	}
}

func ptr(c tls.Certificate) *tls.Certificate { return &c }
