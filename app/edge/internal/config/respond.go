// The actions respond and redirect, and the rewrite of a route, as handlers. What does not depend on the request is computed when the handler is
// made.

package config

import (
	"bytes"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"tafe/app"
	"tafe/app/variable"
	"tafe/httpparse"
)

// respond returns the handler of a fixed response, or nil after reporting a problem.
func (b *builder) respond(p path, r *Respond, scope variable.Scope) app.Handler {
	headers, ok := b.headers(p.child("headers"), r.Headers, scope)
	scope.Use = useOf(string(r.ContentType))
	text := b.template(p.child("body"), r.Body, scope)
	if !ok || text == nil {
		return nil
	}
	fixed, constant := text.Constant()
	contentType, body, status := string(r.ContentType), []byte(fixed), r.Status
	bodyless := status == 204 || status == 304
	return func(c *app.Context) error {
		headers.set(c)
		switch {
		case bodyless:
			return c.NoContent(status)
		case constant:
			return c.Bytes(status, contentType, body)
		}
		return c.Bytes(status, contentType, text.Append(nil, variable.Source{Request: c}))
	}
}

// header is a response header with variables in its value.
type header struct {
	name  string
	value *variable.Template
	fixed string
	vary  bool
}

type headers []header

// headers returns the headers of a table, and false after reporting a problem.
func (b *builder) headers(p path, table map[string]HeaderValue, scope variable.Scope) (all headers, ok bool) {
	ok = true
	scope.Use = variable.Header
	for _, name := range slices.Sorted(maps.Keys(table)) {
		at := p.child(name)
		switch {
		case !httpparse.ValidToken(name):
			b.problem(at, "%s: %q is not the name of a header", at, name)
			ok = false
			continue
		case isFraming(name):
			b.problem(at, "%s: the server sets it itself", at)
			ok = false
			continue
		}
		h := header{name: name, value: b.template(at, string(table[name]), scope), vary: strings.EqualFold(name, "Vary")}
		if h.value == nil {
			ok = false
			continue
		}
		if fixed, constant := h.value.Constant(); constant {
			h.value, h.fixed = nil, fixed
		}
		all = append(all, h)
	}
	return all, ok
}

// set sets the headers on the response.
func (all headers) set(c *app.Context) {
	for i := range all {
		h := &all[i]
		value := h.fixed
		if h.value != nil {
			value = string(h.value.Append(nil, variable.Source{Request: c}))
		}
		if h.vary {
			c.AddVary(value)
		} else {
			c.SetHeader(h.name, value)
		}
	}
}

// useOf returns the escaping of values in a body of a media type.
func useOf(contentType string) variable.Use {
	t, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return variable.HTML // the strictest for a browser that guesses
	case t == "text/html" || strings.HasSuffix(t, "/xml") || strings.HasSuffix(t, "+xml"):
		return variable.HTML
	case strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "/javascript"):
		return variable.JSON
	}
	return variable.Text
}

// isFraming reports whether the field name is set by the server: message framing, not content.
func isFraming(name string) bool {
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "connection", "keep-alive", "trailer", "upgrade", "date", "server":
		return true
	}
	return false
}

// targetForm is a path, but not "//host", which is another server's; or a URL.
var targetForm = regexp.MustCompile(`^((https?|\{scheme\})://[^/?#\\]|/([^/\\]|$)|\{(path|uri)\})`)

// redirect returns the handler of a redirect, or nil after reporting a problem.
func (b *builder) redirect(p path, r *Redirect, scope variable.Scope) app.Handler {
	at := p.child("to")
	if !targetForm.MatchString(string(r.To)) {
		b.problem(at, `%s = %q: want a path, such as "/new/{id}", or a URL, such as "https://new.example{uri}"`, at, string(r.To))
		return nil
	}
	if b.hidden(at, string(r.To), scope) {
		return nil
	}
	scope.Use = variable.URL
	to := b.template(at, string(r.To), scope)
	if to == nil {
		return nil
	}
	status, keepQuery := r.Status, r.KeepQuery && !to.Uses("uri") && !to.Uses("query")
	return func(c *app.Context) error {
		target := to.Append(nil, variable.Source{Request: c})
		if bytes.Contains(target, []byte("://")) && (len(c.HostView()) == 0 && bytes.Contains(target, []byte(":///"))) {
			return app.Error(http.StatusBadRequest, "the request has no host")
		}
		if keepQuery && c.RawQueryView() != "" {
			target = withQuery(target, c.RawQueryView())
		}
		return c.Redirect(status, string(target))
	}
}

// hidden reports a problem if text begins with a variable that a parameter of the route hides. A parameter does not begin with a slash or a
// known scheme: the client could choose another server.
func (b *builder) hidden(p path, text string, scope variable.Scope) bool {
	for _, name := range []string{"path", "uri", "scheme"} {
		if strings.HasPrefix(text, "{"+name+"}") && slices.Contains(scope.Params, name) {
			b.problem(p, `%s = %q: {%s} is the parameter of the route here, and the client could choose another server: begin with "/", or give the parameter another name`, p, text, name)
			return true
		}
	}
	return false
}

// withQuery adds a query to a URL, before its fragment.
func withQuery(target []byte, query string) []byte {
	url, fragment, fragmented := bytes.Cut(target, []byte("#"))
	separator := byte('?')
	if bytes.IndexByte(url, '?') >= 0 {
		separator = '&'
	}
	longer := append(append(slices.Clone(url), separator), query...)
	if fragmented {
		longer = append(append(longer, '#'), fragment...)
	}
	return longer
}

// rewrite returns h for another path and query, or nil after reporting a problem.
func (b *builder) rewrite(p path, text string, scope variable.Scope, h app.Handler) app.Handler {
	if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "{path}") && !strings.HasPrefix(text, "{uri}") {
		b.problem(p, `%s = %q: want a path, such as "/new/{path.1}", and for another query "/new?id={path.1}"`, p, text)
		return nil
	}
	if strings.Contains(text, "#") {
		b.problem(p, "%s = %q: a path for a server has no fragment", p, text)
		return nil
	}
	if b.hidden(p, text, scope) {
		return nil
	}
	scope.Use = variable.URL
	to := b.template(p, text, scope)
	if to == nil || h == nil {
		return nil
	}
	keepQuery := !strings.Contains(text, "?") && !to.Uses("uri")
	return func(c *app.Context) error {
		target := to.Append(nil, variable.Source{Request: c})
		if keepQuery && c.HasQuery() {
			target = append(append(target, '?'), c.RawQueryView()...)
		}
		if err := c.Rewrite(string(target)); err != nil {
			return err
		}
		return h(c)
	}
}
