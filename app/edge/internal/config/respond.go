// The actions respond and redirect as handlers. What does not depend on the request is computed when the handler is made.

package config

import (
	"regexp"
	"strings"

	"tafe/app"
	"tafe/httpparse"
)

// respond returns the handler of a fixed response, or nil after reporting a problem.
func (b *builder) respond(p path, r *Respond) app.Handler {
	type header struct{ name, value string }
	var headers []header
	for name, value := range r.Headers {
		at := p.child("headers").child(name)
		switch {
		case !httpparse.ValidToken(name):
			b.problem(at, "%s: %q is not the name of a header", at, name)
			return nil
		case isFraming(name):
			b.problem(at, "%s: the server sets it itself", at)
			return nil
		}
		headers = append(headers, header{name, string(value)})
	}
	contentType, body, status := string(r.ContentType), []byte(r.Body), r.Status
	bodyless := status == 204 || status == 304
	return func(c *app.Context) error {
		for _, h := range headers {
			if strings.EqualFold(h.name, "Vary") {
				c.AddVary(h.value)
			} else {
				c.SetHeader(h.name, h.value)
			}
		}
		if bodyless {
			return c.NoContent(status)
		}
		return c.Bytes(status, contentType, body)
	}
}

// isFraming reports whether the field name is set by the server: message framing, not content.
func isFraming(name string) bool {
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "connection", "keep-alive", "trailer", "upgrade", "date", "server":
		return true
	}
	return false
}

// target is the parsed Redirect.To: text, then parameter and text in turns.
type target struct {
	texts    []string
	params   []string
	rest     []bool // of params: those that may hold slashes
	fragment string
}

var (
	// A path, but not "//host", which is another server's; or a URL. A parameter may stand behind the host alone.
	targetForm  = regexp.MustCompile(`^(https?://[^/?#{}\\]+(/|$)|/([^/\\]|$))`)
	targetParam = regexp.MustCompile(`\{([^{}]*)\}`)
)

// redirect returns the handler of a redirect, or nil after reporting a problem.
func (b *builder) redirect(p path, r *Route) app.Handler {
	to := string(r.Redirect.To)
	if !targetForm.MatchString(to) {
		b.problem(p.child("to"), `%s = %q: want a path, such as "/new/{id}", or a URL, such as "https://new.example/{path}", with parameters only after the host`,
			p.child("to"), to)
		return nil
	}
	var t target
	to, fragment, _ := strings.Cut(to, "#")
	if fragment != "" {
		t.fragment = "#" + fragment
	}
	end := 0
	for _, at := range targetParam.FindAllStringSubmatchIndex(to, -1) {
		name := to[at[2]:at[3]]
		whole := strings.Contains(r.Path, "{"+name+"...}")
		if name == "" || !whole && !strings.Contains(r.Path, "{"+name+"}") {
			b.problem(p.child("to"), "%s: route %s has no parameter {%s}", p.child("to"), r.Path, name)
			return nil
		}
		t.texts, t.params, t.rest = append(t.texts, to[end:at[0]]), append(t.params, name), append(t.rest, whole)
		end = at[1]
	}
	t.texts = append(t.texts, to[end:])
	status, keepQuery := r.Redirect.Status, r.Redirect.KeepQuery
	return func(c *app.Context) error {
		query := ""
		if keepQuery {
			query = c.RawQuery()
		}
		return c.Redirect(status, t.expand(c.EscapedParam, query))
	}
}

// expand inserts the values, which param has percent-encoded. The host always stays that of the file: only the slashes of a
// catch-all are not escaped, and none of those begins a path.
func (t *target) expand(param func(string) string, query string) string {
	var s strings.Builder
	for i, name := range t.params {
		s.WriteString(t.texts[i])
		value := param(name)
		if t.rest[i] {
			value = strings.TrimLeft(value, "/")
		}
		s.WriteString(value)
	}
	s.WriteString(t.texts[len(t.texts)-1])
	to := s.String()
	if to[0] == '/' { // an empty catch-all may have left "//": another server's
		to = "/" + strings.TrimLeft(to, "/")
	}
	if query != "" {
		separator := "?"
		if strings.Contains(to, "?") {
			separator = "&"
		}
		to += separator + query
	}
	return to + t.fragment
}
