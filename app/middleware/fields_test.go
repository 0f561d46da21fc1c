package middleware

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/app/proxy"
	"tafe/app/static"
)

// upstream answers as the test says, and is gone with the test.
func upstream(t *testing.T, h http.HandlerFunc) app.Handler {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	g, err := proxy.NewGroup(proxy.GroupOptions{Servers: []proxy.Server{{Addr: s.Listener.Addr().(*net.TCPAddr).String()}}, Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	p, err := proxy.New(g, proxy.Options{})
	require.NoError(t, err)
	return p.Serve
}

// A header that a middleware decides about stands once, whoever else sets it.
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
	a := app.New(app.Options{Log: quiet, RequestIDHeader: "X-Id"})
	a.Use(Secure(SecureOptions{ContentSecurityPolicy: "default-src 'self'"}),
		CORS(CORSOptions{Origins: []string{"https://a.example"}, Expose: []string{"X-Ours"}}),
		func(next app.Handler) app.Handler {
			return func(c *app.Context) error {
				c.SetHeader("X-Own", "ours")
				c.AddHeader("Set-Cookie", "ours=1")
				return next(c)
			}
		})
	a.Get("/proxied", upstream(t, theirs))
	a.Get("/mounted", app.Mount(http.HandlerFunc(theirs)))
	a.Get("/set", func(c *app.Context) error {
		c.SetHeader("X-Frame-Options", "SAMEORIGIN")
		c.AddVary("Accept")
		return c.NoContent(204)
	})
	addr := serve(t, a)
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
		resp, _ := ask(t, addr, "GET "+c.path+"\nOrigin: "+c.origin)
		require.Equal(t, c.want, strings.Join(resp.Header.Values(c.header), "|"), "%s from %q: %s: %s", c.path, c.origin, c.header, c.why)
		require.Len(t, resp.Header.Values("X-Id"), 1, "the id is the server's own")
	}
}

// A body that is announced as too large is refused within the middlewares, so that a page can read why.
func TestARefusedBodyPassesTheMiddlewares(t *testing.T) {
	a := app.New(app.Options{Log: quiet})
	a.Use(Secure(SecureOptions{}), CORS(CORSOptions{Origins: []string{"https://a.example"}}))
	a.Handle("POST", "/small", func(*app.Context) error { panic("the body must not come here") }, app.BodyMax(10))
	a.Handle("POST", "/large", func(c *app.Context) error { return c.NoContent(204) }, app.BodyMax(1000))
	guarded := a.Group("", BasicAuth("x", map[string]string{"a": "b"}))
	guarded.Handle("POST", "/guarded", func(*app.Context) error { panic("nobody is admitted") }, app.BodyMax(10))
	addr := serve(t, a)
	for _, c := range []struct {
		request string
		status  int
		why     string
	}{
		{"POST /small\nContent-Length: 11", 413, "more than the route takes"},
		{"POST /small\nContent-Length: 11\nExpect: 100-continue", 413, "the client need not send it"},
		{"POST /small\nContent-Length: 99999999999", 413, "more than any route takes"},
		{"POST /nowhere\nContent-Length: 99999999999", 413, "no route"},
		{"PUT /small\nContent-Length: 99999999999", 413, "no method"},
		{"POST /guarded\nContent-Length: 11", 401, "a guard comes first"},
		{"POST /large\nContent-Length: 11\n\nhello world", 204, "not too much"},
	} {
		resp, _ := ask(t, addr, strings.Replace(c.request, "\nContent", "\nOrigin: https://a.example\nContent", 1))
		require.Equal(t, c.status, resp.StatusCode, c.why)
		require.Equal(t, []string{"https://a.example"}, resp.Header.Values("Access-Control-Allow-Origin"), c.why)
		require.Equal(t, []string{"DENY"}, resp.Header.Values("X-Frame-Options"), c.why)
		require.Equal(t, c.status != 204, resp.Close, "%s: where the next request begins is not known", c.why)
	}
}

// coded is what an answer says of its coding.
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

// HEAD, 206 and 304 say of the coding what the 200 says.
func TestCompressIsNotForA200Alone(t *testing.T) {
	text := prose(20_000, 1)
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
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(prose(n, 1)), 0o600))
	}
	site, err := static.New(static.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { _ = site.Close() })
	a := app.New(app.Options{Log: quiet})
	a.Use(Compress(CompressOptions{}))
	a.Get("/proxied", upstream(t, serveText))
	a.Get("/files/{path...}", site.Serve)
	addr := serve(t, a)

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
		resp, _ := ask(t, addr, request)
		require.Equal(t, c.want, coded(resp.Header), "%s: %s", request, c.why)
		if method == "HEAD" && c.accept == "gzip" {
			require.Empty(t, resp.Header.Get("Content-Length"), "that of the body as it was")
		}
	}
	for _, name := range []string{"short.txt", "small.txt", "middle.txt", "large.txt", "a.png"} {
		for _, accept := range []string{"gzip", "identity"} {
			target := " /files/" + name + "\nAccept-Encoding: " + accept
			get, _ := ask(t, addr, "GET"+target)
			head, _ := ask(t, addr, "HEAD"+target)
			require.Equal(t, coded(get.Header), coded(head.Header), "HEAD%s", target)
			tag, vary := get.Header.Get("ETag"), get.Header.Values("Vary")
			same, _ := ask(t, addr, "GET"+target+"\nIf-None-Match: "+tag)
			require.Equal(t, 304, same.StatusCode, target)
			require.Equal(t, tag, same.Header.Get("ETag"), "304%s", target)
			require.Equal(t, vary, same.Header.Values("Vary"), "304%s", target)
			part, _ := ask(t, addr, "GET"+target+"\nRange: bytes=0-1")
			require.Equal(t, 206, part.StatusCode, target)
			require.Equal(t, tag, part.Header.Get("ETag"), "206%s", target)
			require.Equal(t, vary, part.Header.Values("Vary"), "206%s", target)
		}
	}
}
