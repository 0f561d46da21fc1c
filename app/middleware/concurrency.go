// Concurrency: a limit on requests in progress, without a queue.

package middleware

import (
	"sync/atomic"

	"tafe/app"
)

// Concurrency admits at most max requests at once, over all loops. Further requests are answered with 503 and Retry-After: 1. All routes
// with the same middleware value share the limit. It panics unless max is above 0.
func Concurrency(max int) app.Middleware {
	if max <= 0 {
		panic("middleware: Concurrency: the limit must be above 0")
	}
	inside := new(atomic.Int64)
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			defer inside.Add(-1) // also when next panics
			if inside.Add(1) > int64(max) {
				c.SetHeader("Retry-After", "1")
				return app.Error(503, "too many requests are being served")
			}
			return next(c)
		}
	}
}
