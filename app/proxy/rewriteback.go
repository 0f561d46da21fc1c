// Rewriting of paths in responses: fields that contain a path of the upstream are changed to the path by which the
// client reaches it.

package proxy

import (
	"strings"

	"tafe/app"
)

// clientPath returns the client's path for a path of the upstream; it is the inverse of rewrite. ok is false if the
// route does not reach the path.
func (f *Forwarder) clientPath(path string) (_ string, ok bool) {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(f.options.AddPrefix, "/"))
	if !ok || rest != "" && rest[0] != '/' && rest[0] != '?' && rest[0] != '#' {
		return path, false
	}
	strip := strings.TrimSuffix(f.options.StripPrefix, "/")
	if rest == "" && strip == "" {
		return "/", true
	}
	return strip + rest, true
}

// rewriteResponseField returns the value of a response field for a request whose path was rewritten.
func (f *Forwarder) rewriteResponseField(c *app.Context, x *forward, name, value string) string {
	switch len(name) {
	case len("Location"):
		if strings.EqualFold(name, "Location") {
			return f.rewriteURL(c, x, value)
		}
	case len("Content-Location"):
		if strings.EqualFold(name, "Content-Location") {
			return f.rewriteURL(c, x, value)
		}
	case len("Set-Cookie"):
		if strings.EqualFold(name, "Set-Cookie") {
			return f.rewriteCookie(value)
		}
	}
	return value
}

// rewriteURL rewrites an absolute path, or a URL whose host is the one in the request to the upstream.
func (f *Forwarder) rewriteURL(c *app.Context, x *forward, url string) string {
	if strings.HasPrefix(url, "/") && !strings.HasPrefix(url, "//") {
		url, _ = f.clientPath(url)
		return url
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return url // relative, or another scheme
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if host := rest[:end]; !strings.EqualFold(host, x.req.Host) && !strings.EqualFold(host, x.req.Addr) && !strings.EqualFold(host, x.server.name) {
		return url
	}
	path, ok := f.clientPath(rest[end:])
	if !ok {
		return url
	}
	return c.Scheme() + "://" + c.HostView() + path
}

// rewriteCookie rewrites the Path attribute of a cookie. The root of the upstream becomes the prefix without a final
// slash, so that the cookie is also sent for the prefix itself.
func (f *Forwarder) rewriteCookie(cookie string) string {
	for at := strings.IndexByte(cookie, ';'); at >= 0; {
		end := strings.IndexByte(cookie[at+1:], ';')
		attribute := cookie[at+1:]
		if end >= 0 {
			end += at + 1
			attribute = cookie[at+1 : end]
		}
		name, value, ok := strings.Cut(attribute, "=")
		if value = strings.Trim(value, " \t"); ok && strings.EqualFold(strings.Trim(name, " \t"), "Path") && strings.HasPrefix(value, "/") {
			if path, ok := f.clientPath(value); ok {
				if value == "/" || strings.TrimSuffix(value, "/") == strings.TrimSuffix(f.options.AddPrefix, "/") {
					path = "/" + strings.Trim(f.options.StripPrefix, "/")
				}
				cookie = cookie[:at+1] + " Path=" + path + cookie[at+1+len(attribute):]
				end = strings.IndexByte(cookie[at+1:], ';')
				if end >= 0 {
					end += at + 1
				}
			}
		}
		at = end
	}
	return cookie
}
