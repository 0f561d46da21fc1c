// This file owns a bound on the time of the handlers it surrounds. Cancelling and answering are app's.

package middleware

import (
	"time"

	"tafe/app"
)

// Timeout gives the handlers inside at most d, above 0, from when they are reached: then every wait of theirs fails
// with context.DeadlineExceeded, and the client is answered 503 if nothing was written. An earlier deadline stays. A
// handler that computes without waiting is not interrupted. For one route the option app.Timeout does the same.
func Timeout(d time.Duration) app.Middleware {
	if d <= 0 {
		panic("middleware: Timeout: the duration must be above 0")
	}
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			c.LimitTime(d)
			return next(c)
		}
	}
}
