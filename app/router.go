// The lookup of a route in a radix tree.
//
// The most specific pattern with the request's method wins. Patterns are compared segment by segment from the left: static text before a
// parameter, a parameter before a catch-all. A pattern that matches the path but not the method is skipped; it makes the response a 405 if
// no other matches. With GET /users/me and POST /users/{id}, a POST to /users/me goes to the second.
//
// Of the routes with the same pattern, the one with the most conditions wins, and of those with equally many the one that was registered first;
// see Match. A route whose conditions are not met is skipped.
//
// /a and /a/ are different paths. If only the second has a route, the first is redirected to it; see Context.lacksSlash.

package app

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"tafe/httpparse"
)

// router maps methods and paths to routes. It is built by one goroutine, and then safe for concurrent reading.
type router struct {
	host   string // first name of the Host; "" for the App
	root   node
	routes []*Route // in the order of registration
	allow  string   // the methods of all routes, for OPTIONS * (RFC 9110 section 9.3.7)
}

// node is a node of the radix tree. The number of segments on the way to a node is fixed, so find visits each node at most once even when
// it backtracks. The cost of a lookup is bounded by the number of nodes, whatever the path.
type node struct {
	prefix   string // static text between the parent and this node
	first    []byte // first byte of each child's prefix, in the order of children
	children []*node
	param    *node // after a parameter
	rest     *leaf // catch-all
	leaf     *leaf // end of the path
}

// leaf holds the routes of one pattern. They may differ in the names of their parameters.
type leaf struct {
	routes    []*Route // those with the most conditions first
	allow     string   // the value of Allow (RFC 9110 section 10.2.1), of all routes
	unbounded bool     // no route has a Match
}

// params holds the parameter values of a request. They are views into the path given to find.
type params struct {
	names  []string // the route's
	rest   bool     // the last parameter is a catch-all
	values [][]byte
}

// get returns the value of a parameter, nil if the route has none of that name. Escaped slashes are NUL bytes in it.
func (p *params) get(name string) []byte {
	for i, n := range p.names {
		if n == name {
			return p.values[i]
		}
	}
	return nil
}

// reset releases the views of the last request.
func (p *params) reset() {
	clear(p.values)
	p.names, p.rest, p.values = nil, false, p.values[:0]
}

// add registers h for a method ("" for every method) and a pattern, within middlewares, outermost first. It panics on an invalid pattern
// and on one that is registered already.
func (r *router) add(method, pattern string, h Handler, middlewares []Middleware, opts ...RouteOption) *Route {
	parts, err := parsePattern(pattern)
	switch {
	case err != nil:
		panic(fmt.Sprintf("app: pattern %q: %v", pattern, err))
	case h == nil:
		panic(fmt.Sprintf("app: pattern %q: the handler is nil", pattern))
	case method != "" && !httpparse.ValidToken(method):
		panic(fmt.Sprintf("app: pattern %q: %q is not a method", pattern, method))
	case method == "CONNECT":
		panic(fmt.Sprintf("app: pattern %q: CONNECT requests have no path", pattern))
	}
	route := &Route{
		Host: r.host, Method: method, Pattern: pattern, Name: r.host + pattern,
		handler: h, middlewares: slices.Clone(middlewares),
	}
	for _, p := range parts {
		if p.kind != partStatic {
			route.names = append(route.names, p.text)
			route.rest = p.kind == partRest
		}
	}
	for _, opt := range opts {
		opt(route)
	}
	r.root.insert(parts).add(route)
	r.routes = append(r.routes, route)
	r.allow = mergeAllow(r.allow, allowOf(method))
	return route
}

// compose wraps the handlers in their middlewares. It runs when registration ends.
func (r *router) compose(outer []Middleware) {
	for _, route := range r.routes {
		route.serve = chain(chain(route.handler, route.middlewares), outer)
		route.refused = chain(chain(answerRefusal, route.middlewares), outer)
	}
}

// find returns the route for a method and a path from cleanPath, and stores its parameters in p. Without a route, allowed is the value of
// Allow if the path has routes for other methods, and empty otherwise. find does not allocate, unless p is new or the methods of several
// patterns have to be merged. c is the request whose conditions are checked; it may be nil if no route has any.
//
// A route for GET also serves HEAD if there is no route for HEAD. allowed always includes OPTIONS, which the caller answers.
func (r *router) find(c *Context, method, path []byte, p *params) (route *Route, allowed string) {
	p.values = p.values[:0]
	l := search{c: c, method: method, path: path, params: p}
	route, allowed = r.root.find(&l, path), l.allowed
	if route != nil {
		p.names, p.rest = route.names, route.rest
	}
	return route, allowed
}

// search is the lookup of one request.
type search struct {
	c            *Context
	method, path []byte
	params       *params
	allowed      string
}

// find looks path, the rest of l.path, up below n, most specific patterns first.
func (n *node) find(l *search, path []byte) *Route {
	for {
		if len(path) == 0 {
			if route := n.leaf.pick(l); route != nil {
				return route
			}
			return n.findRest(l, path)
		}
		child := n.child(path)
		if child == nil {
			break
		}
		if n.param == nil && n.rest == nil { // no backtracking to this node
			path, n = path[len(child.prefix):], child
			continue
		}
		if route := child.find(l, path[len(child.prefix):]); route != nil {
			return route
		}
		break
	}
	if n.param != nil && path[0] != '/' {
		end := bytes.IndexByte(path, '/')
		if end < 0 {
			end = len(path)
		}
		p := l.params
		p.values = append(p.values, path[:end])
		if route := n.param.find(l, path[end:]); route != nil {
			return route
		}
		last := len(p.values) - 1
		p.values[last] = nil
		p.values = p.values[:last]
	}
	return n.findRest(l, path)
}

func (n *node) findRest(l *search, path []byte) *Route {
	route := n.rest.pick(l)
	if route != nil {
		l.params.values = append(l.params.values, path)
	}
	return route
}

// child returns the child whose prefix path begins with.
func (n *node) child(path []byte) *node {
	for i, b := range n.first {
		if b != path[0] {
			continue
		}
		child := n.children[i]
		if len(path) >= len(child.prefix) && string(path[:len(child.prefix)]) == child.prefix {
			return child
		}
		return nil
	}
	return nil
}

// pick returns the first route whose method and conditions fit. If there is none, it adds the methods of the leaf to l.allowed.
func (f *leaf) pick(l *search) *Route {
	if f == nil {
		return nil
	}
	head := string(l.method) == "HEAD"
	for _, r := range f.routes {
		if (r.Method == "" || r.Method == string(l.method) || head && r.Method == "GET") && (r.when == nil || l.c.meets(r.when, l.path)) {
			return r
		}
	}
	allow := f.allow
	if !f.unbounded {
		allow = f.allowOf(l)
	}
	l.allowed = mergeAllow(l.allowed, allow)
	return nil
}

// allowOf returns the value of Allow of the routes whose conditions are met.
func (f *leaf) allowOf(l *search) (allow string) {
	for _, r := range f.routes {
		if r.when == nil || l.c.meets(r.when, l.path) {
			allow = mergeAllow(allow, allowOf(r.Method))
		}
	}
	return allow
}

// insert returns the leaf of a pattern, and adds nodes as necessary.
func (n *node) insert(parts []part) *leaf {
	for _, p := range parts {
		switch p.kind {
		case partStatic:
			n = n.grow(p.text)
		case partParam:
			if n.param == nil {
				n.param = &node{}
			}
			n = n.param
		case partRest:
			if n.rest == nil {
				n.rest = &leaf{}
			}
			return n.rest
		}
	}
	if n.leaf == nil {
		n.leaf = &leaf{}
	}
	return n.leaf
}

// grow returns the node for text below n, and splits a child whose prefix is longer.
func (n *node) grow(text string) *node {
	for text != "" {
		i := bytes.IndexByte(n.first, text[0])
		if i < 0 {
			child := &node{prefix: text}
			n.first = append(n.first, text[0])
			n.children = append(n.children, child)
			return child
		}
		child := n.children[i]
		common := 0
		for common < len(text) && common < len(child.prefix) && text[common] == child.prefix[common] {
			common++
		}
		if common < len(child.prefix) {
			upper := &node{prefix: child.prefix[:common], first: []byte{child.prefix[common]}, children: []*node{child}}
			child.prefix = child.prefix[common:]
			n.children[i], child = upper, upper
		}
		text, n = text[common:], child
	}
	return n
}

// add inserts a route behind those that are tried before it.
func (f *leaf) add(route *Route) {
	at := len(f.routes)
	for i, other := range f.routes {
		if other.Method == route.Method && other.when.String() == route.when.String() {
			panic(fmt.Sprintf("app: pattern %q conflicts with %q: both match %s of the same %s",
				route.Pattern, other.Pattern, methodText(route.Method), requestsText(route)))
		}
		if i < at && route.before(other) {
			at = i
		}
	}
	f.routes = slices.Insert(f.routes, at, route)
	f.unbounded = (f.unbounded || len(f.routes) == 1) && route.when == nil
	f.allow = mergeAllow(f.allow, allowOf(route.Method))
}

// before reports whether r is tried before other, which was registered earlier. For HEAD, a route for HEAD is tried before one for GET.
func (r *Route) before(other *Route) bool {
	if n, m := r.conditions(), other.conditions(); n != m {
		return n > m
	}
	return r.Method == "HEAD" && other.Method == "GET"
}

func requestsText(r *Route) string {
	if r.when == nil {
		return "paths"
	}
	return "paths under the same conditions"
}

func methodText(method string) string {
	if method == "" {
		return "every method"
	}
	return method
}

// allowOf returns the value of Allow for a route: GET includes HEAD, and every method OPTIONS.
func allowOf(method string) string {
	switch method {
	case "", "OPTIONS":
		return "OPTIONS"
	case "GET":
		return "GET, HEAD, OPTIONS"
	default:
		return mergeAllow(method, "OPTIONS")
	}
}

// mergeAllow returns the sorted union of two Allow values. It does not allocate if one is empty or both are equal.
func mergeAllow(a, b string) string {
	if a == "" || a == b {
		return b
	}
	if b == "" {
		return a
	}
	methods := slices.Concat(strings.Split(a, ", "), strings.Split(b, ", "))
	slices.Sort(methods)
	return strings.Join(slices.Compact(methods), ", ")
}
