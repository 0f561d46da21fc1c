package middleware

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

// corsHeaders lists what a response says about CORS and caching, sorted.
func corsHeaders(h http.Header) string {
	var lines []string
	for name, values := range h {
		if short, ok := strings.CutPrefix(name, "Access-Control-"); ok || name == "Vary" {
			lines = append(lines, short+": "+strings.Join(values, ", "))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func TestCORS(t *testing.T) {
	t.Parallel()
	anyone := serve(t, quietApp(CORS(CORSOptions{Origins: []string{"*"}, Expose: []string{"X-Total"}, MaxAge: time.Hour})))
	two := serve(t, quietApp(CORS(CORSOptions{
		Origins: []string{"https://a.example", "http://localhost:3000"}, Methods: []string{"DELETE"},
		Headers: []string{"Content-Type", "X-Token"}, Credentials: true,
	})))
	const preflight = "\nAccess-Control-Request-Method: DELETE"
	for _, c := range []struct {
		addr, request string
		status        int
		want, why     string
	}{
		{anyone, "GET /", 200, "", "not from a page of another origin"},
		{anyone, "GET /\nOrigin: https://b.example", 200, "Allow-Origin: *; Expose-Headers: X-Total", "every origin may read"},
		{anyone, "OPTIONS /\nOrigin: https://b.example" + preflight, 204,
			"Allow-Methods: GET, HEAD, POST; Allow-Origin: *; Max-Age: 3600", "a preflight lists what is allowed, not what was asked"},
		{anyone, "OPTIONS /nowhere\nOrigin: https://b.example" + preflight, 204,
			"Allow-Methods: GET, HEAD, POST; Allow-Origin: *; Max-Age: 3600", "of any path: the request itself will get the 404"},
		{anyone, "GET /nowhere\nOrigin: https://b.example", 404, "Allow-Origin: *; Expose-Headers: X-Total", "which the page may read, too"},
		{anyone, "PUT /\nOrigin: https://b.example", 405, "Allow-Origin: *; Expose-Headers: X-Total", "as any error"},

		{two, "GET /", 200, "Vary: Origin", "a cache must know that it depends, also here"},
		{two, "GET /\nOrigin: https://a.example", 200,
			"Allow-Credentials: true; Allow-Origin: https://a.example; Vary: Origin", "the first"},
		{two, "GET /\nOrigin: http://localhost:3000", 200,
			"Allow-Credentials: true; Allow-Origin: http://localhost:3000; Vary: Origin", "the second"},
		{two, "DELETE /\nOrigin: https://b.example", 200, "Vary: Origin", "another origin is served, but no page may read it"},
		{two, "GET /\nOrigin: https://a.example.evil", 200, "Vary: Origin", "a longer name is another origin"},
		{two, "GET /\nOrigin: http://a.example", 200, "Vary: Origin", "so is another scheme"},
		{two, "GET /\nOrigin: https://a.example:8443", 200, "Vary: Origin", "or port"},
		{two, "GET /\nOrigin: null", 200, "Vary: Origin", "a sandboxed page is of no origin"},
		{two, "OPTIONS /\nOrigin: https://a.example" + preflight, 204,
			"Allow-Credentials: true; Allow-Headers: Content-Type, X-Token; Allow-Methods: GET, HEAD, POST, DELETE; " +
				"Allow-Origin: https://a.example; Vary: Origin", "its preflight"},
		{two, "OPTIONS /\nOrigin: https://b.example" + preflight, 204, "Vary: Origin", "a refused preflight is one without permission"},
		{two, "OPTIONS /\nOrigin: https://a.example", 204,
			"Allow-Credentials: true; Allow-Origin: https://a.example; Vary: Origin", "an OPTIONS that is no preflight gets the server's answer"},
	} {
		resp, _ := ask(t, c.addr, c.request)
		require.Equal(t, c.status, resp.StatusCode, "%q: %s", c.request, c.why)
		require.Equal(t, c.want, corsHeaders(resp.Header), "%q: %s", c.request, c.why)
	}
	resp, _ := ask(t, two, "OPTIONS /\nOrigin: https://a.example")
	require.Equal(t, "DELETE, GET, HEAD, OPTIONS, POST", resp.Header.Get("Allow"), "it reached the server's own answer")
}

func TestCORSRefuses(t *testing.T) {
	for _, c := range []struct {
		options CORSOptions
		panics  string
		why     string
	}{
		{CORSOptions{}, "no origins", "forgotten"},
		{CORSOptions{Origins: []string{"*"}, Credentials: true}, "any page could act", "browsers refuse that, and rightly"},
		{CORSOptions{Origins: []string{"*", "https://a.example"}}, "beside other origins", "which is meant?"},
		{CORSOptions{Origins: []string{"a.example"}}, "not an origin", "no scheme"},
		{CORSOptions{Origins: []string{"https://a.example/"}}, "not an origin", "a path: it would never match"},
		{CORSOptions{Origins: []string{"https://A.example"}}, "not an origin", "browsers send lower case"},
		{CORSOptions{Origins: []string{"https://a.example:443"}}, "not an origin", "and leave out the scheme's port"},
		{CORSOptions{Origins: []string{"https://a.example:"}}, "not an origin", "or an empty one"},
		{CORSOptions{Origins: []string{"https://*.a.example"}}, "not an origin", "patterns are not looked for"},
		{CORSOptions{Origins: []string{"https://u@a.example"}}, "not an origin", "no user"},
		{CORSOptions{Origins: []string{"null"}}, "not an origin", "anyone can be null"},
		{CORSOptions{Origins: []string{"*"}, Methods: []string{"GE T"}}, "is not a method", "no token"},
		{CORSOptions{Origins: []string{"*"}, Headers: []string{"X:"}}, "is not a header", "no token"},
		{CORSOptions{Origins: []string{"*"}, Expose: []string{""}}, "is not a header", "no name"},
	} {
		mustPanic(t, c.panics, c.why, func() { CORS(c.options) })
	}
}

func TestSecure(t *testing.T) {
	t.Parallel()
	names := []string{"X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy",
		"Content-Security-Policy", "Permissions-Policy", "Strict-Transport-Security"}
	table := []struct {
		options SecureOptions
		want    string // values in the order of names
		why     string
	}{
		{SecureOptions{}, "nosniff|DENY|strict-origin-when-cross-origin|same-origin|||", "what is safe for nearly everyone"},
		{SecureOptions{ContentTypeOptions: "-", FrameOptions: "-", ReferrerPolicy: "-", OpenerPolicy: "-"}, "||||||", "each can be left out"},
		{SecureOptions{FrameOptions: "SAMEORIGIN", ContentSecurityPolicy: "default-src 'self'", PermissionsPolicy: "camera=()"},
			"nosniff|SAMEORIGIN|strict-origin-when-cross-origin|same-origin|default-src 'self'|camera=()|", "or chosen"},
		{SecureOptions{HSTS: time.Hour}, "nosniff|DENY|strict-origin-when-cross-origin|same-origin|||max-age=3600", "HSTS for this host"},
		{SecureOptions{HSTS: time.Hour, HSTSSubdomains: true},
			"nosniff|DENY|strict-origin-when-cross-origin|same-origin|||max-age=3600; includeSubDomains", "and those below"},
	}
	a := app.New(app.Options{Log: quiet})
	for i, c := range table {
		a.Group("/"+strconv.Itoa(i), Secure(c.options)).Get("", func(c *app.Context) error { return c.String(200, "") })
	}
	addr := serve(t, a)
	for i, c := range table {
		resp, _ := ask(t, addr, "GET /"+strconv.Itoa(i))
		var got []string
		for _, name := range names {
			got = append(got, resp.Header.Get(name))
		}
		require.Equal(t, c.want, strings.Join(got, "|"), c.why)
	}
}

func TestSecureSurroundsEverything(t *testing.T) {
	t.Parallel()
	a := app.New(app.Options{Log: quiet})
	a.Use(Secure(SecureOptions{}))
	a.Get("/framed", func(c *app.Context) error {
		c.SetHeader("X-Frame-Options", "SAMEORIGIN")
		return c.String(200, "")
	})
	addr := serve(t, a)
	resp, _ := ask(t, addr, "GET /nowhere")
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"), "also where no route is")
	resp, _ = ask(t, addr, "GET /framed")
	require.Equal(t, []string{"SAMEORIGIN"}, resp.Header.Values("X-Frame-Options"), "a handler knows better")
	mustPanic(t, "control characters", "a header injected", func() { Secure(SecureOptions{FrameOptions: "DENY\r\nX: y"}) })
}
