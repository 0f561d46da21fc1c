// Tests that the clients work in tasks: no task is lost, and no loop stops.

package clients

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
)

// noHandoff is Config.Handoff of loops that are never handed over: a task that blocks until another task of its loop, or the loop itself, has
// done something stops the loop for good.
const noHandoff time.Duration = -1

func TestClients(t *testing.T) {
	const tasks, rounds = 500, 3
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			addr := c.serve(t)
			conns := c.conns(tasks)
			if c.kind == pooled || c.kind == routed {
				t.Run("as it is", func(t *testing.T) { survive(t, c, onLoops, addr, conns, tasks, rounds, 0) })
			}
			t.Run("as recommended", func(t *testing.T) { survive(t, c, c.recommended(), addr, conns, tasks, rounds, 0) })
			if c.alone {
				t.Run("as recommended, without handoff", func(t *testing.T) { survive(t, c, c.recommended(), addr, conns, tasks, rounds, noHandoff) })
			}
		})
	}
}

// The recipe of the README, with many more tasks than connections, and the same without it.
func TestSmallPools(t *testing.T) {
	const tasks, conns, rounds = 200, 4, 10
	for _, c := range clients {
		if c.kind != pooled {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			addr := c.serve(t)
			t.Run("tasks wait in the pool", func(t *testing.T) { survive(t, c, onLoops, addr, conns, tasks, rounds, 0) })
			t.Run("tasks wait for their turn", func(t *testing.T) { survive(t, c, inTurns, addr, conns, tasks, rounds, 0) })
			if c.alone {
				t.Run("tasks wait for their turn, without handoff", func(t *testing.T) { survive(t, c, inTurns, addr, conns, tasks, rounds, noHandoff) })
			}
		})
	}
}

// survive lets all tasks make their calls, and fails if one fails or a loop stands still.
func survive(t *testing.T, c client, w way, addr string, conns, tasks, rounds int, handoff time.Duration) {
	e := startEngine(t, handoff)
	members := startCrowd(e, tasks, rounds, w.prepare(t, c, addr, e, conns, tasks))
	members.wait(t, e)
	require.EqualValues(t, tasks*rounds, members.calls())
}

// A task that is cancelled while it waits for an answer ends, and closes its connection, also if the context of the query cannot end.
func TestCancelledQueries(t *testing.T) {
	gone := errors.New("gone")
	for _, c := range []struct {
		name  string
		serve func(testing.TB) string
		open  func(t testing.TB, addr string, d dialer) *sql.DB
		query string // takes longer than the test may
	}{
		{"pgx", servePostgreSQL, func(t testing.TB, addr string, d dialer) *sql.DB {
			config, err := pgx.ParseConfig(postgresURL(addr))
			require.NoError(t, err)
			config.DialFunc = d.DialContext
			return stdlib.OpenDB(*config)
		}, "select 'a' from pg_sleep(600)"},
		{"go-sql-driver/mysql", serveMariaDB, func(t testing.TB, addr string, d dialer) *sql.DB {
			config := mysqlConfig(addr)
			config.DialFunc = d.DialContext
			connector, err := mysql.NewConnector(config)
			require.NoError(t, err)
			return sql.OpenDB(connector)
		}, "select sleep(600)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := c.serve(t)
			e := startEngine(t, 0)
			d := &reactor.Dialer{}
			d.Bind(e)
			db := c.open(t, addr, d)
			defer func() { _ = db.Close() }()
			l := e.Loops()[0]
			asking := make(chan *loop.Task, 1)
			failed := make(chan error, 1)
			crowd := startCrowd(e, 1, 1, func(task *loop.Task, ctx context.Context, _ int, _ string) error {
				asking <- task
				failed <- db.QueryRowContext(context.WithoutCancel(ctx), c.query).Scan(new(string))
				return nil
			})
			task := <-asking
			require.Eventually(t, func() bool { return db.Stats().InUse == 1 }, patience, time.Millisecond)
			require.True(t, l.Post(func() { task.Cancel(gone) }))
			require.Error(t, <-failed)
			crowd.wait(t, e)
			require.Eventually(t, func() bool { return e.Dialed() == 0 }, patience, time.Millisecond, "the connection is closed")
		})
	}
}
