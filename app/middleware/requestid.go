// RequestID: the request ID in a response header.

package middleware

import "tafe/app"

// RequestID sends the request ID in the response header X-Request-ID, so that a request can be found in the logs.
// app.Options.RequestIDHeader does the same for every response.
func RequestID() app.Middleware {
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			c.SetHeader("X-Request-ID", c.RequestIDView())
			return next(c)
		}
	}
}
