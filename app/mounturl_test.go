package app

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// showURL answers with all that a handler may read of the request target.
func showURL(w http.ResponseWriter, r *http.Request) {
	u := r.URL
	_, _ = fmt.Fprintf(w, "%s path=%q raw=%q escaped=%q query=%q,%t url=%q host=%q,%q uri=%q", u.Scheme, u.Path, u.RawPath, u.EscapedPath(),
		u.RawQuery, u.ForceQuery, u, u.Host, r.Host, r.RequestURI)
}

// The URL of a mounted handler is that of net/http, and file servers do the same with it. The divergences are those of the router: it
// removes dot segments, does not take an escaped slash for a separator, and refuses what is no URI.
func TestMountedURLIsNetHTTP(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"x", "d/x", "d/index.html", "a b"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	modified := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(dir, modified, modified))
	handlers := []struct {
		name string
		h    http.Handler
	}{
		{"show", http.HandlerFunc(showURL)},
		{"files", http.FileServer(http.Dir(dir))},
		{"prefix", http.StripPrefix("/d", http.FileServer(http.Dir(dir)))},
		{"mux", func() http.Handler {
			mux := http.NewServeMux()
			mux.HandleFunc("/", showURL)
			return mux
		}()},
	}
	for _, h := range handlers {
		std := httptest.NewServer(h.h)
		defer std.Close()
		a := New(Options{Log: quiet, ServerName: "-"})
		a.Handle("", "/{path...}", Mount(h.h))
		own := serve(t, a, 1).Addr().String()
		bridged := httptest.NewServer(a)
		defer bridged.Close()
		for _, c := range []struct{ target, why string }{
			{"/x", "a plain path"},
			{"//x", "not an authority: the target is in origin form"},
			{"///x", "empty segments are kept"},
			{"//", "of empty segments only"},
			{"//d", "a folder: the redirect must not lead to another host"},
			{"//d/", "a folder"},
			{"//d/index.html", "a redirect to the folder"},
			{"/d//x", "an empty segment inside"},
			{"/d//", "at the end"},
			{"/x/", "a file as a folder"},
			{"//h:99/x", "what an authority would be"},
			{"//u@h:x/x", "and an invalid one"},
			{"/a:b", "a colon is no scheme"},
			{"/a%20b", "an escape that the default encoding has too"},
			{"/a%21b", "an escape that it does not have"},
			{"/a!b(c)[d]", "characters that it escapes"},
			{"/%78", "an escape that is not needed"},
			{"//%78", "behind an empty segment"},
			{"/a%25b", "an escaped percent sign"},
			{"/d%5Cx", "an escaped backslash"},
			{"/%C3%A9", "UTF-8"},
			{"/a%FFb", "not UTF-8"},
			{"/a;b=c", "parameters of a segment are data"},
			{"/x?", "an empty query"},
			{"/x??a;b=%zz", "a query is not decoded"},
			{"http://h/x", "absolute form"},
			{"http://h//x", "in absolute form, too"},
			{"http://h/x?q", "with a query"},
		} {
			want := askRaw(t, std.Listener.Addr().String(), c.target)
			require.Equal(t, want, askRaw(t, own, c.target), "%s %s: %s", h.name, c.target, c.why)
			if !strings.HasPrefix(c.target, "/") {
				continue // net/http passes the parts of absolute form, of which the Context has one
			}
			require.Equal(t, want, askRaw(t, bridged.Listener.Addr().String(), c.target), "under net/http: %s %s: %s", h.name, c.target, c.why)
		}
	}

	a := New(Options{Log: quiet, ServerName: "-"})
	a.Handle("", "/{path...}", Mount(http.HandlerFunc(showURL)))
	own := serve(t, a, 1).Addr().String()
	for _, c := range []struct{ target, want, why string }{
		{"/d/./x", `200  path="/d/x" raw="" escaped="/d/x" query="",false url="/d/x" host="","h" uri="/d/./x"`, "a dot segment"},
		{"//d/../x", `200  path="//x" raw="" escaped="//x" query="",false url="//x" host="","h" uri="//d/../x"`, "with an empty one"},
		{"/d/%2e%2e/x", `200  path="/x" raw="" escaped="/x" query="",false url="/x" host="","h" uri="/d/%2e%2e/x"`, "an escaped one"},
		{"/d%2Fx", `200  path="/d%2Fx" raw="" escaped="/d%252Fx" query="",false url="/d%252Fx" host="","h" uri="/d%2Fx"`, "an escaped slash"},
		{"//%2Fx", `200  path="//%2Fx" raw="" escaped="//%252Fx" query="",false url="//%252Fx" host="","h" uri="//%2Fx"`, "behind an empty segment"},
		{"http://h?q", `200 http path="/" raw="" escaped="/" query="q",false url="http://h/?q" host="h","h" uri="http://h?q"`, "an empty path (RFC 9110 section 4.2.3)"},
		{"/..", "400 Bad Request: dot segments climb", "above the root"},
		{`/d\x`, "400 Bad Request: the request target contains", "no URI"},
	} {
		got := askRaw(t, own, c.target)
		got = strings.Replace(got, ` ""`, "", 1) // no Location
		require.True(t, strings.HasPrefix(got, c.want), "%s: %s: %s", c.target, c.why, got)
	}
}

// askRaw returns status, Location and body of the answer to a GET of a target as it stands.
func askRaw(t *testing.T, addr, target string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, target)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err, target)
	return fmt.Sprintf("%d %q %s", resp.StatusCode, resp.Header.Get("Location"), body)
}

// A mounted reverse proxy passes escaped slashes on if it takes the path from RequestURI.
func TestMountedProxyPassesEscapedSlashes(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) }))
	defer backend.Close()
	to, err := url.Parse(backend.URL)
	require.NoError(t, err)
	a := New(Options{Log: quiet, ServerName: "-"})
	a.Handle("", "/{path...}", Mount(&httputil.ReverseProxy{ErrorLog: quietLog, Rewrite: func(r *httputil.ProxyRequest) {
		received, err := url.ParseRequestURI(r.In.RequestURI)
		if err != nil {
			panic(err)
		}
		r.Out.URL.Path, r.Out.URL.RawPath = received.Path, received.RawPath
		r.SetURL(to)
	}}))
	own := serve(t, a, 1).Addr().String()
	for _, target := range []string{"/projects/a%2Fb", "//a%2fb?q", "/a%20b", "/a/b"} {
		require.Equal(t, `200 "" `+target, askRaw(t, own, target))
	}
}
