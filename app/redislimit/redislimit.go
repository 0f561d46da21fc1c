// Package redislimit keeps the token buckets of a rate limit in Redis, so that several servers share them. It is meant for
// middleware.RateOptions.Shared: asked beside a local bucket, and not at all while Redis does not answer.
package redislimit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"tafe/app"
	"tafe/loop"
	"tafe/loop/reactor"
)

// Options say where the buckets are. Zero fields take the defaults.
type Options struct {
	Addr               string // HOST:PORT, or unix:/path
	Username, Password string // "" for none
	Database           int
	Prefix             string        // of keys; default "tafe:"
	Timeout            time.Duration // for connecting, and for each answer; default 50 ms
	Pause              time.Duration // after a failure nobody is asked for so long; default 1 s
	ConnsMax           int           // per loop; as many requests of it can be asking at a time, and 16 times as many wait; default 16
	Log                *slog.Logger  // of when Redis stops answering, and when it is back; default slog.Default()
}

// Buckets are the buckets of one limit. Any goroutine.
type Buckets struct {
	options Options
	dialer  reactor.Dialer
	script  *redis.Script
	args    redis.Args // of every call
	loops   sync.Map   // *loop.Loop to *connections
	down    atomic.Bool
	until   atomic.Int64 // unix ns; nobody is asked before
	counts  struct{ asked, failed, skipped atomic.Uint64 }
}

// connections are those of one loop, for its goroutine and tasks.
type connections struct {
	pool  redis.Pool
	seats *loop.Semaphore
}

// ErrPaused: Redis has failed a moment ago, and is not asked.
var ErrPaused = errors.New("redislimit: Redis did not answer a moment ago")

// The bucket is kept as the time at which it will be full again, in microseconds (the virtual scheduling of ITU-T I.371): a read and
// a write, atomic as scripts are, with the clock of Redis, which all servers share. A bucket that is full is not kept.
const script = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local interval, depth = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + interval
local wait = full - now - depth
if wait > 0.5 then
	return math.ceil(wait)
end
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil((full - now) / 1000))
return 0`

// New makes the buckets of a limit: each holds burst tokens and gains rate of them a second. It connects to nothing yet.
func New(o Options, rate float64, burst int) (*Buckets, error) {
	switch {
	case o.Addr == "":
		return nil, errors.New("redislimit: no address")
	case !(rate > 0 && rate <= 1e6) || burst <= 0:
		return nil, errors.New("redislimit: the rate must be above 0 and at most 1e6, the burst above 0")
	}
	if o.Prefix == "" {
		o.Prefix = "tafe:"
	}
	if o.Timeout <= 0 {
		o.Timeout = 50 * time.Millisecond
	}
	if o.Pause <= 0 {
		o.Pause = time.Second
	}
	if o.ConnsMax <= 0 {
		o.ConnsMax = 16
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	interval := 1e6 / rate
	return &Buckets{
		options: o, dialer: reactor.Dialer{Timeout: o.Timeout}, script: redis.NewScript(1, script),
		args: redis.Args{strconv.FormatFloat(interval, 'f', 3, 64), strconv.FormatFloat(interval*float64(burst), 'f', 3, 64)},
	}, nil
}

// Take takes a token from the bucket of key and returns 0, or how long it will be until there is one. It waits for Redis, not for the
// token. An error says that nobody knows: Redis is not there, too slow or too busy.
func (b *Buckets) Take(c *app.Context, key []byte) (wait time.Duration, err error) {
	now := time.Now().UnixNano()
	if now < b.until.Load() || c.Loop().RequestContext() != nil { // the connections of such a loop would serve one request
		b.counts.skipped.Add(1)
		return 0, ErrPaused
	}
	b.counts.asked.Add(1)
	wait, err = b.take(c, key)
	switch {
	case err == nil:
		if b.down.CompareAndSwap(true, false) {
			b.options.Log.Info("the shared rate limit is back", "redis", b.options.Addr)
		}
	case c.Err() != nil: // of our client: it tells nothing of Redis
		return 0, err
	default:
		b.counts.failed.Add(1)
		b.until.Store(now + int64(b.options.Pause))
		if b.down.CompareAndSwap(false, true) {
			b.options.Log.Warn("the shared rate limit does not answer", "redis", b.options.Addr, "error", err)
		}
	}
	return wait, err
}

func (b *Buckets) take(c *app.Context, key []byte) (time.Duration, error) {
	k := b.of(c.Loop())
	if err := k.seats.Acquire(c.Task()); err != nil {
		return 0, err
	}
	defer k.seats.Release()
	conn := k.pool.Get() // which does not wait, as there is a seat for each
	defer func() { _ = conn.Close() }()
	if err := conn.Err(); err != nil {
		return 0, err
	}
	micros, err := redis.Int64(b.script.Do(conn, append(redis.Args{b.options.Prefix + string(key)}, b.args...)...))
	return time.Duration(micros) * time.Microsecond, err
}

// of finds the connections of a loop.
func (b *Buckets) of(l *loop.Loop) *connections {
	if k, ok := b.loops.Load(l); ok {
		return k.(*connections)
	}
	k := &connections{
		pool: redis.Pool{
			MaxIdle: b.options.ConnsMax, IdleTimeout: time.Minute,
			Dial: func() (redis.Conn, error) { return b.dial(l) },
		},
		seats: loop.NewSemaphore(b.options.ConnsMax, 16*b.options.ConnsMax),
	}
	kept, _ := b.loops.LoadOrStore(l, k)
	return kept.(*connections)
}

// dial connects in the running task. It logs in by itself: what redigo does with DialPassword happens on another goroutine, for which
// the loop would have to wait.
func (b *Buckets) dial(l *loop.Loop) (redis.Conn, error) {
	o := &b.options
	network, addr := "tcp", o.Addr
	if len(addr) > 5 && addr[:5] == "unix:" {
		network, addr = "unix", addr[5:]
	}
	conn, err := redis.Dial(network, addr, redis.DialReadTimeout(o.Timeout), redis.DialWriteTimeout(o.Timeout),
		redis.DialContextFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			return b.dialer.DialTask(ctx, l.Current(), network, addr)
		}))
	if err != nil {
		return nil, err
	}
	log := func(command string, args ...any) {
		if err == nil {
			_, err = conn.Do(command, args...)
		}
	}
	switch {
	case o.Username != "":
		log("AUTH", o.Username, o.Password)
	case o.Password != "":
		log("AUTH", o.Password)
	}
	if o.Database != 0 {
		log("SELECT", o.Database)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("redislimit: logging in: %w", err)
	}
	return conn, nil
}

// Stats are counters since New.
type Stats struct {
	Asked, Failed uint64
	Skipped       uint64 // not asked, as Redis had failed a moment ago
}

// Stats returns the counters as they are now. Any goroutine.
func (b *Buckets) Stats() Stats {
	return Stats{b.counts.asked.Load(), b.counts.failed.Load(), b.counts.skipped.Load()}
}

// Close closes idle connections, and has those in use closed when they are given back. Any goroutine.
func (b *Buckets) Close() error {
	b.loops.Range(func(l, k any) bool {
		l.(*loop.Loop).PostUnbounded(func() { _ = k.(*connections).pool.Close() })
		return true
	})
	return nil
}
