// HTTP/2 by configuration: which listeners speak it, and what upstreams are spoken to.

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app/edge/certstest"
	"tafe/loop/testrig"
)

// protocolServer answers with the protocol of the request.
func protocolServer(t *testing.T, set func(p *http.Protocols), secure bool) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	s.Config.Protocols = new(http.Protocols)
	set(s.Config.Protocols)
	if s.EnableHTTP2 = secure; secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TLS offers HTTP/2 unless it is off; without TLS, it is off unless it is on.
func TestHTTP2ByConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := certstest.Write(t, dir, "a", time.Now().Add(24*time.Hour), "localhost", "127.0.0.1")
	one := protocolServer(t, func(p *http.Protocols) { p.SetHTTP1(true) }, false)
	h2c := protocolServer(t, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, false)
	h2 := protocolServer(t, func(p *http.Protocols) { p.SetHTTP2(true) }, true)

	listeners := []struct {
		keys             string
		secure           bool
		adapted, certain string // protocol of a client that speaks both, and of one that insists on HTTP/2
	}{
		{"", true, "HTTP/2.0", "HTTP/2.0"},
		{"http2 = true", true, "HTTP/2.0", "HTTP/2.0"},
		{"http2 = false", true, "HTTP/1.1", ""},
		{"", false, "HTTP/1.1", ""},
		{"http2 = true", false, "HTTP/1.1", "HTTP/2.0"},
		{"http2 = false", false, "HTTP/1.1", ""},
	}
	var text strings.Builder
	var addrs []string
	for _, l := range listeners {
		addr := "127.0.0.1:" + testrig.Port(t)
		addrs = append(addrs, addr)
		fmt.Fprintf(&text, "[[listener]]\nlisten = %q\n%s\n", addr, l.keys)
		if l.secure {
			fmt.Fprintf(&text, "[listener.tls]\ncerts = [{ cert = %q, key = %q }]\n", f.Cert, f.Key)
		}
	}
	for _, u := range [][3]string{{"one", one, ""}, {"h2c", h2c, "proto = \"h2c\"\n"}, {"h2", h2, "proto = \"h2\"\ntls = { insecure = true }\n"}} {
		fmt.Fprintf(&text, "[[upstream]]\nname = %q\nservers = [{ addr = %q }]\n%s[[route]]\npath = \"/%s\"\nproxy = { upstream = %[1]q }\n", u[0], u[1], u[2], u[0])
	}
	text.WriteString("[[route]]\npath = \"/\"\nrespond = { body = \"front\" }\n")
	file := filepath.Join(dir, "edge.toml")
	writeConfig(t, file, text.String())
	p := start(t, "serve", "--config", file, "--admin", "127.0.0.1:0")
	line := p.line()
	admin := line[strings.LastIndex(line, "//")+2:]
	admin = strings.TrimSuffix(admin, "/")

	requests := map[string]int{}
	for i, l := range listeners {
		for _, insists := range []bool{false, true} {
			want := l.adapted
			if insists {
				want = l.certain
			}
			why := fmt.Sprintf("listener %d: %q, TLS %v, HTTP/2 only %v", i, l.keys, l.secure, insists)
			got, err := protocolOf(t, l.secure, insists, addrs[i])
			if want == "" {
				require.Error(t, err, why)
				continue
			}
			require.NoError(t, err, why)
			require.Equal(t, want, got, why)
			requests[want]++
		}
	}
	client := secureClient(nil)
	for path, want := range map[string]string{"/one": "HTTP/1.1", "/h2c": "HTTP/2.0", "/h2": "HTTP/2.0"} {
		resp, err := client.Get("https://" + addrs[0] + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, want, string(body), path)
		requests[resp.Proto]++
	}
	client.CloseIdleConnections()
	_, metrics := get(t, admin, "/metrics")
	require.Contains(t, metrics, fmt.Sprintf("tafe_protocol_requests_total{protocol=\"HTTP/2.0\"} %d\n", requests["HTTP/2.0"]))

	// The first command of edge.md.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, testrig.Program(t, "curl"), "-sS", "--http2", "-k", "-w", " %{http_version}", "https://"+addrs[0]+"/").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "front 2", string(out))
}

// protocolOf makes a request and returns its protocol.
func protocolOf(t *testing.T, secure, insists bool, addr string) (string, error) {
	transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	transport.Protocols.SetHTTP1(!insists)
	transport.Protocols.SetHTTP2(secure)
	transport.Protocols.SetUnencryptedHTTP2(!secure && insists)
	transport.DialContext = (&net.Dialer{}).DialContext
	defer transport.CloseIdleConnections()
	url := "http://" + addr + "/"
	if secure {
		url = "https://" + addr + "/"
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "front", string(body))
	return resp.Proto, nil
}
