package config

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/app/middleware"
	"tafe/app/proxy"
	"tafe/app/static"
)

// passTo returns a handler for an upstream that answers as the test defines, until the test ends.
func passTo(t *testing.T, h http.HandlerFunc) app.Handler {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	g, err := proxy.NewGroup(proxy.GroupOptions{Servers: []proxy.ServerOptions{{Addr: s.Listener.Addr().(*net.TCPAddr).String()}}, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	p, err := proxy.New(g, proxy.Options{})
	require.NoError(t, err)
	return p.Serve
}

const patience = 20 * time.Second

func listen(t *testing.T, a *app.App) (addr string) {
	t.Helper()
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 2})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
	})
	return s.Addr().String()
}

// askLines sends "METHOD /target" and lines of headers.
func askLines(t *testing.T, addr, lines string) (*http.Response, string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	line, more, _ := strings.Cut(lines, "\n")
	_, err = io.WriteString(conn, strings.ReplaceAll(line+" HTTP/1.1\nHost: example\n"+more+"\n\n", "\n", "\r\n"))
	require.NoError(t, err)
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	content, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(content)
}

// A header that a middleware sets is sent once, also if a handler or an upstream sets it.
func TestAHeaderHasOneWriter(t *testing.T) {
	theirs := func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Add("Access-Control-Allow-Origin", "*")
		h.Add("access-control-allow-credentials", "true")
		h.Add("Access-Control-Expose-Headers", "X-Theirs")
		h.Add("X-Frame-Options", "SAMEORIGIN")
		h.Add("Content-Security-Policy", "default-src *")
		h.Add("Permissions-Policy", "camera=*")
		h.Add("Strict-Transport-Security", "max-age=1")
		h.Add("Vary", "origin, Accept")
		h.Add("Set-Cookie", "theirs=1")
		h.Add("X-Own", "theirs")
		h.Add("X-Id", "theirs")
		h.Add("X-Two", "1")
		h.Add("X-Two", "2")
	}
	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler), RequestIDHeader: "X-Id"})
	a.Use(middleware.Secure(middleware.SecureOptions{ContentSecurityPolicy: "default-src 'self'"}),
		middleware.CORS(middleware.CORSOptions{Origins: []string{"https://a.example"}, Expose: []string{"X-Ours"}}),
		func(next app.Handler) app.Handler {
			return func(c *app.Context) error {
				c.SetHeader("X-Own", "ours")
				c.AddHeader("Set-Cookie", "ours=1")
				return next(c)
			}
		})
	a.Get("/proxied", passTo(t, theirs))
	a.Get("/mounted", app.Mount(http.HandlerFunc(theirs)))
	a.Get("/set", func(c *app.Context) error {
		c.SetHeader("X-Frame-Options", "SAMEORIGIN")
		c.AddVary("Accept")
		return c.NoContent(204)
	})
	addr := listen(t, a)
	for _, c := range []struct{ path, origin, header, want, why string }{
		{"/proxied", "https://a.example", "Access-Control-Allow-Origin", "https://a.example", "ours"},
		{"/proxied", "https://a.example", "Access-Control-Expose-Headers", "X-Ours", "ours"},
		{"/proxied", "https://a.example", "Access-Control-Allow-Credentials", "", "we do not allow them"},
		{"/proxied", "https://b.example", "Access-Control-Allow-Origin", "", "we do not allow this origin"},
		{"/proxied", "https://b.example", "Access-Control-Expose-Headers", "", "nor anything of it"},
		{"/proxied", "", "X-Frame-Options", "DENY", "ours"},
		{"/proxied", "", "Content-Security-Policy", "default-src 'self'", "ours"},
		{"/proxied", "", "Permissions-Policy", "camera=*", "we have none"},
		{"/proxied", "", "Strict-Transport-Security", "max-age=1", "we have none"},
		{"/proxied", "", "Vary", "Origin|Accept", "merged"},
		{"/proxied", "", "Set-Cookie", "ours=1|theirs=1", "each line is a cookie"},
		{"/proxied", "", "X-Own", "ours", "any middleware"},
		{"/proxied", "", "X-Two", "1|2", "one writer may write two lines"},
		{"/mounted", "https://a.example", "Access-Control-Allow-Origin", "https://a.example", "ours"},
		{"/mounted", "https://b.example", "Access-Control-Allow-Origin", "", "we do not allow this origin"},
		{"/mounted", "", "X-Frame-Options", "DENY", "ours"},
		{"/mounted", "", "Content-Security-Policy", "default-src 'self'", "ours"},
		{"/mounted", "", "Permissions-Policy", "camera=*", "we have none"},
		{"/mounted", "", "Vary", "Origin|Accept", "merged"},
		{"/mounted", "", "Set-Cookie", "ours=1|theirs=1", "each line is a cookie"},
		{"/mounted", "", "X-Two", "1|2", "one writer may write two lines"},
		{"/set", "", "X-Frame-Options", "SAMEORIGIN", "a handler may replace it"},
		{"/set", "https://a.example", "Vary", "Origin|Accept", "and add to a list"},
	} {
		resp, _ := askLines(t, addr, "GET "+c.path+"\nOrigin: "+c.origin)
		require.Equal(t, c.want, strings.Join(resp.Header.Values(c.header), "|"), "%s from %q: %s: %s", c.path, c.origin, c.header, c.why)
		require.Len(t, resp.Header.Values("X-Id"), 1, "the id is the server's own")
	}
}

// coded are the fields of a response about its coding.
func coded(h http.Header) string {
	var lines []string
	for _, name := range []string{"Content-Encoding", "Etag", "Accept-Ranges", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5"} {
		if v := h.Values(name); len(v) > 0 {
			lines = append(lines, name+": "+strings.Join(v, "|"))
		}
	}
	vary := slices.Clone(h.Values("Vary"))
	return fmt.Sprint(lines, vary)
}

// HEAD, 206 and 304 have the fields about the coding of the 200.
func TestCompressIsNotForA200Alone(t *testing.T) {
	text := strings.Repeat("prose\n", 4000)
	serveText := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("ETag", `"x"`)
		h.Set("Accept-Ranges", "bytes")
		for _, name := range []string{"Content-Digest", "Repr-Digest", "Digest", "Content-MD5"} {
			h.Set(name, "sha-256=:AAAA:")
		}
		switch {
		case r.Header.Get("If-None-Match") != "":
			w.WriteHeader(304)
			return
		case r.Header.Get("Range") != "":
			h.Set("Content-Type", "text/plain")
			h.Set("Content-Range", fmt.Sprintf("bytes 0-1/%d", len(text)))
			w.WriteHeader(206)
			_, _ = w.Write([]byte(text[:2]))
			return
		}
		h.Set("Content-Type", "text/plain")
		h.Set("Content-Length", fmt.Sprint(len(text)))
		_, _ = w.Write([]byte(text))
	}
	dir := t.TempDir()
	for name, n := range map[string]int{"short.txt": 100, "small.txt": 20_000, "middle.txt": 600_000, "large.txt": 2 << 20, "a.png": 20_000} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("prose\n", n/6)), 0o600))
	}
	site, err := static.New(static.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { _ = site.Close() })
	a := app.New(app.Options{Log: slog.New(slog.DiscardHandler)})
	a.Use(middleware.Compress(middleware.CompressOptions{}))
	a.Get("/proxied", passTo(t, serveText))
	a.Get("/files/{path...}", site.Serve)
	addr := listen(t, a)

	const digests = " Content-Digest: sha-256=:AAAA: Repr-Digest: sha-256=:AAAA: Digest: sha-256=:AAAA: Content-Md5: sha-256=:AAAA:"
	for _, c := range []struct{ request, accept, want, why string }{
		{"GET", "gzip", `[Content-Encoding: gzip Etag: W/"x"] [Accept-Encoding]`, "digests and ranges are of other bytes"},
		{"HEAD", "gzip", `[Content-Encoding: gzip Etag: W/"x"] [Accept-Encoding]`, "HEAD"},
		{"GET", "identity", `[Etag: "x" Accept-Ranges: bytes` + digests + `] [Accept-Encoding]`, "nothing is changed"},
		{"HEAD", "identity", `[Etag: "x" Accept-Ranges: bytes` + digests + `] [Accept-Encoding]`, "HEAD"},
		{"GET\nIf-None-Match: W/\"x\"", "gzip", `[Etag: W/"x"] [Accept-Encoding]`, "304"},
		{"GET\nIf-None-Match: \"x\"", "identity", `[Etag: "x" Accept-Ranges: bytes` + digests + `] [Accept-Encoding]`, "304 for another client"},
		{"GET\nRange: bytes=0-1", "gzip", `[Etag: W/"x" Accept-Ranges: bytes` + digests + `] [Accept-Encoding]`, "206: its digests are its own"},
		{"GET\nAccept-Encoding: br;q=0", "gzip", `[Content-Encoding: gzip Etag: W/"x"] [Accept-Encoding]`, "a list in two lines"},
	} {
		method, more, _ := strings.Cut(c.request, "\n")
		request := method + " /proxied\n" + strings.TrimSpace(more+"\nAccept-Encoding: "+c.accept)
		resp, _ := askLines(t, addr, request)
		require.Equal(t, c.want, coded(resp.Header), "%s: %s", request, c.why)
		if method == "HEAD" && c.accept == "gzip" {
			require.Empty(t, resp.Header.Get("Content-Length"), "that of the body as it was")
		}
	}
	for _, name := range []string{"short.txt", "small.txt", "middle.txt", "large.txt", "a.png"} {
		for _, accept := range []string{"gzip", "identity"} {
			target := " /files/" + name + "\nAccept-Encoding: " + accept
			get, _ := askLines(t, addr, "GET"+target)
			head, _ := askLines(t, addr, "HEAD"+target)
			require.Equal(t, coded(get.Header), coded(head.Header), "HEAD%s", target)
			tag, vary := get.Header.Get("ETag"), get.Header.Values("Vary")
			same, _ := askLines(t, addr, "GET"+target+"\nIf-None-Match: "+tag)
			require.Equal(t, 304, same.StatusCode, target)
			require.Equal(t, tag, same.Header.Get("ETag"), "304%s", target)
			require.Equal(t, vary, same.Header.Values("Vary"), "304%s", target)
			part, _ := askLines(t, addr, "GET"+target+"\nRange: bytes=0-1")
			require.Equal(t, 206, part.StatusCode, target)
			require.Equal(t, tag, part.Header.Get("ETag"), "206%s", target)
			require.Equal(t, vary, part.Header.Values("Vary"), "206%s", target)
		}
	}
}
