// This file owns a bound on the request bodies of the handlers it surrounds. Counting the bytes is app's.

package middleware

import "tafe/app"

// BodyLimit refuses request bodies beyond bytes, 0 or more, with 413: before the handler where the client announces
// the length, and when the handler reads beyond it where it does not. It can only lower the bound of the route. For
// one route the option app.BodyMax does the same, and can also raise it.
func BodyLimit(bytes int64) app.Middleware {
	if bytes < 0 {
		panic("middleware: BodyLimit: the limit must not be negative")
	}
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			if err := c.LimitBody(bytes); err != nil {
				return err
			}
			return next(c)
		}
	}
}
