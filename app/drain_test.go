package app

// Connections that were accepted just before a drain.

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/loop/reactor"
)

// An accepted connection gets one answer although the drain began before its request, or its handshake, had arrived.
func TestDrainAnswersWhoWasAccepted(t *testing.T) {
	site := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate, and a client that trusts it
	t.Cleanup(site.Close)
	s := serveWith(t, demo(Options{}), ServerConfig{Loops: 2, Listeners: []Listener{
		{Addr: "127.0.0.1:0"},
		{Addr: "127.0.0.1:0", TLS: &reactor.TLS{Config: &tls.Config{Certificates: site.TLS.Certificates, MinVersion: tls.VersionTLS12}}},
	}})
	var plain, secure []net.Conn
	for range 8 {
		for i, to := range []*[]net.Conn{&plain, &secure} {
			c, err := net.Dial("tcp", s.Addrs()[i].String())
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			*to = append(*to, c)
		}
	}
	require.Eventually(t, func() bool { return s.Engine().Conns() == 16 }, patience, time.Millisecond)
	drained := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		drained <- s.Drain(ctx)
	}()
	require.Eventually(t, func() bool { return s.Stats().Draining == 2 }, patience, time.Millisecond)
	ask := func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err := io.WriteString(c, "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "Hello, World!", string(body))
		require.True(t, resp.Close)
		require.NoError(t, c.Close())
	}
	config := site.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "example.com"
	for _, c := range plain {
		ask(c)
	}
	for _, c := range secure {
		ask(tls.Client(c, config))
	}
	require.NoError(t, <-drained)
}

// A connection without a request does not hold a drain up.
func TestDrainEndsSilentConnections(t *testing.T) {
	s := serveWith(t, demo(Options{}), ServerConfig{Loops: 1})
	c, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.Eventually(t, func() bool { return s.Engine().Conns() == 1 }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() { // it is ended with a FIN, and closed when the client closes
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}()
	require.NoError(t, s.Drain(ctx))
}
