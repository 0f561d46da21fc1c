// This file owns header fields with more than one line, and fields of an answer with more than one writer. The rule for those is here
// alone; docs/edge.md tells it to operators.

package app

import (
	"strings"

	"tafe/httpparse"
)

// HeaderList is the value of a request header that is a list, over all of its lines; "" if there is none. It is a view where the
// list has one line.
func (c *Context) HeaderList(name string) string { return httpparse.ListOf(c.req.Headers(), name) }

// ResponseHeaderList is HeaderList for the headers of the answer that have been set. The next change of headers ends the view.
func (c *Context) ResponseHeaderList(name string) (list string) {
	for i := range c.resp.fields {
		if n, value := c.resp.field(i); len(n) == len(name) && strings.EqualFold(n, name) {
			list = httpparse.JoinLists(list, value)
		}
	}
	return list
}

// field is a header of the answer.
func (r *response) field(i int) (name, value string) {
	f := r.fields[i]
	return view(r.text[f.start : f.start+f.nameBytes]), view(r.text[f.start+f.nameBytes+len(": ") : f.end-len("\r\n")])
}

// AddVary adds the members of a list to the Vary of the answer, without those that are there.
func (c *Context) AddVary(list string) {
	for member := range httpparse.Members(list) {
		if there := c.ResponseHeaderList("Vary"); !httpparse.HasMember(there, member) && !httpparse.HasMember(there, "*") {
			c.AddHeader("Vary", member)
		}
	}
}

// ReserveHeaders keeps headers of an upstream's answer out of this one: PassHeader and mounted handlers leave these names as they
// are, set or not. It is for middlewares that decide about a header, such as CORS.
func (c *Context) ReserveHeaders(names ...string) {
	c.resp.reserved = append(c.resp.reserved, names...)
}

// PassHeader adds a header of an upstream's answer to this one. Where middlewares set it before, or have reserved it, theirs stays:
// it stands once, and a browser is not left to choose. Vary is merged without duplicates, and lists that name independent things,
// Set-Cookie and Link among them, are added. Whatever the handler sets afterwards, by SetHeader, replaces both.
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

// hasOwn tells whether a header was set here, not passed on.
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

// accumulates tells whether each line of a field stands for itself, so that those of two writers can stand together.
func accumulates(name string) bool {
	for _, n := range [...]string{"Set-Cookie", "Link", "Server-Timing", "WWW-Authenticate", "Vary", "Via", "Warning"} {
		if len(n) == len(name) && strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
