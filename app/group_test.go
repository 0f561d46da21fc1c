package app

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// trace returns a middleware that notes when a request goes in and out.
func trace(log *[]string, name string) Middleware {
	return func(next Handler) Handler {
		return func(c *Context) error {
			*log = append(*log, "+"+name)
			defer func() { *log = append(*log, "-"+name) }()
			return next(c)
		}
	}
}

func TestMiddlewareOrder(t *testing.T) {
	var log []string
	end := func(*Context) error { log = append(log, "handler"); return nil }
	a := New(Options{})
	v1 := a.Group("/v1", trace(&log, "v1"))
	v1.Get("/early", end)
	v1.Use(trace(&log, "used"))
	v1.Get("/late", end)
	users := v1.Group("/users/{user}", trace(&log, "users"))
	users.Get("", end)
	users.Post("/posts", end)
	a.Get("/plain", end)
	other := v1.Group("", trace(&log, "other"))
	other.Delete("/late", end)
	a.Use(trace(&log, "app1"), trace(&log, "app2"))
	a.freeze()

	for _, c := range []struct{ method, path, want, why string }{
		{"GET", "/plain", "+app1 +app2 handler -app2 -app1", "the app's surround routes registered before them"},
		{"GET", "/v1/early", "+app1 +app2 +v1 handler -v1 -app2 -app1", "a group's are inside; Use came later"},
		{"GET", "/v1/late", "+app1 +app2 +v1 +used handler -used -v1 -app2 -app1", "Use holds for what follows"},
		{"GET", "/v1/users/7", "+app1 +app2 +v1 +used +users handler -users -used -v1 -app2 -app1", "a group in a group is inside, its prefix a route"},
		{"POST", "/v1/users/7/posts", "+app1 +app2 +v1 +used +users handler -users -used -v1 -app2 -app1", "prefixes add up"},
		{"DELETE", "/v1/late", "+app1 +app2 +v1 +used +other handler -other -used -v1 -app2 -app1", "siblings do not see each other's"},
	} {
		log = nil
		var p params
		route, _ := a.router.find(nil, []byte(c.method), []byte(c.path), &p)
		require.NotNil(t, route, c.path)
		require.NoError(t, route.serve(nil))
		require.Equal(t, c.want, strings.Join(log, " "), "%s: %s", c.path, c.why)
	}
}

func TestGroupRefusesPrefix(t *testing.T) {
	for _, c := range []struct{ prefix, panics, why string }{
		{"v1", "must begin with '/'", "relative"},
		{"/v1/", "must not end with '/'", "two slashes would meet"},
		{"/", "must not end with '/'", "the same"},
		{"/{rest...}/x", "must come last", "a pattern like any other"},
	} {
		require.Contains(t, panicText(func() { New(Options{}).Group(c.prefix) }), c.panics, "%s: %s", c.prefix, c.why)
	}
	g := New(Options{}).Group("/{rest...}")
	require.Contains(t, panicText(func() { g.Get("/x", none) }), "must come last", "nothing goes on behind a catch-all")
}

func TestRouteOptions(t *testing.T) {
	a := New(Options{})
	a.Get("/x", none, Budget(1), Timeout(2), BodyMax(3), Name("x"))
	a.Put("/y", none)
	a.Patch("/y", none)
	a.Delete("/y", none)
	a.Handle("", "/z", none)
	x, y := a.Routes()[0], a.Routes()[1]
	require.EqualValues(t, 1, x.Budget)
	require.EqualValues(t, 2, x.Timeout)
	require.EqualValues(t, 3, x.BodyMax)
	require.Equal(t, "x", x.Name)
	require.Equal(t, "/y", y.Name, "the pattern, unless named")
	require.Len(t, a.Routes(), 5)
	for name, option := range map[string]func(){
		"Budget":  func() { Budget(0) },
		"Timeout": func() { Timeout(-1) },
		"BodyMax": func() { BodyMax(0) },
	} {
		require.Contains(t, panicText(option), name, "a limit of nothing is a mistake, not a limit")
	}
}
