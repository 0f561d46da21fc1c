// This file owns CORS, by which a server lets pages of other origins read its answers (Fetch standard, section 3.3).
// It protects nobody from clients that are no browsers.

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

// CORSOptions say who may read what.
type CORSOptions struct {
	Origins     []string      // such as "https://a.example"; "*" for every origin; never empty
	Methods     []string      // beyond GET, HEAD and POST, which a browser sends unasked
	Headers     []string      // request headers beyond those a browser sends unasked, such as "Content-Type" for JSON
	Expose      []string      // response headers that a page may read beyond the usual ones
	Credentials bool          // with cookies and Authorization; not together with "*"
	MaxAge      time.Duration // how long a browser may keep the answer to a preflight; 0: its own default
}

type cors struct {
	origins                          []string
	any, credentials                 bool
	methods, headers, expose, maxAge string
}

// corsNames are decided here: what an upstream says of them is not passed on.
var corsNames = [...]string{
	"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
	"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age",
}

// CORS answers preflights of the allowed origins and marks the answers to their requests. What comes from other
// origins is served like any request, without the marks: browsers keep the answer from the page. Give it to App.Use:
// a group does not see the preflight, whose OPTIONS has no route of its own. A handler whose answer varies by more than
// the origin says so with AddVary: SetHeader would take Origin out of Vary. The CORS headers of an upstream are not passed
// on. It panics on options that contradict themselves.
func CORS(o CORSOptions) app.Middleware {
	k := newCORS(o)
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			c.ReserveHeaders(corsNames[:]...)
			origin := c.Header("Origin")
			preflight := origin != "" && c.Method() == "OPTIONS" && c.Header("Access-Control-Request-Method") != ""
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

// mark sets the headers that every answer to origin carries. Where the answer depends on the origin, caches are told
// so also when there was none.
func (k *cors) mark(c *app.Context, origin string) (allowed bool) {
	if k.any {
		if origin != "" {
			c.SetHeader("Access-Control-Allow-Origin", "*")
		}
		return origin != ""
	}
	c.AddVary("Origin")
	if !slices.Contains(k.origins, origin) { // compared byte by byte, as browsers do
		return false
	}
	c.SetHeader("Access-Control-Allow-Origin", origin)
	if k.credentials {
		c.SetHeader("Access-Control-Allow-Credentials", "true")
	}
	return true
}

// answerPreflight lists everything that is allowed, whatever was asked for: the same answer for all, fit to be
// cached.
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
		panic(`middleware: CORS: credentials for "*": any page could act for the user`)
	}
	for _, origin := range o.Origins {
		if !k.any && !validOrigin(origin) {
			panic(fmt.Sprintf("middleware: CORS: %q is no origin, such as https://a.example", origin))
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

// validOrigin tells whether a browser could send origin: scheme and host in lower case, a port only if it is not the
// scheme's, and nothing else. "null" is refused: every sandboxed page is of that origin.
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
