// This file owns telling the client the id of its request. Where the id comes from is app's matter
// (Options.TrustRequestID).

package middleware

import "tafe/app"

// RequestID sends the request's id in the response header X-Request-ID, so that a client's complaint can be found in
// the logs. Options.RequestIDHeader does the same for every answer of the server.
func RequestID() app.Middleware {
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			c.SetHeader("X-Request-ID", c.RequestID())
			return next(c)
		}
	}
}
