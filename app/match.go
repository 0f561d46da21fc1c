// Conditions of a route beside method and path: headers, query parameters, cookies, the client's network, and a regular expression for the
// path with captures.

package app

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"tafe/httpparse"
)

// Match is a set of conditions; a request meets it if it meets all of them. Zero fields are no conditions.
//
// Of the routes with the same pattern, the one with the most conditions is tried first, and of those with equally many the one that was
// registered first. A method counts as one condition, and so does each element of Headers, Query and Cookies, Clients as a whole, and Path. A
// route whose conditions are not met is skipped as if it were not registered.
type Match struct {
	Headers []FieldMatch
	Query   []FieldMatch // values are decoded
	Cookies []FieldMatch
	Clients []netip.Prefix // networks of Context.ClientIP; the address must be in one of them
	// Path is matched against the path that is routed: percent-decoded, without dot segments. It may match a part of the path; use ^ and $ for
	// the whole. An escaped slash is one character, which is not '/'. See Context.Capture for its groups.
	Path *regexp.Regexp
}

// FieldMatch is a condition on the values of one name: one of them is equal to one of Values, or Pattern matches one of them. Without Values
// and Pattern, the name must be present.
type FieldMatch struct {
	Name    string // of a header in any case; of a query parameter or a cookie as it is
	Values  []string
	Pattern *regexp.Regexp
}

// When makes a route conditional; see Match. It panics on a match without conditions and on a name that is empty or not a token where a token
// is required.
func When(m Match) RouteOption {
	if m.count() == 0 {
		panic("app: When: no condition")
	}
	for _, f := range slices.Concat(m.Headers, m.Cookies) {
		if !httpparse.ValidToken(f.Name) {
			panic(fmt.Sprintf("app: When: %q is not the name of a header or cookie", f.Name))
		}
	}
	for _, f := range m.Query {
		if f.Name == "" {
			panic("app: When: a query parameter without a name")
		}
	}
	return func(r *Route) { r.when = &m }
}

func (m *Match) count() int {
	n := len(m.Headers) + len(m.Query) + len(m.Cookies)
	if len(m.Clients) > 0 {
		n++
	}
	if m.Path != nil {
		n++
	}
	return n
}

// conditions returns the number of conditions of a route.
func (r *Route) conditions() (n int) {
	if r.Method != "" {
		n++
	}
	if r.when != nil {
		n += r.when.count()
	}
	return n
}

// String returns a text that is equal for equal conditions, in whatever order.
func (m *Match) String() string {
	if m == nil {
		return ""
	}
	var parts []string
	for kind, fields := range map[string][]FieldMatch{"header": m.Headers, "query": m.Query, "cookie": m.Cookies} {
		for _, f := range fields {
			name := f.Name
			if kind == "header" {
				name = strings.ToLower(name)
			}
			values := slices.Sorted(slices.Values(f.Values))
			part := fmt.Sprintf("%s %q %q", kind, name, values)
			if f.Pattern != nil {
				part += fmt.Sprintf(" ~%q", f.Pattern.String())
			}
			parts = append(parts, part)
		}
	}
	networks := make([]string, 0, len(m.Clients))
	for _, n := range m.Clients {
		networks = append(networks, n.String())
	}
	if slices.Sort(networks); len(networks) > 0 {
		parts = append(parts, fmt.Sprintf("client %q", networks))
	}
	if m.Path != nil {
		parts = append(parts, fmt.Sprintf("path ~%q", m.Path.String()))
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}

// meets reports whether the request meets the conditions, and sets c.captures if Path is one of them. path is from cleanPath.
func (c *Context) meets(m *Match, path []byte) bool {
	for i := range m.Headers {
		if !m.Headers[i].inHeaders(c) {
			return false
		}
	}
	for i := range m.Query {
		f := &m.Query[i]
		met := false
		for v := range c.queryViews(f.Name) {
			if met = f.accepts(v); met {
				break
			}
		}
		if !met {
			return false
		}
	}
	for i := range m.Cookies {
		if !m.Cookies[i].inCookies(c) {
			return false
		}
	}
	if len(m.Clients) > 0 && !c.clientIn(m.Clients) {
		return false
	}
	if m.Path == nil {
		return true
	}
	c.captures = m.Path.FindSubmatchIndex(path)
	return c.captures != nil
}

func (f *FieldMatch) inHeaders(c *Context) bool {
	for _, h := range c.req.Headers() {
		if len(h.Name) == len(f.Name) && strings.EqualFold(httpparse.ViewString(h.Name), f.Name) && f.accepts(httpparse.ViewString(h.Value)) {
			return true
		}
	}
	return false
}

func (f *FieldMatch) inCookies(c *Context) bool {
	for name, value := range c.cookieViews() {
		if name == f.Name && f.accepts(value) {
			return true
		}
	}
	return false
}

func (f *FieldMatch) accepts(value string) bool {
	return len(f.Values) == 0 && f.Pattern == nil || slices.Contains(f.Values, value) || f.Pattern != nil && f.Pattern.MatchString(value)
}

func (c *Context) clientIn(networks []netip.Prefix) bool {
	address, err := netip.ParseAddr(c.ClientIPView())
	if err != nil {
		return false
	}
	address = address.Unmap().WithZone("") // Prefix.Contains is false for addresses with a zone
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
}

// Capture returns what a group of Match.Path has matched: group 0 is the whole match, and the groups in parentheses count from 1. It is decoded,
// with %2F for slashes that the client has escaped. It returns "" if there is no such group, or it has matched nothing.
func (c *Context) Capture(group int) string { return strings.Clone(c.CaptureView(group)) }

// CaptureIndex returns the number of the group of Match.Path with that name, -1 if there is none.
func (c *Context) CaptureIndex(name string) int {
	if c.route == nil || c.route.when == nil || c.route.when.Path == nil {
		return -1
	}
	return c.route.when.Path.SubexpIndex(name)
}

func (c *Context) captured(group int) (value []byte, from, to int) {
	if group < 0 || 2*group+1 >= len(c.captures) || c.captures[2*group] < 0 {
		return nil, 0, 0
	}
	from, to = c.captures[2*group], c.captures[2*group+1]
	return c.routed[from:to], from, to
}
