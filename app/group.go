// Group: routes with a common prefix and common middlewares. Registration methods of App and Group.

package app

import (
	"fmt"
	"slices"
	"strings"
)

// Group registers routes with a common prefix, within common middlewares. It is for one goroutine, before registration ends.
type Group struct {
	registry
}

// registry has the registration methods of App and Group.
type registry struct {
	router      *router
	prefix      string
	middlewares []Middleware
}

// Group returns a group below g. Its prefix is appended to that of g, and its middlewares run inside those of g. The prefix is empty, or
// begins with '/' and does not end with one; it may contain parameters. Group panics on an invalid prefix.
func (g *registry) Group(prefix string, middlewares ...Middleware) *Group {
	if prefix != "" {
		if _, err := parsePattern(prefix); err != nil {
			panic(fmt.Sprintf("app: group %q: %v", prefix, err))
		}
		if strings.HasSuffix(prefix, "/") {
			panic(fmt.Sprintf("app: group %q: must not end with '/', because patterns begin with it", prefix))
		}
	}
	return &Group{registry{g.router, g.prefix + prefix, slices.Concat(g.middlewares, middlewares)}}
}

// Use adds middlewares to routes that g registers afterwards. They run inside earlier ones. They do not run for requests without a route;
// see App.Use.
func (g *Group) Use(middlewares ...Middleware) {
	g.middlewares = append(g.middlewares, middlewares...)
}

// Handle registers h for a method ("" for every method) and a pattern:
//
//	/users/me          exactly this path; /users/me/ is a different one
//	/users/{id}        one segment, not empty: c.Param("id")
//	/files/{path...}   the rest of the path, possibly empty or with slashes
//
// Patterns are compared with the percent-decoded path; escaped slashes do not separate segments. The most specific pattern with the request's
// method wins: compared from the left, static text before a parameter, a parameter before a catch-all. Handle panics on an invalid pattern
// and on one that is registered already.
func (g *registry) Handle(method, pattern string, h Handler, opts ...RouteOption) {
	g.router.add(method, g.prefix+pattern, h, g.middlewares, opts...)
}

// Get registers h for GET, and for HEAD unless there is a route for HEAD.
func (g *registry) Get(pattern string, h Handler, opts ...RouteOption) {
	g.Handle("GET", pattern, h, opts...)
}

// Post registers h for POST.
func (g *registry) Post(pattern string, h Handler, opts ...RouteOption) {
	g.Handle("POST", pattern, h, opts...)
}

// Put registers h for PUT.
func (g *registry) Put(pattern string, h Handler, opts ...RouteOption) {
	g.Handle("PUT", pattern, h, opts...)
}

// Patch registers h for PATCH.
func (g *registry) Patch(pattern string, h Handler, opts ...RouteOption) {
	g.Handle("PATCH", pattern, h, opts...)
}

// Delete registers h for DELETE.
func (g *registry) Delete(pattern string, h Handler, opts ...RouteOption) {
	g.Handle("DELETE", pattern, h, opts...)
}
