// This file owns which fields go on, in either direction, and what is said about the client.

package proxy

import (
	"net/http"
	"strings"

	"tafe/app"
	"tafe/httpparse"
)

// Field is a header that a rule sets.
type Field struct{ Name, Value string }

// Rules change the fields of a message, after everything else: Remove first, then Set, which replaces.
type Rules struct {
	Remove []string
	Set    []Field
}

func (r *Rules) check() error {
	for _, name := range r.Remove {
		if !httpparse.ValidToken(name) {
			return ruleError(name)
		}
	}
	for _, f := range r.Set {
		if _, err := httpparse.AppendHeader(nil, f.Name, f.Value); err != nil || hopByHop(f.Name) || framing(f.Name) {
			return ruleError(f.Name)
		}
	}
	return nil
}

// drops tells whether a rule takes the place of a field.
func (r *Rules) drops(name string) bool {
	for _, n := range r.Remove {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	for i := range r.Set {
		if strings.EqualFold(r.Set[i].Name, name) {
			return true
		}
	}
	return false
}

type ruleError string

func (e ruleError) Error() string {
	return "proxy: no rule can be made for the header " + string(e)
}

// hopByHop names the fields that are for the next hop alone (RFC 9110 section 7.6.1, and what came before it).
func hopByHop(name string) bool {
	switch len(name) {
	case len("TE"):
		return strings.EqualFold(name, "TE")
	case len("Trailer"): // and of Upgrade
		return strings.EqualFold(name, "Trailer") || strings.EqualFold(name, "Upgrade")
	case len("Connection"): // and of Keep-Alive
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case len("HTTP2-Settings"):
		return strings.EqualFold(name, "HTTP2-Settings")
	case len("Proxy-Connection"):
		return strings.EqualFold(name, "Proxy-Connection")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	case len("Proxy-Authenticate"):
		return strings.EqualFold(name, "Proxy-Authenticate")
	case len("Proxy-Authorization"):
		return strings.EqualFold(name, "Proxy-Authorization")
	}
	return false
}

// framing names the fields of a request that this side computes.
func framing(name string) bool {
	switch len(name) {
	case len("Host"):
		return strings.EqualFold(name, "Host")
	case len("Expect"):
		return strings.EqualFold(name, "Expect")
	case len("Content-Length"):
		return strings.EqualFold(name, "Content-Length")
	}
	return false
}

// The fields that tell who the client is.
const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
	forwardedHost  = "X-Forwarded-Host"
	forwarded      = "Forwarded"
	requestID      = "X-Request-ID"
)

// claims tells whether a field says who the client is, or would be taken for one that does: some gateways read
// X_Forwarded_For as X-Forwarded-For.
func claims(name string) bool {
	if len(name) < len(forwarded) || len(name) > len(forwardedProto) {
		return false
	}
	for _, claim := range [...]string{forwardedFor, forwardedProto, forwardedHost, forwarded, requestID} {
		if len(name) == len(claim) && sameButDashes(name, claim) {
			return true
		}
	}
	return false
}

func sameButDashes(name, claim string) bool {
	for i := range len(name) {
		a, b := name[i], claim[i]
		if a != b && a|0x20 != b|0x20 && !(a == '_' && b == '-') {
			return false
		}
	}
	return true
}

// named lists the fields that Connection names, as "close" and "keep-alive" are no fields' names worth looking for.
func named(list []string, connection string) []string {
	for token := range httpparse.Members(connection) {
		if !strings.EqualFold(token, "close") && !strings.EqualFold(token, "keep-alive") && !strings.EqualFold(token, "upgrade") {
			list = append(list, token)
		}
	}
	return list
}

func contains(list []string, name string) bool {
	for _, n := range list {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// copyRequestFields puts the request's fields into x.req.
func (h *Handler) copyRequestFields(c *app.Context, x *exchange) {
	x.named = named(x.named[:0], c.HeaderList("Connection"))
	for name, value := range c.Headers() {
		switch {
		case hopByHop(name) || framing(name) || claims(name) || h.options.Request.drops(name):
		case len(name) == len(maxForwards) && strings.EqualFold(name, maxForwards):
		case len(x.named) > 0 && contains(x.named, name):
		default:
			x.req.AddHeader(name, value)
		}
	}
	h.introduce(c, x)
	for i := range h.options.Request.Set {
		f := &h.options.Request.Set[i]
		x.req.AddHeader(f.Name, f.Value)
	}
}

// introduce says who the client is. What the client's side says itself is believed, and passed on, only if it is trusted.
func (h *Handler) introduce(c *app.Context, x *exchange) {
	add := func(name, value string) {
		if value != "" && !h.options.Request.drops(name) {
			x.req.AddHeader(name, value)
		}
	}
	client, proto, host := hostOf(c.RemoteAddr()), "http", c.Host()
	if c.Secure() {
		proto = "https" // of this connection; Scheme is the client's
	}
	element := ""
	if h.options.Forwarded {
		element = x.join("for=", forwardedNode(client), ";host=", quoted(host), ";proto=", proto)
	}
	if c.FromProxy() {
		if before := c.HeaderList(forwardedFor); before != "" {
			client = x.join(before, ", ", client)
		}
		if p := c.Header(forwardedProto); p != "" {
			proto = p
		}
		if o := c.Header(forwardedHost); o != "" {
			host = o
		}
		if before := c.HeaderList(forwarded); before != "" {
			if element != "" {
				element = x.join(before, ", ", element)
			} else {
				element = before
			}
		}
	}
	add(forwardedFor, client)
	add(forwardedProto, proto)
	add(forwardedHost, host)
	add(forwarded, element)
	add(requestID, c.RequestID())
	add(maxForwards, x.hops)
	add("Via", h.via[min(c.ProtoMinor(), 1)])
}

// join puts strings together in x's memory.
func (x *exchange) join(parts ...string) string {
	from := len(x.text)
	for _, p := range parts {
		x.text = append(x.text, p...)
	}
	return view(x.text[from:])
}

// hostOf is the address of "address:port", "" for one that has none, as unix sockets.
func hostOf(remote string) string {
	i := strings.LastIndexByte(remote, ':')
	if i < 0 {
		return ""
	}
	return strings.Trim(remote[:i], "[]")
}

// forwardedNode is an address as RFC 7239 section 6 spells it.
func forwardedNode(address string) string {
	switch {
	case address == "":
		return "unknown"
	case strings.IndexByte(address, ':') >= 0:
		return `"[` + address + `]"`
	}
	return address
}

// quoted is a value that may hold a port, as RFC 7239 section 4 spells it.
func quoted(host string) string {
	if httpparse.ValidToken(host) {
		return host
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(host) + `"`
}

// nominate notes the fields that the Connection of a message of the server names.
func (x *exchange) nominate(fields []httpparse.Header) {
	x.named = named(x.named[:0], httpparse.ListOf(fields, "Connection"))
}

// passes tells whether a field of a message of the server, interim or final, goes on to the client.
func (x *exchange) passes(name string) bool {
	return !hopByHop(name) && !x.rules.drops(name) && !contains(x.named, name)
}

// copyResponseFields puts the answer's fields into c.
func (h *Handler) copyResponseFields(c *app.Context, x *exchange) {
	x.nominate(x.resp.Headers)
	for i := range x.resp.Headers {
		name, value := view(x.resp.Headers[i].Name), view(x.resp.Headers[i].Value)
		switch {
		case x.resp.Status == http.StatusUpgradeRequired && strings.EqualFold(name, "Upgrade"): // it says what is required
			c.PassHeader(name, value)
		case x.passes(name):
			if x.moved {
				value = h.backField(c, x, name, value)
			}
			c.PassHeader(name, value)
		}
	}
	if via := h.via[min(x.resp.Minor, 1)]; via != "" && !h.options.Response.drops("Via") {
		c.AddHeader("Via", via)
	}
	for i := range h.options.Response.Set {
		if f := &h.options.Response.Set[i]; strings.EqualFold(f.Name, "Vary") {
			c.AddVary(f.Value)
		} else {
			c.SetHeader(f.Name, f.Value)
		}
	}
}
