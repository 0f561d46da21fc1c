// Timeout: a limit on the duration of handlers.

package middleware

import (
	"time"

	"tafe/app"
)

// Timeout cancels a request d after the middleware was reached, unless it has an earlier deadline. Waits of the handler then return
// context.DeadlineExceeded, and the response is a 503 if nothing was written. A handler that does not wait is not interrupted. app.Timeout
// does the same for one route. It panics unless d is above 0.
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
