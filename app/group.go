// This file owns groups: a prefix and middlewares that several routes share. It knows registration only.

package app

import (
	"fmt"
	"slices"
	"strings"
)

// Group registers routes under a common prefix, within common middlewares. Like all registration it is for one
// goroutine, before the server listens.
type Group struct {
	registry
}

// registry is what an App and a Group have in common; its methods are theirs.
type registry struct {
	router      *router
	prefix      string
	middlewares []Middleware
}

// Group returns a group below g: its prefix follows g's, its middlewares run inside g's. The prefix is empty or
// begins with '/', does not end with one, and may hold parameters.
func (g *registry) Group(prefix string, middlewares ...Middleware) *Group {
	if prefix != "" {
		if _, err := parsePattern(prefix); err != nil {
			panic(fmt.Sprintf("app: group %q: %v", prefix, err))
		}
		if strings.HasSuffix(prefix, "/") {
			panic(fmt.Sprintf("app: group %q: its patterns bring the '/' between", prefix))
		}
	}
	return &Group{registry{g.router, g.prefix + prefix, slices.Concat(g.middlewares, middlewares)}}
}

// Use adds middlewares to the routes that g registers from now on. They run inside those that are there already, and
// do not see requests that no route answers: that is for App.Use.
func (g *Group) Use(middlewares ...Middleware) {
	g.middlewares = append(g.middlewares, middlewares...)
}

// Handle registers h for a method, "" for every one, and a pattern:
//
//	/users/me          this path alone; /users/me/ is another
//	/users/{id}        one segment, not empty: c.Param("id")
//	/files/{path...}   everything behind, possibly empty or with slashes
//
// Patterns are compared with the percent-decoded path, in which an escaped slash separates nothing. The most specific
// pattern that has the method wins: from the left, static text before a parameter before a catch-all. A bad pattern,
// or one that is taken, panics.
func (g *registry) Handle(method, pattern string, h Handler, opts ...RouteOption) {
	g.router.add(method, g.prefix+pattern, h, g.middlewares, opts...)
}

// Get registers h for GET, and for HEAD where no route is for HEAD.
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
