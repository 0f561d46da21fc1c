// Secure: response headers that restrict browsers.

package middleware

import (
	"strconv"
	"time"

	"tafe/app"
	"tafe/httpparse"
)

// SecureOptions are the values of the headers. An empty field takes its default; "-" omits the header.
type SecureOptions struct {
	ContentTypeOptions    string        // X-Content-Type-Options; default "nosniff"
	FrameOptions          string        // X-Frame-Options; default "DENY"
	ReferrerPolicy        string        // Referrer-Policy; default "strict-origin-when-cross-origin"
	OpenerPolicy          string        // Cross-Origin-Opener-Policy; default "same-origin"
	ContentSecurityPolicy string        // Content-Security-Policy; default none
	PermissionsPolicy     string        // Permissions-Policy; default none
	HSTS                  time.Duration // Strict-Transport-Security with this max-age; default none, because it cannot be revoked
	HSTSSubdomains        bool          // adds includeSubDomains
}

// Secure sets the headers of o before the handler runs. The handler may replace them with SetHeader; those of an upstream response do not.
// It panics on a value that is not valid in a header.
func Secure(o SecureOptions) app.Middleware {
	type header struct{ name, value string }
	var headers []header
	for _, h := range []struct{ name, value, standard string }{
		{"X-Content-Type-Options", o.ContentTypeOptions, "nosniff"},
		{"X-Frame-Options", o.FrameOptions, "DENY"},
		{"Referrer-Policy", o.ReferrerPolicy, "strict-origin-when-cross-origin"},
		{"Cross-Origin-Opener-Policy", o.OpenerPolicy, "same-origin"},
		{"Content-Security-Policy", o.ContentSecurityPolicy, "-"},
		{"Permissions-Policy", o.PermissionsPolicy, "-"},
		{"Strict-Transport-Security", hsts(o), "-"},
	} {
		if h.value == "" {
			h.value = h.standard
		}
		if !httpparse.ValidFieldValue(h.value) {
			panic("middleware: Secure: the value of " + h.name + " has control characters")
		}
		if h.value != "-" {
			headers = append(headers, header{h.name, h.value})
		}
	}
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			for _, h := range headers {
				c.SetHeader(h.name, h.value)
			}
			return next(c)
		}
	}
}

func hsts(o SecureOptions) string {
	if o.HSTS <= 0 {
		return ""
	}
	value := "max-age=" + strconv.FormatInt(int64(o.HSTS/time.Second), 10)
	if o.HSTSSubdomains {
		value += "; includeSubDomains"
	}
	return value
}
