// The clients, and the ways in which a handler can call them.

package clients

import (
	"context"
	"fmt"
	"net"
	"testing"

	"tafe/loop"
	"tafe/loop/reactor"
)

// dialer is a *net.Dialer or a *reactor.Dialer.
type dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// operation sends the value to a server and reads it back. It returns an error if the answer is not that to its own request.
type operation func(ctx context.Context, who int, value string) error

// client is a client library.
type client struct {
	name  string
	serve func(t testing.TB) (addr string)
	// open makes a client with at most conns connections. The client is closed at the end of the test.
	open func(t testing.TB, addr string, d dialer, conns int) operation
	kind kind
	// alone: in its recommended way a task never waits for a goroutine that needs its loop, so it works without handoff. When a write takes
	// longer than 15 ms, pgx reads in a goroutine. go-redis dials in goroutines, and pgxpool too.
	alone bool
}

// kind is how a client waits.
type kind int

const (
	unbounded kind = iota // in reads and writes of its connections, and it dials as many as it needs
	single                // the same, and it is one connection
	pooled                // also for one of its connections, by a channel or a condition variable
	routed                // for goroutines of its own, which read and write
	parking               // through tafe, for everything
)

var clients = []client{
	{name: "gomemcache", serve: serveMemcached, open: openGomemcache, kind: unbounded, alone: true},
	{name: "redigo", serve: serveRedis, open: openRedigo, kind: unbounded, alone: true},
	{name: "pgconn", serve: servePostgreSQL, open: openPgconn, kind: single},
	{name: "go-redis", serve: serveRedis, open: openGoRedis, kind: pooled},
	{name: "pgxpool", serve: servePostgreSQL, open: openPgxpool, kind: pooled},
	{name: "database/sql with pgx", serve: servePostgreSQL, open: openSQLWithPgx, kind: pooled},
	{name: "database/sql with go-sql-driver/mysql", serve: serveMariaDB, open: openSQLWithMySQL, kind: pooled, alone: true},
	{name: "net/http", serve: serveHTTP, open: openHTTP, kind: routed, alone: true},
	{name: "net/http, RoundTripper of app/client", serve: serveHTTP, open: openRoundTripper, kind: parking, alone: true},
	{name: "grpc-go", serve: serveGRPC, open: openGRPC, kind: routed, alone: true},
}

// way is how a task calls a client.
type way struct {
	name  string
	loops bool // in tasks, with the connections of a reactor.Dialer unless offload
	turns bool // behind a loop.Semaphore of the size of the pool
	away  bool // by loop.Offload, with the connections of a net.Dialer
	kinds []kind
}

var (
	inGoroutines = way{name: "goroutines", kinds: []kind{unbounded, single, pooled, routed, parking}}
	onLoops      = way{name: "on loops", loops: true, kinds: []kind{unbounded, pooled, routed, parking}}
	inTurns      = way{name: "on loops, in turns", loops: true, turns: true, kinds: []kind{single, pooled}}
	offloaded    = way{name: "offloaded", loops: true, away: true, kinds: []kind{pooled, routed}}
	ways         = []way{inGoroutines, onLoops, inTurns, offloaded}
)

// recommended is the way of docs/cooperative.md for a client.
func (c client) recommended() way {
	switch c.kind {
	case single, pooled:
		return inTurns
	case routed:
		return offloaded
	}
	return onLoops
}

// conns is how many connections a client gets for a number of tasks.
func (c client) conns(tasks int) int {
	if c.kind == unbounded {
		return tasks
	}
	return tasks / 10
}

// call is an operation by a task, or by a goroutine if t is nil.
type call func(t *loop.Task, ctx context.Context, who int, value string) error

// prepare opens a client for calls in a way. e is nil for goroutines.
func (w way) prepare(t testing.TB, c client, addr string, e *reactor.Engine, conns, waiters int) call {
	d := dialer(&net.Dialer{})
	if w.loops && !w.away {
		onLoop := &reactor.Dialer{}
		onLoop.Bind(e)
		d = onLoop
	}
	do := c.open(t, addr, d, conns)
	switch {
	case w.turns || c.kind == single:
		turns := loop.NewSemaphore(conns, waiters)
		return func(t *loop.Task, ctx context.Context, who int, value string) error {
			if err := turns.Acquire(t); err != nil {
				return err
			}
			defer turns.Release()
			return do(ctx, who, value)
		}
	case w.away:
		pool := loop.NewPool(conns, waiters)
		t.Cleanup(pool.Close)
		return func(t *loop.Task, ctx context.Context, who int, value string) error {
			_, err := loop.Offload(t, pool, func() (struct{}, error) { return struct{}{}, do(ctx, who, value) })
			return err
		}
	}
	return func(_ *loop.Task, ctx context.Context, who int, value string) error { return do(ctx, who, value) }
}

// same returns err, or an error if a client got the response to another request.
func same(want, got string, err error) error {
	if err == nil && got != want {
		return fmt.Errorf("asked for %q, got %q", want, got)
	}
	return err
}
