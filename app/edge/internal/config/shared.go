// rate_limit.shared: its keys, and the app/redislimit store that it describes.

package config

import (
	"strings"
	"time"

	"tafe/app"
	"tafe/app/middleware"
	"tafe/app/redislimit"
)

// SharedLimit is a Redis server where several servers keep a rate limit together. Requests that the local bucket refuses
// are refused without asking it.
type SharedLimit struct {
	// Address of the Redis server: HOST:PORT, or unix:/path.
	Redis ListenAddress `toml:"redis" required:"yes"`
	// Redis user.
	Username string `toml:"username" default:""`
	// Password, such as "env:REDIS_PASSWORD".
	Password Secret `toml:"password"`
	// Number of the database.
	Database int `toml:"database" default:"0" min:"0" max:"65535"`
	// Prefix of the keys. Limits with the same prefix share their buckets: give each limit its own.
	Prefix string `toml:"prefix" default:"tafe:"`
	// Timeout of connecting and of each reply. After a failure Redis is not asked for a second.
	Timeout Duration `toml:"timeout" default:"50ms" min:"1ms" max:"10s"`
	// Behavior while Redis does not answer: open uses the local bucket alone, closed answers 503.
	Fail string `toml:"fail" default:"open" oneof:"open|closed"`
}

// rateLimit makes the middleware, or returns nil after reporting a problem.
func (b *builder) rateLimit(p path, r *RateLimit) app.Middleware {
	o := r.options()
	if s := r.Shared; s != nil {
		buckets, err := redislimit.New(redislimit.Options{
			Addr: string(s.Redis), Username: s.Username, Password: s.Password.text, Database: s.Database, Prefix: s.Prefix,
			Timeout: time.Duration(s.Timeout), Log: b.log,
		}, r.Rate, r.Burst)
		if err != nil {
			b.problem(p.child("shared"), "%s: %s", p.child("shared"), strings.TrimPrefix(err.Error(), "redislimit: "))
			return nil
		}
		b.resources.limits = append(b.resources.limits, buckets)
		o.Shared, o.FailClosed = buckets, s.Fail == "closed"
	}
	return middleware.RateLimit(o)
}
