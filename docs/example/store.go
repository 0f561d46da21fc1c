// The notes: PostgreSQL has them, Redis keeps those that were read. Both clients are the usual ones. They dial on the loop, so that their
// waits give it back, and requests wait for a connection of their pools in a loop.Semaphore.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"tafe/app"
	"tafe/app/edge"
	"tafe/loop"
)

// note is a note of a user.
type note struct {
	ID      int64     `json:"id"`
	Owner   string    `json:"owner"`
	Text    string    `json:"text"`
	Changed time.Time `json:"changed"`
}

var errNoNote = errors.New("no such note")

// listMax bounds a list.
const listMax = 100

const schema = `
create table if not exists notes (
	id bigint generated always as identity primary key,
	owner text not null,
	text text not null,
	changed timestamptz not null default now()
);
create index if not exists notes_owner on notes (owner, id desc)`

const (
	cacheConns = 20
	// turnsWaitMax bounds the requests that wait for a connection. Those beyond get 503.
	turnsWaitMax = 1000
)

const columns = "id, owner, text, changed"

// store is the notes. open makes its pools.
type store struct {
	log          *slog.Logger
	pgConfig     *pgxpool.Config
	pool         *pgxpool.Pool
	turns        *loop.Semaphore // one for each connection of pool
	redisOptions *redis.Options
	cache        *redis.Client
	cacheTurns   *loop.Semaphore // one for each connection of cache
	cacheFor     time.Duration
}

func newStore(cfg *config, env *edge.Env) (*store, error) {
	pg, err := pgxpool.ParseConfig(cfg.Database.Reveal())
	if err != nil {
		return nil, errors.New("database is not a URL of PostgreSQL") // the error of pgx may have the password
	}
	pg.ConnConfig.DialFunc = env.Dialer.DialContext
	options, err := redis.ParseURL(cfg.Redis.Reveal())
	if err != nil {
		return nil, errors.New("redis is not a URL of Redis")
	}
	options.Dialer = env.Dialer.DialContext
	pg.MinConns = pg.MaxConns // both pools dial in goroutines: ahead, no request waits for that
	options.PoolSize, options.MinIdleConns = cacheConns, cacheConns
	return &store{
		log: env.Log, pgConfig: pg, turns: loop.NewSemaphore(int(pg.MaxConns), turnsWaitMax),
		redisOptions: options, cacheTurns: loop.NewSemaphore(cacheConns, turnsWaitMax), cacheFor: cfg.CacheFor,
	}, nil
}

// open connects to PostgreSQL, makes the table, and makes the client of Redis.
func (s *store) open(ctx context.Context) (err error) {
	s.cache = redis.NewClient(s.redisOptions)
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), s.pgConfig); err != nil {
		return err
	}
	if _, err := s.pool.Exec(ctx, schema); err != nil {
		return fmt.Errorf("the table of notes: %w", err)
	}
	return nil
}

func (s *store) close() {
	if s.pool != nil {
		s.pool.Close()
	}
	if s.cache != nil {
		_ = s.cache.Close()
	}
}

func (s *store) list(c *app.Context, owner string) ([]note, error) {
	all, err := s.query(c, "select "+columns+" from notes where owner = $1 order by id desc limit $2", owner, listMax)
	if all == nil {
		all = []note{} // [] in JSON
	}
	return all, err
}

func (s *store) create(c *app.Context, owner, text string) (note, error) {
	return s.one(c, "insert into notes (owner, text) values ($1, $2) returning "+columns, owner, text)
}

// read asks the cache first. A cache that fails costs time and nothing else.
func (s *store) read(c *app.Context, owner string, id int64) (n note, err error) {
	var kept []byte
	err = s.cached(c, func() error {
		kept, err = s.cache.Get(c, cacheKey(id)).Bytes()
		return err
	})
	switch {
	case err == nil && json.Unmarshal(kept, &n) == nil:
		if n.Owner != owner {
			return note{}, errNoNote
		}
		return n, nil
	case err != nil && !errors.Is(err, redis.Nil):
		s.log.Warn("the cache cannot be read", "error", err)
	}
	if n, err = s.one(c, "select "+columns+" from notes where owner = $1 and id = $2", owner, id); err != nil {
		return n, err
	}
	if text, err := json.Marshal(n); err == nil {
		s.logged(s.cached(c, func() error { return s.cache.Set(c, cacheKey(id), text, s.cacheFor).Err() }))
	}
	return n, nil
}

func (s *store) replace(c *app.Context, owner string, id int64, text string) (note, error) {
	n, err := s.one(c, "update notes set text = $3, changed = now() where owner = $1 and id = $2 returning "+columns, owner, id, text)
	if err == nil {
		s.forget(c, id)
	}
	return n, err
}

func (s *store) remove(c *app.Context, owner string, id int64) error {
	_, err := s.one(c, "delete from notes where owner = $1 and id = $2 returning "+columns, owner, id)
	if err == nil {
		s.forget(c, id)
	}
	return err
}

// query returns the rows of a query. Requests wait for their turn here, where their loops serve others meanwhile: to wait in the pool, which
// is made of channels, would hold a loop until it is handed over.
func (s *store) query(c *app.Context, query string, args ...any) ([]note, error) {
	if err := s.turns.Acquire(c.Task()); err != nil {
		return nil, err
	}
	defer s.turns.Release()
	rows, err := s.pool.Query(c, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[note])
}

// one returns the row of a query that has at most one.
func (s *store) one(c *app.Context, query string, args ...any) (note, error) {
	rows, err := s.query(c, query, args...)
	if err != nil {
		return note{}, err
	}
	if len(rows) == 0 {
		return note{}, errNoNote
	}
	return rows[0], nil
}

// forget removes a note from the cache. A reader that asked PostgreSQL before the change may put the old one back, for cacheFor.
func (s *store) forget(c *app.Context, id int64) {
	s.logged(s.cached(c, func() error { return s.cache.Del(c, cacheKey(id)).Err() }))
}

// cached calls f, which uses the cache, when it is the turn of c.
func (s *store) cached(c *app.Context, f func() error) error {
	if err := s.cacheTurns.Acquire(c.Task()); err != nil {
		return err
	}
	defer s.cacheTurns.Release()
	return f()
}

func (s *store) logged(err error) {
	if err != nil {
		s.log.Warn("the cache cannot be written", "error", err)
	}
}

func cacheKey(id int64) string { return fmt.Sprintf("note:%d", id) }
