// This file owns a bound on the requests that are inside at once. It does not queue: who waits for a place would hold
// memory, and a client that is told to come back can choose.

package middleware

import (
	"sync/atomic"

	"tafe/app"
)

// Concurrency admits max requests, above 0, at a time, over all loops together; those beyond are answered 503 with
// Retry-After: 1. Each call of Concurrency makes one budget, which all routes it surrounds share.
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
