package acme

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// startRedis returns the options of a Redis server on a socket.
func startRedis(t testing.TB) (RedisOptions, *exec.Cmd) {
	t.Helper()
	program := testrig.Program(t, "redis-server")
	dir, err := os.MkdirTemp("", "redis") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", path, "--save", "", "--requirepass", "secret")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "Redis answers", func() bool {
		c, err := redis.Dial("unix", path)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return RedisOptions{Network: "unix", Address: path, Password: "secret"}, cmd
}

// Both kinds of storage do what certmagic asks of one.
func TestStorage(t *testing.T) {
	for _, c := range []struct {
		why  string
		make func(t *testing.T) (one, other certmagic.Storage)
	}{
		{"a directory", func(t *testing.T) (one, other certmagic.Storage) { dir := t.TempDir(); return files(dir), files(dir) }},
		{"Redis", func(t *testing.T) (one, other certmagic.Storage) {
			o, _ := startRedis(t)
			a, b := NewRedis(o), NewRedis(o)
			t.Cleanup(func() { _, _ = a.Close(), b.Close() })
			return a, b
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			one, other := c.make(t)
			ctx := context.Background()
			_, err := one.Load(ctx, "a/b/c.crt")
			require.ErrorIs(t, err, fs.ErrNotExist)
			_, err = one.Stat(ctx, "a")
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.False(t, one.Exists(ctx, "a"))
			require.NoError(t, one.Delete(ctx, "a/b"))
			for i, key := range []string{"a/b/c.crt", "a/b/c.key", "a/d/e.crt", "a.x/f", "g"} {
				require.NoError(t, one.Store(ctx, key, []byte(fmt.Sprint(i))))
			}
			require.NoError(t, one.Store(ctx, "a/b/c.key", []byte("binary \x00\xff")))
			text, err := other.Load(ctx, "a/b/c.key")
			require.NoError(t, err)
			require.Equal(t, "binary \x00\xff", string(text))
			require.True(t, other.Exists(ctx, "a"))
			require.True(t, other.Exists(ctx, "a/b/c.crt"))
			require.False(t, other.Exists(ctx, "a/b/c"))
			list, err := other.List(ctx, "a", false)
			require.NoError(t, err)
			require.ElementsMatch(t, []string{"a/b", "a/d"}, list)
			list, err = other.List(ctx, "a", true)
			require.NoError(t, err)
			require.ElementsMatch(t, []string{"a/b", "a/b/c.crt", "a/b/c.key", "a/d", "a/d/e.crt"}, list)
			info, err := other.Stat(ctx, "a/d/e.crt")
			require.NoError(t, err)
			require.True(t, info.IsTerminal)
			require.EqualValues(t, 1, info.Size)
			require.WithinDuration(t, time.Now(), info.Modified, time.Hour)
			info, err = other.Stat(ctx, "a/d")
			require.NoError(t, err)
			require.False(t, info.IsTerminal)
			require.NoError(t, one.Delete(ctx, "a"))
			require.False(t, other.Exists(ctx, "a/b/c.crt"))
			require.False(t, other.Exists(ctx, "a"))
			require.True(t, other.Exists(ctx, "a.x/f"), "a name that begins the same is another")
			list, err = other.List(ctx, "", true)
			require.NoError(t, err)
			require.NotContains(t, list, "a")
			require.Contains(t, list, "g")
		})
	}
}

func TestStorageLocks(t *testing.T) {
	for _, c := range []struct {
		why  string
		make func(t *testing.T) (one, other certmagic.Storage)
	}{
		{"a directory", func(t *testing.T) (one, other certmagic.Storage) { dir := t.TempDir(); return files(dir), files(dir) }},
		{"Redis", func(t *testing.T) (one, other certmagic.Storage) {
			o, _ := startRedis(t)
			a, b := NewRedis(o), NewRedis(o)
			t.Cleanup(func() { _, _ = a.Close(), b.Close() })
			return a, b
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			one, other := c.make(t)
			ctx := context.Background()
			var holders, most atomic.Int64
			var all sync.WaitGroup
			for i := range 4 {
				s := one
				if i%2 == 1 {
					s = other
				}
				all.Go(func() {
					if err := s.Lock(ctx, "name"); err != nil {
						t.Error(err)
						return
					}
					most.Store(max(most.Load(), holders.Add(1)))
					holders.Add(-1)
					if err := s.Unlock(ctx, "name"); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			require.EqualValues(t, 1, most.Load())
			require.NoError(t, one.Lock(ctx, "name"))
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, other.Lock(short, "name"), context.DeadlineExceeded)
			require.NoError(t, one.Unlock(ctx, "name"))
			require.NoError(t, other.Lock(ctx, "name"))
			require.NoError(t, other.Unlock(ctx, "name"))
		})
	}
}

// A lock of a process that is gone ends, and the process, were it back, does not end the lock of the next.
func TestALeaseEnds(t *testing.T) {
	o, _ := startRedis(t)
	one, other := NewRedis(o), NewRedis(o)
	defer func() { _, _ = one.Close(), other.Close() }()
	ctx := context.Background()
	require.NoError(t, one.Lock(ctx, "name"))
	_, err := one.do(ctx, "DEL", one.lock("name")) // what the lease does in half a minute
	require.NoError(t, err)
	require.NoError(t, other.Lock(ctx, "name"))
	require.NoError(t, one.Unlock(ctx, "name"))
	taken, err := one.TryLock(ctx, "name")
	require.NoError(t, err)
	require.False(t, taken)
	require.NoError(t, other.Unlock(ctx, "name"))
	require.Error(t, other.Unlock(ctx, "name"), "it is not locked")
}

func TestRedisThatFails(t *testing.T) {
	o, cmd := startRedis(t)
	wrong := o
	wrong.Password = "wrong"
	r := NewRedis(wrong)
	defer func() { _ = r.Close() }()
	_, err := r.Load(context.Background(), "a")
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotErrorIs(t, err, fs.ErrNotExist)
	good := NewRedis(o)
	defer func() { _ = good.Close() }()
	require.NoError(t, good.Store(context.Background(), "a", nil))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	_, err = good.Load(context.Background(), "a")
	require.Error(t, err)
	require.False(t, errors.Is(err, fs.ErrNotExist), "a server that is gone is no storage that is empty")
	require.False(t, good.Exists(context.Background(), "a"))
}

// Certificates in Redis, and a Redis that is gone while they are served.
func TestOrderWithRedis(t *testing.T) {
	options, cmd := startRedis(t)
	s := startSite(t)
	a := startAuthority(t, s)
	store := NewRedis(options)
	t.Cleanup(func() { _ = store.Close() })
	o := quick(store, a.options())
	o.Names = []string{host}
	m := s.start(t, o)
	eventually(t, "the first", func() bool { return s.serial(host) != "" })
	first := s.serial(host)
	again := NewRedis(options)
	defer func() { _ = again.Close() }()
	other := quick(again, a.options())
	other.Names = []string{host}
	second := newManager(t, other)
	second.Load()
	require.False(t, row(second, host).Expires.IsZero(), "another machine has it")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	eventually(t, "it is reported", func() bool { return row(m, host).Failures > 0 })
	require.Contains(t, row(m, host).Problem, "redis")
	require.Equal(t, first, s.serial(host))
	orders, _ := a.ordersSeen()
	require.Less(t, orders, 8, "nothing is ordered that could not be stored")
}

func TestTickets(t *testing.T) {
	ctx := context.Background()
	store := files(t.TempDir())
	now := time.Now()
	first, err := Tickets(ctx, store, now)
	require.NoError(t, err)
	require.Len(t, first, 1)
	again, err := Tickets(ctx, store, now.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, first, again, "another process, an hour later")
	rotated, err := Tickets(ctx, store, now.Add(25*time.Hour))
	require.NoError(t, err)
	require.Len(t, rotated, 2)
	require.Equal(t, first[0], rotated[0], "a new key is used when all know it")
	later, err := Tickets(ctx, store, now.Add(26*time.Hour))
	require.NoError(t, err)
	require.Equal(t, rotated[1], later[0])
	require.Equal(t, first[0], later[1], "and the old one still decrypts")
	for day := 2; day < 20; day++ {
		later, err = Tickets(ctx, store, now.Add(time.Duration(day)*25*time.Hour))
		require.NoError(t, err)
	}
	require.NotContains(t, later, first[0], "not for ever")
	require.LessOrEqual(t, len(later), 9)

	require.NoError(t, store.Store(ctx, ticketsKey, []byte("{")))
	fresh, err := Tickets(ctx, store, now)
	require.NoError(t, err)
	require.Len(t, fresh, 1, "damaged keys are replaced")
	_, err = Tickets(ctx, files("/proc/none"), now)
	require.Error(t, err)
}
