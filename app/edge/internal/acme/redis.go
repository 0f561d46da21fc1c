// Redis as storage, for machines without a shared folder.

package acme

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/gomodule/redigo/redis"
)

// RedisOptions say where the storage is.
type RedisOptions struct {
	Network, Address   string // such as "tcp", "127.0.0.1:6379"
	Username, Password string
	Database           int
	TLS                bool
	Prefix             string        // of the keys; default "tafe"
	Timeout            time.Duration // of connecting and of each reply; default 5 s
}

const (
	redisPrefix  = "tafe"
	redisTimeout = 5 * time.Second
	redisIdle    = 2 // connections kept
	lockLease    = 30 * time.Second
	lockPoll     = 250 * time.Millisecond
)

// Redis is a certmagic.Storage. A value is a hash with its content and its time; a sorted set has all keys, by which directories
// are listed. The keys share a hash tag, so that they are in one slot of a cluster.
type Redis struct {
	pool  *redis.Pool
	tag   string
	mu    sync.Mutex
	locks map[string]*redisLock // those of this process
}

type redisLock struct {
	token string
	stop  context.CancelFunc
	ended chan struct{}
}

// NewRedis returns a Redis. It connects when it is used.
func NewRedis(o RedisOptions) *Redis {
	if o.Prefix == "" {
		o.Prefix = redisPrefix
	}
	if o.Timeout <= 0 {
		o.Timeout = redisTimeout
	}
	options := []redis.DialOption{
		redis.DialConnectTimeout(o.Timeout), redis.DialReadTimeout(o.Timeout), redis.DialWriteTimeout(o.Timeout),
		redis.DialDatabase(o.Database), redis.DialUsername(o.Username), redis.DialPassword(o.Password), redis.DialUseTLS(o.TLS),
	}
	return &Redis{
		tag: "{" + o.Prefix + ":certificates}:", locks: map[string]*redisLock{},
		pool: &redis.Pool{
			MaxIdle: redisIdle, IdleTimeout: time.Minute,
			DialContext: func(ctx context.Context) (redis.Conn, error) {
				return redis.DialContext(ctx, o.Network, o.Address, options...)
			},
		},
	}
}

// String names the storage in logs.
func (r *Redis) String() string { return "Redis " + r.tag }

// Close closes idle connections.
func (r *Redis) Close() error { return r.pool.Close() }

func (r *Redis) do(ctx context.Context, command string, args ...any) (any, error) {
	c, err := r.pool.GetContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	defer func() { _ = c.Close() }()
	v, err := redis.DoContext(c, ctx, command, args...)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return v, nil
}

func (r *Redis) value(key string) string { return r.tag + "value:" + key }
func (r *Redis) index() string           { return r.tag + "index" }
func (r *Redis) lock(name string) string { return r.tag + "lock:" + name }

// storeScript stores a value and its key in one step.
const storeScript = `redis.call('HSET', KEYS[1], 'content', ARGV[2], 'modified', ARGV[3]) redis.call('ZADD', KEYS[2], 0, ARGV[1]) return 1`

// Store implements certmagic.Storage.
func (r *Redis) Store(ctx context.Context, key string, content []byte) error {
	_, err := r.do(ctx, "EVAL", storeScript, 2, r.value(key), r.index(), key, content, time.Now().UnixMilli())
	return err
}

// Load implements certmagic.Storage.
func (r *Redis) Load(ctx context.Context, key string) ([]byte, error) {
	content, err := redis.Bytes(r.do(ctx, "HGET", r.value(key), "content"))
	if errors.Is(err, redis.ErrNil) {
		return nil, fs.ErrNotExist
	}
	return content, err
}

// Delete implements certmagic.Storage.
func (r *Redis) Delete(ctx context.Context, key string) error {
	keys, err := r.below(ctx, key, -1)
	if err != nil {
		return err
	}
	for _, k := range append(keys, key) {
		if _, err := r.do(ctx, "DEL", r.value(k)); err != nil {
			return err
		}
		if _, err := r.do(ctx, "ZREM", r.index(), k); err != nil {
			return err
		}
	}
	return nil
}

// below returns at most count keys below a directory, all if count is negative.
func (r *Redis) below(ctx context.Context, directory string, count int) ([]string, error) {
	from, to := "-", "+"
	if directory != "" {
		from, to = "["+directory+"/", "("+directory+"0" // 0 follows / in ASCII
	}
	return redis.Strings(r.do(ctx, "ZRANGEBYLEX", r.index(), from, to, "LIMIT", 0, count))
}

// Exists implements certmagic.Storage.
func (r *Redis) Exists(ctx context.Context, key string) bool {
	_, err := r.Stat(ctx, key)
	return err == nil
}

// List implements certmagic.Storage.
func (r *Redis) List(ctx context.Context, directory string, recursive bool) ([]string, error) {
	directory = strings.Trim(directory, "/")
	keys, err := r.below(ctx, directory, -1)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fs.ErrNotExist
	}
	var all []string
	last := ""
	for _, key := range keys {
		rest := strings.TrimPrefix(strings.TrimPrefix(key, directory), "/")
		parts := strings.Split(rest, "/")
		if !recursive {
			parts = parts[:1]
		}
		for i := range parts { // a directory comes before what is in it, once
			entry := path.Join(directory, path.Join(parts[:i+1]...))
			if entry == last || strings.HasPrefix(last, entry+"/") {
				continue
			}
			all, last = append(all, entry), entry
		}
	}
	return all, nil
}

// Stat implements certmagic.Storage.
func (r *Redis) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	content, err := redis.Values(r.do(ctx, "HMGET", r.value(key), "content", "modified"))
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	if content[0] != nil {
		modified, _ := redis.Int64(content[1], nil)
		text, _ := redis.Bytes(content[0], nil)
		return certmagic.KeyInfo{Key: key, Modified: time.UnixMilli(modified), Size: int64(len(text)), IsTerminal: true}, nil
	}
	keys, err := r.below(ctx, key, 1)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	if len(keys) == 0 {
		return certmagic.KeyInfo{}, fs.ErrNotExist
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// Lock implements certmagic.Storage. A lock is a lease that is renewed until Unlock, and ends by itself when the process does.
func (r *Redis) Lock(ctx context.Context, name string) error {
	for {
		taken, err := r.TryLock(ctx, name)
		if taken || err != nil {
			return err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TryLock implements certmagic.TryLocker.
func (r *Redis) TryLock(ctx context.Context, name string) (bool, error) {
	token := rand.Text()
	_, err := redis.String(r.do(ctx, "SET", r.lock(name), token, "NX", "PX", lockLease.Milliseconds()))
	if errors.Is(err, redis.ErrNil) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	keeping, stop := context.WithCancel(context.Background())
	l := &redisLock{token: token, stop: stop, ended: make(chan struct{})}
	r.mu.Lock()
	r.locks[name] = l
	r.mu.Unlock()
	go r.keep(keeping, name, l)
	return true, nil
}

// renewScript and unlockScript leave a lock alone that another process has taken after the lease.
const (
	renewScript  = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`
	unlockScript = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`
)

// keep renews the lease until Unlock.
func (r *Redis) keep(ctx context.Context, name string, l *redisLock) {
	defer close(l.ended)
	tick := time.NewTicker(lockLease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = r.do(ctx, "EVAL", renewScript, 1, r.lock(name), l.token, lockLease.Milliseconds()) // the next one may succeed
		}
	}
}

// Unlock implements certmagic.Storage.
func (r *Redis) Unlock(ctx context.Context, name string) error {
	r.mu.Lock()
	l := r.locks[name]
	delete(r.locks, name)
	r.mu.Unlock()
	if l == nil {
		return fmt.Errorf("redis: %q is not locked", name)
	}
	l.stop()
	<-l.ended
	_, err := r.do(ctx, "EVAL", unlockScript, 1, r.lock(name), l.token)
	return err
}

var (
	_ certmagic.Storage   = (*Redis)(nil)
	_ certmagic.TryLocker = (*Redis)(nil)
)
