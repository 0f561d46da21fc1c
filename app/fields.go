// List-valued headers, and the rule by which headers of upstream responses are merged with those of middlewares. docs/edge.md describes the
// rule for operators.

package app

import (
	"strings"

	"tafe/httpparse"
)

// HeaderList returns the values of all request headers with that name, joined with ", " (RFC 9110 section 5.3); "" if there is none.
func (c *Context) HeaderList(name string) string { return strings.Clone(c.HeaderListView(name)) }

// ResponseHeaderList is like HeaderList for the headers set on the response.
func (c *Context) ResponseHeaderList(name string) string {
	return strings.Clone(c.ResponseHeaderListView(name))
}

// field returns a header of the response.
func (r *response) field(i int) (name, value string) {
	return lineOf(r.text, r.fields[i])
}

// lineOf returns name and value of a header line in text.
func lineOf(text []byte, f field) (name, value string) {
	return httpparse.ViewString(text[f.start : f.start+f.nameBytes]), httpparse.ViewString(text[f.start+f.nameBytes+len(": ") : f.end-len("\r\n")])
}

// AddVary adds the members of a list to the Vary header of the response, without duplicates.
func (c *Context) AddVary(list string) {
	for member := range httpparse.Members(list) {
		if there := c.ResponseHeaderListView("Vary"); !httpparse.HasMember(there, member) && !httpparse.HasMember(there, "*") {
			c.AddHeader("Vary", member)
		}
	}
}

// ReserveHeaders makes PassHeader and mounted handlers ignore headers with these names, whether they are set or not. It is for middlewares
// that alone decide about a header, such as CORS.
func (c *Context) ReserveHeaders(names ...string) {
	c.resp.reserved = append(c.resp.reserved, names...)
}

// PassHeader adds a header of an upstream response to this response. It has no effect if a middleware has set or reserved the header, so that
// the header is not duplicated. Vary is merged without duplicates. Headers whose lines are independent, such as Set-Cookie and Link, are
// always added. A later SetHeader replaces both.
func (c *Context) PassHeader(name, value string) {
	r := &c.resp
	switch {
	case len(name) == len("Vary") && strings.EqualFold(name, "Vary"):
		c.AddVary(value)
		return
	case r.reserves(name) || r.hasOwn(name) && !accumulates(name):
		return
	}
	before := len(r.fields)
	c.AddHeader(name, value)
	if len(r.fields) > before {
		r.fields[before].passed = true
	}
}

func (r *response) reserves(name string) bool {
	for _, n := range r.reserved {
		if len(n) == len(name) && strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// hasOwn reports whether a header was set other than by PassHeader.
func (r *response) hasOwn(name string) bool {
	for i, f := range r.fields {
		if f.nameBytes != len(name) || f.passed {
			continue
		}
		if n, _ := r.field(i); strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// accumulates reports whether the lines of a header are independent, so that those of two writers can be sent together.
func accumulates(name string) bool {
	for _, n := range [...]string{"Set-Cookie", "Link", "Server-Timing", "WWW-Authenticate", "Vary", "Via", "Warning"} {
		if len(n) == len(name) && strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
