// CORS: cross-origin resource sharing (Fetch standard, section 3.3), by which browsers let pages of other origins read responses. Other
// clients ignore it.

package middleware

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tafe/app"
	"tafe/httpparse"
)

// CORSOptions configures CORS.
type CORSOptions struct {
	Origins     []string      // allowed origins, such as "https://a.example", or "*" for all; required
	Methods     []string      // allowed methods besides GET, HEAD and POST
	Headers     []string      // allowed request headers besides the safelisted ones, such as "Content-Type" for JSON
	Expose      []string      // response headers that pages may read besides the safelisted ones
	Credentials bool          // allow cookies and Authorization; not with "*"
	MaxAge      time.Duration // time for which browsers may cache the response to a preflight; 0: the browser's default
}

type cors struct {
	origins                          []string
	any, credentials                 bool
	methods, headers, expose, maxAge string
}

// corsNames are the headers that upstream responses must not set.
var corsNames = [...]string{
	"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
	"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age",
}

// CORS answers preflight requests, and adds the CORS headers to responses for allowed origins. Requests of other origins are served without
// these headers, so that browsers withhold the response from the page. Pass it to App.Use: middlewares of a group do not run for preflight
// requests, which have no route. Handlers should extend Vary with AddVary, because SetHeader would remove Origin from it. The CORS headers of
// upstream responses are dropped. CORS panics on invalid options.
func CORS(o CORSOptions) app.Middleware {
	k := newCORS(o)
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			c.ReserveHeaders(corsNames[:]...)
			origin := c.HeaderView("Origin")
			preflight := origin != "" && c.Method() == "OPTIONS" && c.HeaderView("Access-Control-Request-Method") != ""
			allowed := k.mark(c, origin)
			if !preflight {
				if allowed && k.expose != "" {
					c.SetHeader("Access-Control-Expose-Headers", k.expose)
				}
				return next(c)
			}
			if allowed {
				k.answerPreflight(c)
			}
			return c.NoContent(204)
		}
	}
}

// mark sets the headers of a response to origin, and reports whether the origin is allowed. If the response depends on the origin, Vary is
// set even for requests without one.
func (k *cors) mark(c *app.Context, origin string) (allowed bool) {
	if k.any {
		if origin != "" {
			c.SetHeader("Access-Control-Allow-Origin", "*")
		}
		return origin != ""
	}
	c.AddVary("Origin")
	if !slices.Contains(k.origins, origin) { // case-sensitive, as in browsers
		return false
	}
	c.SetHeader("Access-Control-Allow-Origin", origin)
	if k.credentials {
		c.SetHeader("Access-Control-Allow-Credentials", "true")
	}
	return true
}

// answerPreflight lists all allowed methods and headers, so that the response can be cached.
func (k *cors) answerPreflight(c *app.Context) {
	c.SetHeader("Access-Control-Allow-Methods", k.methods)
	if k.headers != "" {
		c.SetHeader("Access-Control-Allow-Headers", k.headers)
	}
	if k.maxAge != "" {
		c.SetHeader("Access-Control-Max-Age", k.maxAge)
	}
}

func newCORS(o CORSOptions) *cors {
	k := &cors{credentials: o.Credentials, any: slices.Contains(o.Origins, "*"), origins: slices.Clone(o.Origins)}
	switch {
	case len(o.Origins) == 0:
		panic("middleware: CORS: no origins")
	case k.any && len(o.Origins) > 1:
		panic(`middleware: CORS: "*" beside other origins`)
	case k.any && o.Credentials:
		panic(`middleware: CORS: Credentials must not be combined with "*", because any page could act for the user`)
	}
	for _, origin := range o.Origins {
		if !k.any && !validOrigin(origin) {
			panic(fmt.Sprintf("middleware: CORS: %q is not an origin, such as https://a.example", origin))
		}
	}
	k.methods = list("a method", append([]string{"GET", "HEAD", "POST"}, o.Methods...))
	k.headers = list("a header", o.Headers)
	k.expose = list("a header", o.Expose)
	if o.MaxAge > 0 {
		k.maxAge = strconv.FormatInt(int64(o.MaxAge/time.Second), 10)
	}
	return k
}

// validOrigin reports whether a browser can send origin: scheme and host in lower case, and a port unless it is the default. "null" is refused,
// because it is the origin of every sandboxed page.
func validOrigin(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || origin != u.Scheme+"://"+u.Host || origin != strings.ToLower(origin) {
		return false
	}
	port := u.Port()
	usual := u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443"
	return !usual && !strings.HasSuffix(u.Host, ":") && !strings.Contains(u.Host, "*")
}

func list(what string, tokens []string) string {
	for _, token := range tokens {
		if !httpparse.ValidToken(token) {
			panic(fmt.Sprintf("middleware: CORS: %q is not %s", token, what))
		}
	}
	return strings.Join(tokens, ", ")
}
