// Cookies of requests, and those that a response sets (RFC 6265 and its successor draft). cookiekeys.go signs them.

package app

import (
	"fmt"
	"iter"
	"net/http"
	"strings"

	"tafe/httpparse"
)

// cookieBytesMax is the longest cookie in bytes, name and value together. Browsers ignore longer ones.
const cookieBytesMax = 4096

// Cookie returns the value of the first cookie with that name, without the quotes that may surround it; "" if there is none. Names are
// case-sensitive.
func (c *Context) Cookie(name string) string { return strings.Clone(c.CookieView(name)) }

// CookieView is Cookie without a copy. A view is valid until the handler returns.
func (c *Context) CookieView(name string) string {
	for n, value := range c.cookieViews() {
		if n == name {
			return value
		}
	}
	return ""
}

// Cookies yields the names and values of the request's cookies in the order received. A name may occur more than once: browsers send the
// cookies of several paths and domains.
func (c *Context) Cookies() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for name, value := range c.cookieViews() {
			if !yield(strings.Clone(name), strings.Clone(value)) {
				return
			}
		}
	}
}

// cookieViews yields what Cookies yields, as views.
func (c *Context) cookieViews() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, h := range c.req.Headers() {
			if len(h.Name) != len("Cookie") || !strings.EqualFold(httpparse.ViewString(h.Name), "Cookie") {
				continue
			}
			for pair := range strings.SplitSeq(httpparse.ViewString(h.Value), ";") {
				name, value, found := strings.Cut(strings.Trim(pair, " \t"), "=")
				if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
					value = value[1 : len(value)-1]
				}
				if found && name != "" && !yield(name, value) {
					return
				}
			}
		}
	}
}

// SetCookie adds a cookie to the response, with all the attributes that http.Cookie has. A MaxAge below 0 deletes the cookie that the client has
// with the same name, Path and Domain.
//
// If browsers would ignore the cookie, the response becomes a 500 and the error is logged, as for SetHeader: an invalid name, value or attribute;
// more than 4096 bytes; Partitioned, SameSite=None, or a name with the prefix __Secure- without Secure; a name with the prefix __Host- without
// Secure, with a Domain, or with a Path other than "/".
func (c *Context) SetCookie(cookie *http.Cookie) {
	err := checkCookie(cookie)
	if err == nil {
		c.AddHeader("Set-Cookie", cookie.String())
		return
	}
	if c.resp.bad == nil {
		c.resp.bad = fmt.Errorf("app: cookie %q: %w", cookie.Name, err)
	}
}

func checkCookie(cookie *http.Cookie) error {
	if err := cookie.Valid(); err != nil {
		return err
	}
	name := strings.ToLower(cookie.Name) // browsers compare prefixes so
	switch {
	case len(cookie.Name)+len(cookie.Value) > cookieBytesMax:
		return fmt.Errorf("name and value have more than %d bytes", cookieBytesMax)
	case cookie.SameSite == http.SameSiteNoneMode && !cookie.Secure:
		return fmt.Errorf("SameSite=None needs Secure")
	case strings.HasPrefix(name, "__secure-") && !cookie.Secure:
		return fmt.Errorf("the prefix __Secure- needs Secure")
	case strings.HasPrefix(name, "__host-") && (!cookie.Secure || cookie.Path != "/" || cookie.Domain != ""):
		return fmt.Errorf(`the prefix __Host- needs Secure and the path "/", and allows no Domain`)
	}
	return nil
}
