// This file tests unmodified clients with connection pools. A task that waits for a
// pooled connection by a mutex or a channel holds its loop, on which the holders of
// the connections run. Handoff lets these continue.

package reactor_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"tafe/loop"
	"tafe/loop/internal/csleep"
	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

// atOnce makes tasks of all loops of e call do at the same time, for a number of
// rounds. Every call must end within within.
func atOnce(t *testing.T, e *reactor.Engine, tasks, rounds int, within time.Duration, do func(ctx context.Context) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, tasks*rounds)
	for i := range tasks {
		l := e.Loops()[i%len(e.Loops())]
		wg.Go(func() {
			err := onTask(l, func(*loop.Task) {
				for range rounds {
					ctx, cancel := context.WithTimeout(context.Background(), within)
					err := do(ctx)
					cancel()
					errs <- err
				}
			})
			if err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	answered := 0
	for err := range errs {
		require.NoError(t, err)
		answered++
	}
	require.Equal(t, tasks*rounds, answered)
}

func TestPoolsWithOneConnection(t *testing.T) {
	for _, c := range []struct {
		why string
		new func(t *testing.T, d *reactor.Dialer) (do func(ctx context.Context) error)
	}{
		{"pgxpool with MaxConns 1", func(t *testing.T, d *reactor.Dialer) func(context.Context) error {
			pool := newPgxPool(t, d, startPostgreSQL(t), 1)
			return func(ctx context.Context) error { return sleepingQuery(ctx, pool) }
		}},
		{"database/sql with MaxOpenConns 1", func(t *testing.T, d *reactor.Dialer) func(context.Context) error {
			config, err := pgx.ParseConfig(pgDSN + startPostgreSQL(t).port)
			require.NoError(t, err)
			config.DialFunc = d.DialContext
			db := stdlib.OpenDB(*config)
			db.SetMaxOpenConns(1)
			t.Cleanup(func() { _ = db.Close() })
			return func(ctx context.Context) error {
				return db.QueryRowContext(ctx, "select 1 from pg_sleep(0.005)").Scan(new(sql.NullInt64))
			}
		}},
		{"go-redis with PoolSize 1", func(t *testing.T, d *reactor.Dialer) func(context.Context) error {
			client := newGoRedis(t, d, startRedis(t), 1)
			return func(ctx context.Context) error { return client.Incr(ctx, "n").Err() }
		}},
		{"grpc-go", func(t *testing.T, d *reactor.Dialer) func(context.Context) error {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			server := grpc.NewServer()
			grpc_health_v1.RegisterHealthServer(server, health.NewServer())
			go func() { _ = server.Serve(ln) }()
			t.Cleanup(server.Stop)
			conn, err := grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }))
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			client := grpc_health_v1.NewHealthClient(conn)
			return func(ctx context.Context) error {
				_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
				return err
			}
		}},
		{"a driver with a goroutine for each connection and one connection", newLineClient},
		{"a sleep in C", func(*testing.T, *reactor.Dialer) func(context.Context) error {
			return func(context.Context) error { csleep.Sleep(20 * time.Millisecond); return nil }
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			e := startEngine(t, 1, nothing)
			do := c.new(t, bound(e))
			atOnce(t, e, 8, 5, 5*time.Second, do)
		})
	}
}

// Pools with their defaults, many more requests than connections, two loops.
// bench/clients has the recipe of the README, which needs no handoff.
func TestPoolsUnderLoad(t *testing.T) {
	t.Run("pgxpool", func(t *testing.T) {
		e := startEngine(t, 2, nothing)
		pool := newPgxPool(t, bound(e), startPostgreSQL(t), 0)
		atOnce(t, e, 200, 5, patience, func(ctx context.Context) error { return sleepingQuery(ctx, pool) })
	})
	t.Run("go-redis with a pool of 100", func(t *testing.T) {
		e := startEngine(t, 2, nothing)
		client := newGoRedis(t, bound(e), startRedis(t), 100)
		atOnce(t, e, 200, 20, patience, func(ctx context.Context) error { return client.Incr(ctx, "n").Err() })
	})
}

func newPgxPool(t *testing.T, d *reactor.Dialer, s *server, connsMax int32) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(pgDSN + s.port)
	require.NoError(t, err)
	config.ConnConfig.DialFunc = d.DialContext
	if connsMax > 0 {
		config.MaxConns = connsMax
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// sleepingQuery sends a query that takes the server 5 ms.
func sleepingQuery(ctx context.Context, pool *pgxpool.Pool) error {
	got := 0
	if err := pool.QueryRow(ctx, "select 42 from pg_sleep(0.005)").Scan(&got); err != nil {
		return err
	}
	if got != 42 {
		return fmt.Errorf("got %d", got)
	}
	return nil
}

func newGoRedis(t *testing.T, d *reactor.Dialer, s *server, connsMax int) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.addr, PoolSize: connsMax, Dialer: d.DialContext, ReadTimeout: patience, PoolTimeout: patience})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// newLineClient returns a client in the style of the MongoDB driver. Its pool is a
// semaphore made of a channel; a goroutine reads the connection and passes each
// response on by a channel. The server sends each line back after 5 ms.
func newLineClient(t *testing.T, d *reactor.Dialer) func(context.Context) error {
	addr := testrig.Serve(t, func(conn net.Conn) {
		for in := bufio.NewScanner(conn); in.Scan(); {
			time.Sleep(5 * time.Millisecond)
			if _, err := fmt.Fprintln(conn, in.Text()); err != nil {
				return
			}
		}
	})
	type connection struct {
		net.Conn
		answers chan string
	}
	pool := make(chan *connection, 1)
	pool <- nil // to be dialed
	var calls atomic.Int64
	take := func(ctx context.Context) (*connection, error) {
		var c *connection
		select {
		case c = <-pool:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if c != nil {
			return c, nil
		}
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			pool <- nil
			return nil, err
		}
		t.Cleanup(func() { _ = conn.Close() })
		c = &connection{conn, make(chan string)}
		go func() {
			defer close(c.answers)
			for in := bufio.NewScanner(conn); in.Scan(); {
				c.answers <- in.Text()
			}
		}()
		return c, nil
	}
	return func(ctx context.Context) error {
		c, err := take(ctx)
		if err != nil {
			return err
		}
		defer func() { pool <- c }()
		want := fmt.Sprint(calls.Add(1))
		if _, err := fmt.Fprintln(c, want); err != nil {
			return err
		}
		select {
		case got := <-c.answers:
			if got != want {
				return fmt.Errorf("got %q, asked for %q", got, want)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
