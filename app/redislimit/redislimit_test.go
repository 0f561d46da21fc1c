package redislimit

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"tafe/app"
	"tafe/loop/testrig"
	"tafe/loop/watchdog"
)

const patience = 20 * time.Second

// redisServer is a real one.
type redisServer struct {
	t    *testing.T
	path string // of its socket
	args []string
	cmd  *exec.Cmd
}

func startRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	program := testrig.Program(t, "redis-server")
	dir, err := os.MkdirTemp("", "redis") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &redisServer{t: t, path: filepath.Join(dir, "s")}
	r.args = append([]string{program, "--port", "0", "--unixsocket", r.path, "--save", "", "--dir", dir}, args...)
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *redisServer) start() {
	r.cmd = exec.Command(r.args[0], r.args[1:]...)
	require.NoError(r.t, r.cmd.Start())
	require.Eventually(r.t, func() bool {
		conn, err := net.Dial("unix", r.path)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 5*time.Millisecond)
}

func (r *redisServer) kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

// taker is a server that takes a token for each request: its answer is the wait, or the error. Asking must not hold a loop.
func taker(t *testing.T, b *Buckets) (ask func(key string) string) {
	t.Helper()
	dog := watchdog.New(watchdog.Config{Log: quiet, Budget: 50 * time.Millisecond})
	a := app.New(app.Options{Log: quiet})
	a.Get("/{key}", func(c *app.Context) error {
		wait, err := b.Take(c, []byte(c.Param("key")))
		if err != nil {
			return c.String(200, err.Error())
		}
		return c.String(200, wait.String())
	})
	s, err := app.Listen(a, app.ServerConfig{Addr: "127.0.0.1:0", Loops: 2, Observe: dog.Observe})
	require.NoError(t, err)
	dog.Start()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		require.NoError(t, b.Close())
		require.Eventually(t, func() bool { return s.Engine().Dialed() == 0 }, patience, time.Millisecond, "connections are left")
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
		dog.Stop()
		for _, o := range dog.Recent() {
			require.False(t, o.Blamed, "%s\n%v", o.Line(), o.Stack)
		}
	})
	return func(key string) string {
		resp, err := client.Get("http://" + s.Addr().String() + "/" + key)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestServersShareBuckets(t *testing.T) {
	r := startRedis(t)
	var servers []func(string) string
	for range 2 {
		b, err := New(Options{Addr: "unix:" + r.path, Timeout: 5 * time.Second, Log: quiet}, 0.01, 5)
		require.NoError(t, err)
		servers = append(servers, taker(t, b))
	}
	for i := range 5 {
		require.Equal(t, "0s", servers[i%2]("a"), "the burst, of either server")
	}
	for _, ask := range servers {
		require.Regexp(t, `^1m(3[0-9]|40)\.?\d*s$`, ask("a"), "a token comes every 100 s")
		require.Equal(t, "0s", ask("b"), "another bucket")
	}

	conn, err := redis.Dial("unix", r.path)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	left, err := redis.Int(conn.Do("PTTL", "tafe:a"))
	require.NoError(t, err)
	require.InDelta(t, 500_000, left, 30_000, "the key is gone when the bucket is full again")
}

// The servers admit no more than the burst and the tokens gained, and no less while requests are waiting, however many are concurrent.
func TestTheRateHoldsUnderLoad(t *testing.T) {
	r := startRedis(t)
	const rate, burst = 50, 500 // it takes ten seconds without requests to fill the bucket, so that no token is lost
	var granted, refused atomic.Int64
	var first, lastRefused atomic.Int64 // since the beginning: the end of the first request, and the latest start of a refused one
	var clients sync.WaitGroup
	began := time.Now()
	for range 2 {
		b, err := New(Options{Addr: "unix:" + r.path, Timeout: 5 * time.Second, Log: quiet}, rate, burst)
		require.NoError(t, err)
		ask := taker(t, b)
		for range 16 {
			clients.Go(func() {
				for refused.Load() < 100 || time.Since(began) < time.Second {
					start := time.Since(began)
					answer := ask("k")
					first.CompareAndSwap(0, int64(time.Since(began)))
					if answer == "0s" {
						granted.Add(1)
						continue
					}
					refused.Add(1)
					for last := lastRefused.Load(); last < int64(start) && !lastRefused.CompareAndSwap(last, int64(start)); {
						last = lastRefused.Load()
					}
				}
			})
		}
	}
	clients.Wait()
	took := time.Since(began).Seconds()
	require.LessOrEqual(t, float64(granted.Load()), burst+rate*took+1)
	emptyAt := time.Duration(lastRefused.Load() - first.Load()).Seconds() // all tokens until then were taken
	require.GreaterOrEqual(t, float64(granted.Load()), burst+rate*emptyAt-1, "and it is not stingy")
}

// An unavailable Redis costs one request its timeout at most, and is then not asked for a while. When it is available again, it is used again.
func TestRedisIsAway(t *testing.T) {
	r := startRedis(t)
	var log testrig.Buffer
	b, err := New(Options{Addr: "unix:" + r.path, Timeout: 5 * time.Second, Pause: time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))}, 1000, 1000)
	require.NoError(t, err)
	ask := taker(t, b)
	require.Equal(t, "0s", ask("a"))
	r.kill()
	require.NotEqual(t, "0s", ask("a"), "unknown")
	require.Equal(t, ErrPaused.Error(), ask("a"))
	require.Positive(t, b.Stats().Skipped)
	r.start()
	require.Eventually(t, func() bool { return ask("a") == "0s" }, patience, 10*time.Millisecond)
	require.Equal(t, 1, strings.Count(log.String(), "limit unavailable"), "logged once: %s", log.String())
	require.Equal(t, 1, strings.Count(log.String(), "available again"), "%s", log.String())
}

// One that accepts and is silent is as good as away.
func TestRedisIsSilent(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	b, err := New(Options{Addr: ln.Addr().String(), Timeout: 30 * time.Millisecond, Pause: time.Hour, Log: quiet}, 1, 1)
	require.NoError(t, err)
	ask := taker(t, b)
	require.Contains(t, ask("a"), "timeout")
	require.Equal(t, ErrPaused.Error(), ask("a"))
}

func TestRedisWantsAPassword(t *testing.T) {
	r := startRedis(t, "--requirepass", "open sesame")
	for password, want := range map[string]string{"": "NOAUTH", "wrong": "WRONGPASS", "open sesame": "0s"} {
		b, err := New(Options{Addr: "unix:" + r.path, Password: password, Database: 3, Timeout: 5 * time.Second, Log: quiet}, 1, 5)
		require.NoError(t, err)
		require.Contains(t, taker(t, b)("a"), want)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		addr  string
		rate  float64
		burst int
	}{{"", 1, 1}, {"a:1", 0, 1}, {"a:1", 2e6, 1}, {"a:1", 1, 0}} {
		_, err := New(Options{Addr: c.addr}, c.rate, c.burst)
		require.Error(t, err)
	}
}
