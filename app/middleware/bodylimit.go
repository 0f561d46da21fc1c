// BodyLimit: a limit on request bodies.

package middleware

import "tafe/app"

// BodyLimit answers 413 to requests whose body exceeds the given number of bytes: before the handler if Content-Length says so, otherwise
// when the handler reads more. It can only lower the limit of a route; app.BodyMax can also raise it. It panics on a negative limit.
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
