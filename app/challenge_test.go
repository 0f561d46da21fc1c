package app

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Listener.Challenge gets the requests of authorities, and every other request is answered as without it.
func TestListenerChallenge(t *testing.T) {
	a := New(Options{})
	a.Get("/{path...}", func(c *Context) error { return c.String(200, "route "+c.Param("path")) })
	a.Post("/upload", func(c *Context) error { return c.String(200, "upload") })
	var asked atomic.Int32
	challenge := func(c *Context, host string) (bool, error) {
		asked.Add(1)
		if c.Method() != "GET" || host != "a.example" || c.Path() != "/.well-known/acme-challenge/token" {
			return false, nil
		}
		return true, c.String(200, "key")
	}
	redirect := func(host string) string { return host + ":8443" }
	server := serveWith(t, a, ServerConfig{Loops: 1, Listeners: []Listener{
		{Addr: "127.0.0.1:0", Challenge: challenge}, {Addr: "127.0.0.1:0", Challenge: challenge, Redirect: redirect}, {Addr: "127.0.0.1:0"},
	}})
	const token = "/.well-known/acme-challenge/token"
	for _, c := range []struct {
		why                  string
		listener             int
		method, host, target string
		want                 string
		asked                bool
	}{
		{"a challenge", 0, "GET", "a.example", token, "200 key", true},
		{"with a port, which an authority never sends", 0, "GET", "a.example:80", token, "200 key", true},
		{"on a redirect", 1, "GET", "a.example", token, "200 key", true},
		{"another host", 0, "GET", "b.example", token, "200 route .well-known/acme-challenge/token", true},
		{"another host, on a redirect", 1, "GET", "b.example", token, "308 https://b.example:8443" + token, true},
		{"another token", 0, "GET", "a.example", "/.well-known/acme-challenge/x", "200 route .well-known/acme-challenge/x", true},
		{"another method", 0, "POST", "a.example", token, "405", true},
		{"another path", 0, "GET", "a.example", "/.well-known/other", "200 route .well-known/other", false},
		{"the directory without its slash", 0, "GET", "a.example", "/.well-known/acme-challenge", "200 route .well-known/acme-challenge", false},
		{"a listener without it", 2, "GET", "a.example", token, "200 route .well-known/acme-challenge/token", false},
	} {
		asked.Store(0)
		conn, err := net.Dial("tcp", server.Addrs()[c.listener].String())
		require.NoError(t, err)
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", c.method, c.target, c.host)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		_ = conn.Close()
		got := fmt.Sprintf("%d %s", response.StatusCode, body)
		switch response.StatusCode {
		case 308:
			got = "308 " + response.Header.Get("Location")
		case 405:
			got = "405"
		}
		require.Equal(t, c.want, got, c.why)
		require.Equal(t, c.asked, asked.Load() == 1, c.why)
	}
}
