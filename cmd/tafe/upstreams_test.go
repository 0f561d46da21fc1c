// Upstreams of a running server: operations on the admin listener, and an event stream behind forward_auth.

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A change by the operator is in effect at once, and survives a reload that replaces the group.
func TestOperatedUpstreams(t *testing.T) {
	var addrs []string
	for _, name := range []string{"a", "b"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
	}
	text := fmt.Sprintf("[[upstream]]\nname = \"app\"\nservers = [{ addr = %q }, { addr = %q }]\nslow_start = \"0s\"\n", addrs[0], addrs[1]) +
		"%s[[route]]\npath = \"/{path...}\"\nproxy = { upstream = \"app\" }\n"
	e, path := startConfigured(t, fmt.Sprintf(text, ""))
	answers := func() (a, b int) {
		for range 10 {
			_, body := get(t, e.addr, "/")
			if body == "a" {
				a++
			} else {
				b++
			}
		}
		return a, b
	}
	operate := func(want int, operation string) {
		status, _, body := do(t, "POST", e.admin, "/upstreams/"+operation, "", "")
		require.Equal(t, want, status, body)
	}
	a, b := answers()
	require.Equal(t, []int{5, 5}, []int{a, b})
	operate(204, "app/drain?addr="+addrs[0])
	a, b = answers()
	require.Equal(t, []int{0, 10}, []int{a, b})
	_, list := get(t, e.admin, "/upstreams")
	require.Contains(t, list, `"state":"drained"`)

	writeConfig(t, path, fmt.Sprintf(text, "tries = 3\n"))
	e.signal(syscall.SIGHUP)
	awaitLog(t, e, "configuration reloaded")
	a, b = answers()
	require.Equal(t, []int{0, 10}, []int{a, b}, "drained after the reload")
	operate(204, "app/undrain?addr="+addrs[0])
	operate(204, "app/weigh?weight=4&addr="+addrs[0])
	a, b = answers()
	require.Equal(t, []int{8, 2}, []int{a, b})
	operate(404, "app/drain?addr=192.0.2.1:1")
	operate(404, "other/drain?addr="+addrs[0])
}

// An event stream behind forward_auth: silent for longer than body_timeout, and drained at SIGTERM.
func TestEventsBehindForwardAuth(t *testing.T) {
	over := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = fmt.Fprintf(w, "data: %s\n\n", r.Header.Get("Remote-User"))
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/events" {
			<-over
			_, _ = io.WriteString(w, "data: last\n\n")
			return
		}
		<-r.Context().Done()
	}))
	t.Cleanup(app.Close)
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Remote-User", r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(401)
		}
	}))
	t.Cleanup(auth.Close)
	e, _ := startConfigured(t, fmt.Sprintf(`
[[upstream]]
name = "app"
servers = [{ addr = %q }]
body_timeout = "50ms"
[[upstream]]
name = "auth"
servers = [{ addr = %q }]
[[route]]
path = "/{path...}"
forward_auth = { upstream = "auth", path = "/verify", copy_headers = ["Remote-User"] }
proxy = { upstream = "app" }
`, app.Listener.Addr(), auth.Listener.Addr()))
	status, _ := get(t, e.addr, "/events")
	require.Equal(t, 401, status)
	open := func(target string) *http.Response {
		req, err := http.NewRequest("GET", "http://"+e.addr+target, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "alice")
		req.Header.Set("Remote-User", "root")
		client := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(client.CloseIdleConnections)
		resp, err := client.Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	events := open("/events")
	in := bufio.NewReader(events.Body)
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: alice\n", line)
	_, err = io.ReadAll(open("/plain").Body)
	require.Error(t, err, "body_timeout has passed")

	e.signal(syscall.SIGTERM)
	awaitLog(t, e, "draining")
	close(over)
	rest, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "\ndata: last\n\n", string(rest))
	code, _ := e.wait()
	require.Equal(t, exitOK, code)
}
