// Clients of databases and caches.

package clients

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/go-sql-driver/mysql"
	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func openGomemcache(t testing.TB, addr string, d dialer, conns int) operation {
	c := memcache.New(addr)
	c.DialContext, c.Timeout, c.MaxIdleConns = d.DialContext, patience, conns
	t.Cleanup(func() { _ = c.Close() })
	return func(_ context.Context, who int, value string) error {
		key := fmt.Sprint("key", who)
		if err := c.Set(&memcache.Item{Key: key, Value: []byte(value)}); err != nil {
			return err
		}
		item, err := c.Get(key)
		if err != nil {
			return err
		}
		return same(value, string(item.Value), nil)
	}
}

func openRedigo(t testing.TB, addr string, d dialer, conns int) operation {
	pool := &redis.Pool{MaxIdle: conns, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", addr, redis.DialContextFunc(d.DialContext), redis.DialReadTimeout(patience), redis.DialWriteTimeout(patience))
	}}
	t.Cleanup(func() { _ = pool.Close() })
	return func(_ context.Context, _ int, value string) error {
		c := pool.Get()
		defer func() { _ = c.Close() }()
		got, err := redis.String(c.Do("ECHO", value))
		return same(value, got, err)
	}
}

func openGoRedis(t testing.TB, addr string, d dialer, conns int) operation {
	c := goredis.NewClient(&goredis.Options{Addr: addr, Dialer: d.DialContext, PoolSize: conns, MinIdleConns: conns,
		ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience})
	t.Cleanup(func() { _ = c.Close() })
	return func(ctx context.Context, _ int, value string) error {
		got, err := c.Echo(ctx, value).Result()
		return same(value, got, err)
	}
}

// echoSQL makes PostgreSQL answer with its parameter.
const echoSQL = "select $1::text"

func postgresURL(addr string) string { return "postgres://tafe@" + addr + "/postgres?sslmode=disable" }

// openPgconn keeps idle connections in a slice, the last one first. A semaphore bounds them: each one is a process of the server.
func openPgconn(t testing.TB, addr string, d dialer, conns int) operation {
	config, err := pgconn.ParseConfig(postgresURL(addr))
	require.NoError(t, err)
	config.DialFunc = d.DialContext
	var mu sync.Mutex
	var idle []*pgconn.PgConn
	t.Cleanup(func() {
		for _, c := range idle {
			_ = c.Close(context.Background())
		}
	})
	take := func(ctx context.Context) (*pgconn.PgConn, error) {
		mu.Lock()
		if n := len(idle); n > 0 {
			c := idle[n-1]
			idle = idle[:n-1]
			mu.Unlock()
			return c, nil
		}
		mu.Unlock()
		return pgconn.ConnectConfig(ctx, config)
	}
	return func(ctx context.Context, _ int, value string) error {
		c, err := take(ctx)
		if err != nil {
			return err
		}
		r := c.ExecParams(ctx, echoSQL, [][]byte{[]byte(value)}, nil, nil, nil).Read()
		if r.Err != nil {
			_ = c.Close(ctx)
			return r.Err
		}
		mu.Lock()
		idle = append(idle, c)
		mu.Unlock()
		return same(value, string(r.Rows[0][0]), nil)
	}
}

func openPgxpool(t testing.TB, addr string, d dialer, conns int) operation {
	config, err := pgxpool.ParseConfig(postgresURL(addr))
	require.NoError(t, err)
	config.ConnConfig.DialFunc = d.DialContext
	config.MaxConns, config.MinConns = int32(conns), int32(conns)
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return func(ctx context.Context, _ int, value string) error {
		got := ""
		err := pool.QueryRow(ctx, echoSQL, value).Scan(&got)
		return same(value, got, err)
	}
}

func openSQLWithPgx(t testing.TB, addr string, d dialer, conns int) operation {
	config, err := pgx.ParseConfig(postgresURL(addr))
	require.NoError(t, err)
	config.DialFunc = d.DialContext
	return openSQL(t, stdlib.OpenDB(*config), conns, echoSQL)
}

func mysqlConfig(addr string) *mysql.Config {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User = "tcp", addr, "tafe"
	config.InterpolateParams = true // one round trip for a query, not three
	return config
}

func openSQLWithMySQL(t testing.TB, addr string, d dialer, conns int) operation {
	config := mysqlConfig(addr)
	config.DialFunc = d.DialContext
	connector, err := mysql.NewConnector(config)
	require.NoError(t, err)
	return openSQL(t, sql.OpenDB(connector), conns, "select ?")
}

func openSQL(t testing.TB, db *sql.DB, conns int, query string) operation {
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	t.Cleanup(func() { _ = db.Close() })
	return func(ctx context.Context, _ int, value string) error {
		got := ""
		err := db.QueryRowContext(ctx, query, value).Scan(&got)
		return same(value, got, err)
	}
}
