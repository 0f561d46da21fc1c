// Command notes is an HTTP API for the notes of several users: PostgreSQL has the notes, Redis a cache of them, a cookie the session, and
// a stream of events tells browsers what has changed. notes.toml configures it.
//
//	main.go      the module: its configuration, what it starts and exports
//	session.go   login, logout, and the middleware that admits only users
//	handlers.go  list, create, read, replace and remove
//	store.go     the notes in PostgreSQL and Redis
//	feed.go      the stream of events
package main

import (
	"context"
	"time"

	"tafe/app/edge"
)

func main() { edge.Main(parts()...) }

// parts are what notes.toml can name.
func parts() []edge.Part { return []edge.Part{edge.Module("notes", newNotes)} }

// config is the table [module.notes].
type config struct {
	Database edge.Secret            `toml:"database" required:"yes"` // URL of PostgreSQL
	Redis    edge.Secret            `toml:"redis" required:"yes"`    // URL of Redis
	CacheFor time.Duration          `toml:"cache_for" default:"1m" min:"1s" max:"1h"`
	Key      edge.Secret            `toml:"session_key" required:"yes"` // signs cookies; 32 bytes or more
	Before   edge.Secret            `toml:"session_key_before"`         // has signed cookies that are still valid
	Sessions time.Duration          `toml:"session_time" default:"12h" min:"1m" max:"720h"`
	Users    map[string]edge.Secret `toml:"users" required:"yes"` // passwords
}

// notes is what the handlers share.
type notes struct {
	store    *store
	feed     *feed
	sessions *sessions
}

// newNotes makes the module. It connects to nothing yet.
func newNotes(cfg *config, env *edge.Env) (edge.Exports, error) {
	logins, err := newSessions(cfg.Key.Reveal(), cfg.Before.Reveal(), cfg.Users, cfg.Sessions)
	if err != nil {
		return edge.Exports{}, err
	}
	s, err := newStore(cfg, env)
	if err != nil {
		return edge.Exports{}, err
	}
	n := &notes{store: s, feed: newFeed(), sessions: logins}
	env.OnStop(s.close)
	env.OnStart(func(ctx context.Context) error {
		go n.feed.run()
		return s.open(ctx)
	})
	env.OnDrain(n.feed.close) // its streams would not end by themselves
	env.OnStop(n.feed.close)
	return edge.Exports{
		Handlers: edge.Handlers{
			"login": n.sessions.login, "logout": n.sessions.logout, "events": n.events,
			"list": n.list, "create": n.create, "read": n.read, "replace": n.replace, "remove": n.remove,
		},
		Middlewares: edge.Middlewares{"session": n.sessions.require},
	}, nil
}
