// Package redislimit keeps the token buckets of a rate limit in Redis, so that several servers share them. [Buckets] implements
// middleware.SharedBuckets. After a failure Redis is not asked for a while, so that requests do not wait for it.
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

// Options configures Buckets. Zero fields take their defaults.
type Options struct {
	Addr               string        // HOST:PORT, or unix:/path; required
	Username, Password string        // for AUTH; "" for none
	Database           int           // for SELECT
	Prefix             string        // of keys; default "tafe:"
	Timeout            time.Duration // of connecting, and of each reply; default 50 ms
	Pause              time.Duration // time after a failure during which Redis is not asked; default 1 s
	ConnsMax           int           // connections per loop; up to 16 times as many calls wait for one; default 16
	Log                *slog.Logger  // receives messages when Redis fails and when it is back; default slog.Default()
}

// Buckets are the token buckets of one limit. They are safe for concurrent use.
type Buckets struct {
	options Options
	dialer  reactor.Dialer
	script  *redis.Script
	args    redis.Args // of the script
	loops   sync.Map   // *loop.Loop to *connections
	down    atomic.Bool
	until   atomic.Int64 // end of the pause, unix ns
	counts  struct{ asked, failed, skipped atomic.Uint64 }
}

// connections is the pool of one loop, for its tasks.
type connections struct {
	pool  redis.Pool
	seats *loop.Semaphore
}

// ErrPaused means that Redis was not asked, because it has failed within Options.Pause.
var ErrPaused = errors.New("redislimit: not asked, because Redis failed recently")

// script takes a token. A bucket is stored as the time at which it will be full, in microseconds of Redis's clock (virtual scheduling, ITU-T
// I.371), and expires when it is full. Scripts are atomic.
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

// New returns buckets that hold burst tokens and gain rate tokens per second. It does not connect. The error is that of invalid arguments:
// rate must be above 0 and at most 1e6, and burst above 0.
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

// Take takes a token from the bucket of key and returns 0. If there is none, it returns the time until there is. It waits for the reply of
// Redis, not for the token. It returns an error if Redis cannot be reached, does not reply within Options.Timeout, or is paused (ErrPaused);
// if all connections are busy; or if the request of c is cancelled.
func (b *Buckets) Take(c *app.Context, key []byte) (wait time.Duration, err error) {
	now := time.Now().UnixNano()
	if now < b.until.Load() || c.Loop().RequestContext() != nil { // the connections of a brief loop could not be reused
		b.counts.skipped.Add(1)
		return 0, ErrPaused
	}
	b.counts.asked.Add(1)
	wait, err = b.runScript(c, key)
	switch {
	case err == nil:
		if b.down.CompareAndSwap(true, false) {
			b.options.Log.Info("shared rate limit available again", "redis", b.options.Addr)
		}
	case c.Err() != nil: // cancelled; Redis may be fine
		return 0, err
	default:
		b.counts.failed.Add(1)
		b.until.Store(now + int64(b.options.Pause))
		if b.down.CompareAndSwap(false, true) {
			b.options.Log.Warn("shared rate limit unavailable", "redis", b.options.Addr, "error", err)
		}
	}
	return wait, err
}

func (b *Buckets) runScript(c *app.Context, key []byte) (time.Duration, error) {
	k := b.of(c.Loop())
	if err := k.seats.Acquire(c.Task()); err != nil {
		return 0, err
	}
	defer k.seats.Release()
	conn := k.pool.Get() // does not wait: the semaphore bounds the connections
	defer func() { _ = conn.Close() }()
	if err := conn.Err(); err != nil {
		return 0, err
	}
	micros, err := redis.Int64(b.script.Do(conn, append(redis.Args{b.options.Prefix + string(key)}, b.args...)...))
	return time.Duration(micros) * time.Microsecond, err
}

// of returns the connections of a loop.
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

// dial connects and logs in, in the running task. It does not use redigo's DialPassword, which logs in on another goroutine while the loop is
// held.
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
		return nil, fmt.Errorf("redislimit: login: %w", err)
	}
	return conn, nil
}

// Stats are the counters of Buckets since New.
type Stats struct {
	Asked, Failed uint64 // calls to Redis, and failed ones
	Skipped       uint64 // calls not made, such as those during a pause
}

// Stats returns the current counters.
func (b *Buckets) Stats() Stats {
	return Stats{b.counts.asked.Load(), b.counts.failed.Load(), b.counts.skipped.Load()}
}

// Close closes the idle connections. Those in use are closed when their calls end. It does not wait for that, and returns nil.
func (b *Buckets) Close() error {
	b.loops.Range(func(l, k any) bool {
		l.(*loop.Loop).PostUnbounded(func() { _ = k.(*connections).pool.Close() })
		return true
	})
	return nil
}
