// Package nethttptest tests middlewares of the net/http world around handlers of tafe. It is a module of its own, so that they do not become
// requirements of the server.
package nethttptest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/stretchr/testify/require"

	"tafe/app"
)

// serve serves a on a loop and returns its URL.
func serve(t *testing.T, a *app.App) string {
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
		a.Close()
	})
	return "http://" + s.Addr().String()
}

func newApp() *app.App { return app.New(app.Options{Log: slog.New(slog.DiscardHandler)}) }

// A session of scs: handlers pass the Context where scs takes a context, and its cookie is set when the head of the response is written.
func TestSessions(t *testing.T) {
	sessions := scs.New()
	a := newApp()
	a.Use(app.FromHTTP(sessions.LoadAndSave))
	a.Post("/login/{user}", func(c *app.Context) error {
		if err := sessions.RenewToken(c); err != nil {
			return err
		}
		sessions.Put(c, "user", c.Param("user"))
		return c.NoContent(http.StatusNoContent)
	})
	a.Get("/", func(c *app.Context) error {
		user := sessions.GetString(c, "user")
		if user == "" {
			return app.Error(http.StatusUnauthorized, "log in first")
		}
		return c.String(http.StatusOK, user)
	})
	a.Get("/events", func(c *app.Context) error {
		sessions.Put(c, "seen", "yes")
		s, err := c.SSE(app.SSEOptions{})
		if err != nil {
			return err
		}
		return s.Send(app.Event{Data: sessions.GetString(c, "user")})
	})
	a.Post("/logout", func(c *app.Context) error {
		if err := sessions.Destroy(c); err != nil {
			return err
		}
		return app.Error(http.StatusTeapot, "the cookie is deleted with an error, too")
	})
	url := serve(t, a)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		why, method, path string
		status            int
		want              string
	}{
		{"without a session", "GET", "/", 401, "log in first"},
		{"a login", "POST", "/login/jo", 204, ""},
		{"the session", "GET", "/", 200, "jo"},
		{"an event stream", "GET", "/events", 200, "data: jo\n\n"},
		{"another login on the same connection", "POST", "/login/mo", 204, ""},
		{"its session", "GET", "/", 200, "mo"},
		{"a logout that answers with an error", "POST", "/logout", 418, "deleted"},
		{"without a session again", "GET", "/", 401, "log in first"},
	} {
		req, err := http.NewRequest(c.method, url+c.path, nil)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err, c.why)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err, c.why)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.status, resp.StatusCode, "%s: %s", c.why, body)
		require.Contains(t, string(body), c.want, c.why)
	}
}

func TestCrossOriginProtection(t *testing.T) {
	protection := http.NewCrossOriginProtection()
	require.NoError(t, protection.AddTrustedOrigin("https://partner.example"))
	a := newApp()
	a.Use(app.FromHTTP(protection.Handler))
	a.Handle("", "/", func(c *app.Context) error { return c.String(http.StatusOK, "done") })
	url := serve(t, a)
	for _, c := range []struct {
		why, method, name, value string
		status                   int
	}{
		{"a program", "POST", "", "", 200},
		{"a page of the same site", "POST", "Sec-Fetch-Site", "same-origin", 200},
		{"a page of another site", "POST", "Sec-Fetch-Site", "cross-site", 403},
		{"which only reads", "GET", "Sec-Fetch-Site", "cross-site", 200},
		{"an old browser, of another origin", "POST", "Origin", "https://evil.example", 403},
		{"a trusted origin", "POST", "Origin", "https://partner.example", 200},
	} {
		req, err := http.NewRequest(c.method, url+"/", nil)
		require.NoError(t, err)
		if c.name != "" {
			req.Header.Set(c.name, c.value)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err, c.why)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.status, resp.StatusCode, c.why)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestChi(t *testing.T) {
	a := newApp()
	a.Group("/id", app.FromHTTP(middleware.RequestID)).Get("/", func(c *app.Context) error {
		return c.String(http.StatusOK, middleware.GetReqID(c))
	})
	a.Group("/zip", app.FromHTTP(middleware.Compress(5, "text/plain"))).Get("/", func(c *app.Context) error {
		return c.String(http.StatusOK, strings.Repeat("compressible ", 1000))
	})
	a.Group("/type", app.FromHTTP(middleware.AllowContentType("application/json"))).Post("/", func(c *app.Context) error {
		return c.NoContent(http.StatusNoContent)
	})
	a.Group("/basic", app.FromHTTP(middleware.BasicAuth("here", map[string]string{"jo": "secret"})),
		app.FromHTTP(middleware.NoCache)).Get("/", func(c *app.Context) error { return c.String(http.StatusOK, "in") })
	a.Group("/panic", app.FromHTTP(middleware.Recoverer)).Get("/", func(*app.Context) error { panic("boom") })
	url := serve(t, a)
	for _, c := range []struct {
		why, method, path string
		headers           map[string]string
		status            int
		want, name, value string
	}{
		{"a value of the context", "GET", "/id/", map[string]string{"X-Request-Id": "abc"}, 200, "abc", "", ""},
		{"compression", "GET", "/zip/", nil, 200, strings.Repeat("compressible ", 1000), "Vary", "Accept-Encoding"},
		{"a refusal", "POST", "/type/", map[string]string{"Content-Type": "text/plain"}, 415, "", "", ""},
		{"no refusal", "POST", "/type/", map[string]string{"Content-Type": "application/json"}, 204, "", "", ""},
		{"a challenge", "GET", "/basic/", nil, 401, "", "Www-Authenticate", `Basic realm="here"`},
		{"two middlewares", "GET", "/basic/", map[string]string{"Authorization": "Basic am86c2VjcmV0"}, 200, "in", "X-Accel-Expires", "0"},
		{"a panic passes a recoverer", "GET", "/panic/", nil, 500, "", "", ""},
	} {
		req, err := http.NewRequest(c.method, url+c.path, strings.NewReader("{}"))
		require.NoError(t, err)
		for name, value := range c.headers {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err, c.why)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err, c.why)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.status, resp.StatusCode, "%s: %s", c.why, body)
		require.Contains(t, string(body), c.want, c.why)
		if c.name != "" {
			require.Equal(t, c.value, resp.Header.Get(c.name), c.why)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
