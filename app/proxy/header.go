// The fields forwarded in both directions, and the fields that describe the client.

package proxy

import (
	"net/http"
	"strings"

	"tafe/app"
	"tafe/httpparse"
)

// Field is a header field set by a rule.
type Field struct {
	Name, Value string
	// Append, if not nil, appends the value for a request to dst in place of Value. It must not wait. A value that a header cannot hold is not
	// sent to a server, and makes a response a 500.
	Append func(dst []byte, c *app.Context) []byte
}

// valueFor returns the value of the field for a request. It is valid as long as x.
func (f *Field) valueFor(c *app.Context, x *forward) string {
	if f.Append == nil {
		return f.Value
	}
	from := len(x.text)
	x.text = f.Append(x.text, c)
	return httpparse.ViewString(x.text[from:])
}

// Rules change the fields of a message after all other changes: fields in Remove are removed, then those in Set are
// set and replace existing values.
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
		if _, err := httpparse.AppendHeader(nil, f.Name, f.Value); err != nil || hopByHop(f.Name) || computed(f.Name) {
			return ruleError(f.Name)
		}
	}
	return nil
}

// drops reports whether a rule removes or replaces the field.
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
	return "proxy: the header " + string(e) + " cannot be changed by a rule"
}

// hopByHop reports whether a field applies to a single connection and is not forwarded (RFC 9110 section 7.6.1, and
// earlier RFCs).
func hopByHop(name string) bool {
	switch len(name) {
	case len("TE"):
		return strings.EqualFold(name, "TE")
	case len("Trailer"): // and len("Upgrade")
		return strings.EqualFold(name, "Trailer") || strings.EqualFold(name, "Upgrade")
	case len("Connection"): // and len("Keep-Alive")
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

// computed reports whether the proxy sets this field itself.
func computed(name string) bool {
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

// The fields that describe the client.
const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
	forwardedHost  = "X-Forwarded-Host"
	forwarded      = "Forwarded"
	requestID      = "X-Request-ID"
)

// isForwardingField reports whether a field describes the client, or would be read as such: some gateways treat
// X_Forwarded_For as X-Forwarded-For.
func isForwardingField(name string) bool {
	if len(name) < len(forwarded) || len(name) > len(clientCertChain) {
		return false
	}
	for _, claim := range [...]string{forwardedFor, forwardedProto, forwardedHost, forwarded, requestID, clientCert, clientCertChain} {
		if len(name) == len(claim) && equalDashUnderscore(name, claim) {
			return true
		}
	}
	return false
}

func equalDashUnderscore(name, claim string) bool {
	for i := range len(name) {
		a, b := name[i], claim[i]
		if a != b && a|0x20 != b|0x20 && !(a == '_' && b == '-') {
			return false
		}
	}
	return true
}

// appendConnectionOptions appends the field names in a Connection value to list. close, keep-alive and upgrade name
// no other field.
func appendConnectionOptions(list []string, connection string) []string {
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

// copyRequestFields copies the forwarded fields of the request to x.req, and adds the proxy's own.
func (f *Forwarder) copyRequestFields(c *app.Context, x *forward) {
	x.connectionOptions = appendConnectionOptions(x.connectionOptions[:0], c.HeaderListView("Connection"))
	for name, value := range c.HeadersView() {
		switch {
		case hopByHop(name) || computed(name) || isForwardingField(name) || f.options.Request.drops(name):
		case len(name) == len(maxForwards) && strings.EqualFold(name, maxForwards):
		case len(x.connectionOptions) > 0 && contains(x.connectionOptions, name):
		default:
			x.req.AddHeader(name, value)
		}
	}
	f.addForwardedFields(c, x)
	for i := range f.options.Request.Set {
		set := &f.options.Request.Set[i]
		x.req.AddHeader(set.Name, set.valueFor(c, x))
	}
}

// addForwardedFields adds the fields that describe the client. Values received from the client are kept only if it is
// a trusted proxy.
func (f *Forwarder) addForwardedFields(c *app.Context, x *forward) {
	add := func(name, value string) {
		if value != "" && !f.options.Request.drops(name) {
			x.req.AddHeader(name, value)
		}
	}
	client, proto, host := app.HostOf(c.RemoteAddr()), "http", c.HostView()
	if c.Secure() {
		proto = "https" // of this connection; Scheme is the client's
	}
	element := ""
	if f.options.Forwarded {
		element = x.join("for=", forwardedNode(client), ";host=", quoted(host), ";proto=", proto)
	}
	if c.FromProxy() {
		if before := c.HeaderListView(forwardedFor); before != "" {
			client = x.join(before, ", ", client)
		}
		if p := c.HeaderView(forwardedProto); p != "" {
			proto = p
		}
		if o := c.HeaderView(forwardedHost); o != "" {
			host = o
		}
		add(clientCert, c.HeaderView(clientCert))
		add(clientCertChain, c.HeaderListView(clientCertChain))
		if before := c.HeaderListView(forwarded); before != "" {
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
	if !c.FromProxy() {
		f.addClientCert(c, x)
	}
	add(requestID, c.RequestIDView())
	add(maxForwards, x.hops)
	add("Via", f.via[viaOf(c)])
}

// join concatenates strings in the buffer of x.
func (x *forward) join(parts ...string) string {
	from := len(x.text)
	for _, p := range parts {
		x.text = append(x.text, p...)
	}
	return httpparse.ViewString(x.text[from:])
}

// forwardedNode formats an address for Forwarded (RFC 7239 section 6).
func forwardedNode(address string) string {
	switch {
	case address == "":
		return "unknown"
	case strings.IndexByte(address, ':') >= 0:
		return `"[` + address + `]"`
	}
	return address
}

// quoted formats a value that may contain a port for Forwarded (RFC 7239 section 4).
func quoted(host string) string {
	if httpparse.ValidToken(host) {
		return host
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(host) + `"`
}

// setConnectionOptions records the fields that the Connection field of a response names.
func (x *forward) setConnectionOptions(fields []httpparse.Header) {
	x.connectionOptions = appendConnectionOptions(x.connectionOptions[:0], httpparse.ListOf(fields, "Connection"))
}

// passes reports whether a field of an interim or final response is forwarded.
func (x *forward) passes(name string) bool {
	return !hopByHop(name) && !x.rules.drops(name) && !contains(x.connectionOptions, name)
}

// copyResponseFields copies the forwarded fields of the response to c, and adds the proxy's own.
func (f *Forwarder) copyResponseFields(c *app.Context, x *forward) {
	x.setConnectionOptions(x.resp.Headers)
	for i := range x.resp.Headers {
		name, value := httpparse.ViewString(x.resp.Headers[i].Name), httpparse.ViewString(x.resp.Headers[i].Value)
		switch {
		case x.resp.Status == http.StatusUpgradeRequired && strings.EqualFold(name, "Upgrade"): // it names the required protocols
			c.PassHeader(name, value)
		case x.passes(name):
			if x.prefixRewritten {
				value = f.rewriteResponseField(c, x, name, value)
			}
			c.PassHeader(name, value)
		}
	}
	if value := f.stickyCookie(c, x); value != "" {
		c.AddHeader("Set-Cookie", value)
	}
	version := int(min(x.resp.Minor, 1))
	if x.resp.Major == 2 {
		version = 2
	}
	if via := f.via[version]; via != "" && !f.options.Response.drops("Via") {
		c.AddHeader("Via", via)
	}
	for i := range f.options.Response.Set {
		if set := &f.options.Response.Set[i]; strings.EqualFold(set.Name, "Vary") {
			c.AddVary(set.valueFor(c, x))
		} else {
			c.SetHeader(set.Name, set.valueFor(c, x))
		}
	}
}
