// This file owns finding the route of a path: the radix tree, its precedence, and the form of a path that it
// compares. It knows patterns (route.go) but neither requests nor connections.
//
// The most specific pattern that has the method wins: segment by segment from the left, static text before a
// parameter before a catch-all. A pattern that fits the path but not the method is passed over, and only when no
// other fits does it turn the answer from 404 into 405. So with GET /users/me and POST /users/{id}, a POST to
// /users/me goes to the second.
//
// Nothing redirects: /a and /a/ are two paths, and only the one that was registered answers.

package app

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"tafe/httpparse"
)

// router maps methods and paths to routes. It is built by one goroutine and then only read, by any number.
type router struct {
	root   node
	routes []*Route // in the order of registration
	allow  string   // every method that some route answers, for OPTIONS * (RFC 9110 section 9.3.7)
}

// node is reached when the static text and the parameters on the way to it have been consumed. Since the number of
// segments on that way is fixed, find visits a node at most once, however it backtracks: a path costs at most one
// visit per node, and no path is worth attacking with.
type node struct {
	prefix   string // static text between the parent and here
	first    []byte // first byte of each child's prefix, in the order of children
	children []*node
	param    *node // behind one whole segment
	rest     *leaf // where a catch-all takes what is left
	leaf     *leaf // where the path may end
}

// leaf holds the routes of one pattern, which may differ in their parameters' names.
type leaf struct {
	routes []*Route
	allow  string // the value of Allow (RFC 9110 section 10.2.1)
}

// params holds the values captured on the way to a route; it is part of a Context, and its array stays with it. The values are
// views into the path given to find.
type params struct {
	names  []string // the route's
	rest   bool     // the last one is a catch-all
	values [][]byte
}

// get returns the value of a parameter, nil if the route has none of that name. Escaped slashes stand as NUL in it.
func (p *params) get(name string) []byte {
	for i, n := range p.names {
		if n == name {
			return p.values[i]
		}
	}
	return nil
}

// reset drops the views of the last request.
func (p *params) reset() {
	clear(p.values)
	p.names, p.rest, p.values = nil, false, p.values[:0]
}

// add registers h under method ("" for every method) and pattern, within middlewares, outermost first. It panics on a
// bad pattern and on one that is already taken: both are mistakes of the program, and nothing can be served before
// they are mended.
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
		panic(fmt.Sprintf("app: pattern %q: CONNECT has no path to route by", pattern))
	}
	route := &Route{
		Method: method, Pattern: pattern, Name: pattern,
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

// compose wraps every handler, the groups' middlewares within the outer ones. It runs when registration ends.
func (r *router) compose(outer []Middleware) {
	for _, route := range r.routes {
		route.serve = chain(chain(route.handler, route.middlewares), outer)
		route.tooLarge = chain(chain(answerTooLarge, route.middlewares), outer)
	}
}

// find returns the route for method and path, a path from cleanPath, and its parameters in p. Without one, allowed is
// the value of Allow if the path exists for other methods, and empty if it does not exist. It allocates nothing,
// unless p is new, or a miss has to merge the methods of several patterns.
//
// HEAD is served by a route for GET where none is for HEAD. OPTIONS is listed in allowed always: the caller answers
// it where no route does.
func (r *router) find(method, path []byte, p *params) (route *Route, allowed string) {
	p.values = p.values[:0]
	route = r.root.find(method, path, p, &allowed)
	if route != nil {
		p.names, p.rest = route.names, route.rest
	}
	return route, allowed
}

// find looks for the rest of a path below n, most specific first.
func (n *node) find(method, path []byte, p *params, allowed *string) *Route {
	for {
		if len(path) == 0 {
			if route := n.leaf.pick(method, allowed); route != nil {
				return route
			}
			return n.findRest(method, path, p, allowed)
		}
		child := n.child(path)
		if child == nil {
			break
		}
		if n.param == nil && n.rest == nil { // nothing to come back to
			path, n = path[len(child.prefix):], child
			continue
		}
		if route := child.find(method, path[len(child.prefix):], p, allowed); route != nil {
			return route
		}
		break
	}
	if n.param != nil && path[0] != '/' {
		end := bytes.IndexByte(path, '/')
		if end < 0 {
			end = len(path)
		}
		p.values = append(p.values, path[:end])
		if route := n.param.find(method, path[end:], p, allowed); route != nil {
			return route
		}
		last := len(p.values) - 1
		p.values[last] = nil
		p.values = p.values[:last]
	}
	return n.findRest(method, path, p, allowed)
}

func (n *node) findRest(method, path []byte, p *params, allowed *string) *Route {
	route := n.rest.pick(method, allowed)
	if route != nil {
		p.values = append(p.values, path)
	}
	return route
}

// child returns the child whose static text path begins with.
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

// pick returns the leaf's route for method, and otherwise adds the leaf's methods to allowed.
func (l *leaf) pick(method []byte, allowed *string) *Route {
	if l == nil {
		return nil
	}
	var get, any *Route
	for _, route := range l.routes {
		switch route.Method {
		case string(method):
			return route
		case "GET":
			get = route
		case "":
			any = route
		}
	}
	if get != nil && string(method) == "HEAD" {
		return get
	}
	if any == nil {
		*allowed = mergeAllow(*allowed, l.allow)
	}
	return any
}

// insert returns the leaf for a pattern, growing the tree where it has to.
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

// grow returns the node below n at exactly text, splitting a child that goes on behind it.
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

func (l *leaf) add(route *Route) {
	for _, other := range l.routes {
		if other.Method == route.Method {
			panic(fmt.Sprintf("app: pattern %q conflicts with %q: both answer %s of the same paths",
				route.Pattern, other.Pattern, methodText(route.Method)))
		}
	}
	l.routes = append(l.routes, route)
	l.allow = mergeAllow(l.allow, allowOf(route.Method))
}

func methodText(method string) string {
	if method == "" {
		return "every method"
	}
	return method
}

// allowOf returns what a route for method makes of Allow: HEAD comes with GET, OPTIONS with everything.
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

// mergeAllow returns the sorted union of two Allow values, without allocating where one is empty or both are equal.
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
