package middleware

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

func TestBucketsTake(t *testing.T) {
	const ms = int64(time.Millisecond)
	type step struct {
		atMillis int64
		key      string
		wait     int64 // ms
	}
	for _, c := range []struct {
		rate  float64
		burst int
		steps []step
		why   string
	}{
		{10, 1, []step{{0, "a", 0}, {0, "a", 100}, {99, "a", 1}, {100, "a", 0}, {100, "a", 100}}, "one token: one request per interval"},
		{10, 3, []step{{0, "a", 0}, {0, "a", 0}, {0, "a", 0}, {0, "a", 100}, {50, "a", 50}, {100, "a", 0}, {100, "a", 100}},
			"a burst, then the rate"},
		{10, 3, []step{{0, "a", 0}, {0, "a", 0}, {0, "a", 0}, {5000, "a", 0}, {5000, "a", 0}, {5000, "a", 0}, {5000, "a", 100}},
			"a bucket gains no more than it holds"},
		{10, 1, []step{{0, "a", 0}, {0, "a", 100}, {10, "a", 90}, {20, "a", 80}, {100, "a", 0}}, "a refused request takes no token"},
		{10, 1, []step{{0, "a", 0}, {0, "b", 0}, {0, "", 0}, {0, "a", 100}, {0, "b", 100}}, "each key its own bucket"},
		{0.5, 1, []step{{0, "a", 0}, {0, "a", 2000}, {2000, "a", 0}}, "less than one a second"},
		{1000, 2, []step{{0, "a", 0}, {0, "a", 0}, {1, "a", 0}, {1, "a", 1}}, "many a second"},
		{10, 1, []step{{100, "a", 0}, {50, "a", 150}, {200, "a", 0}}, "a clock reading from before the last, as between loops"},
	} {
		b := newBuckets(RateOptions{Rate: c.rate, Burst: c.burst})
		for i, s := range c.steps {
			require.Equal(t, s.wait*ms, b.takeToken([]byte(s.key), s.atMillis*ms), "step %d: %s", i, c.why)
		}
	}
}

// Over any schedule a bucket gives out no more than its burst and what it gains, and never refuses a token that it has.
func TestBucketsKeepTheRate(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, seed))
	for range 50 {
		rate, burst := 1+r.IntN(1000), 1+r.IntN(20)
		b := newBuckets(RateOptions{Rate: float64(rate), Burst: burst})
		tokens, now, last := float64(burst), int64(0), int64(0)
		for range 2000 {
			now += r.Int64N(int64(3 * time.Second / time.Duration(rate)))
			tokens = min(float64(burst), tokens+float64(now-last)/float64(b.interval))
			last = now
			wait := b.takeToken([]byte("k"), now)
			if math.Abs(tokens-1) < 1e-6 {
				continue // the model's rounding decides nothing
			}
			require.Equal(t, tokens >= 1, wait == 0, "seed %d: rate %d burst %d at %d: %f tokens", seed, rate, burst, now, tokens)
			if wait == 0 {
				tokens--
			}
		}
	}
}

func TestBucketsAreBounded(t *testing.T) {
	b := newBuckets(RateOptions{Rate: 1, Burst: 1, Keys: 100})
	bound := rateShards * ((100 + rateShards - 1) / rateShards)
	key := make([]byte, 8)
	for i := range uint64(10_000) {
		binary.LittleEndian.PutUint64(key, i)
		require.Zero(t, b.takeToken(key, 0), "new keys have full buckets")
	}
	kept := 0
	for i := range b.shards {
		s := &b.shards[i]
		require.Len(t, s.entries, s.max)
		require.Len(t, s.index, s.max)
		kept += len(s.index)
		seen := 0
		for e, before := s.first, int32(-1); e >= 0; e, before = s.entries[e].next, e {
			require.Equal(t, before, s.entries[e].prev)
			require.Equal(t, e, s.index[s.entries[e].key])
			seen++
		}
		require.Equal(t, s.max, seen, "the list holds every entry once")
	}
	require.Equal(t, bound, kept)
	require.Equal(t, int64(time.Second), b.takeToken(key, 0), "the most recent key is remembered")
	binary.LittleEndian.PutUint64(key, 0)
	require.Zero(t, b.takeToken(key, 0), "the oldest is forgotten")
}

func TestBucketsForgetTheLeastRecentlyUsed(t *testing.T) {
	b := newBuckets(RateOptions{Rate: 1, Burst: 1, Keys: 3 * rateShards})
	s := &b.shards[0]
	for _, key := range []string{"a", "b", "c", "a", "d"} { // one shard, so that the order is known
		s.find([]byte(key), 0)
	}
	var kept []string
	for e := s.first; e >= 0; e = s.entries[e].next {
		kept = append(kept, s.entries[e].key)
	}
	require.Equal(t, []string{"d", "a", "c"}, kept, "b was not used for longest")
}

func TestBucketsConcurrently(t *testing.T) {
	b := newBuckets(RateOptions{Rate: 1, Burst: 1000})
	var wg sync.WaitGroup
	passed := make([]int, 8)
	for g := range passed {
		wg.Go(func() {
			for range 1000 {
				if b.takeToken([]byte("k"), 0) == 0 {
					passed[g]++
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range passed {
		total += n
	}
	require.Equal(t, 1000, total, "all goroutines together get one burst")
}

func TestAppendAddress(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
		why  string
	}{
		{"192.0.2.1", "192.0.2.1", true, "one host"},
		{"192.0.2.1", "192.0.2.2", false, "two hosts"},
		{"192.0.2.1", "::ffff:192.0.2.1", true, "one host through two kinds of socket"},
		{"2001:db8::1", "2001:db8::2", true, "one customer's network"},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false, "two networks"},
		{"::", "0.0.0.0", false, "kinds do not meet"},
		{"@", "", true, "no addresses"},
	} {
		a, b := appendAddress(nil, c.a), appendAddress(nil, c.b)
		require.Equal(t, c.same, string(a) == string(b), "%s and %s: %s", c.a, c.b, c.why)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	byUser := RateOptions{Rate: 0.001, Burst: 2, Key: func(c *app.Context) string { return c.Header("X-User") }}
	addr := serve(t, quietApp(RateLimit(byUser)))
	long := strings.Repeat("x", rateKeyBytesMax)
	for i, c := range []struct {
		user   string
		status int
		why    string
	}{
		{"ann", 200, "the first"}, {"ann", 200, "the burst"}, {"ann", 429, "too many"}, {"ann", 429, "still"},
		{"bob", 200, "another client"},
		{"", 200, "no key"}, {"", 200, "no limit"}, {"", 200, "ever"},
		{long + "a", 200, "a long key"}, {long + "b", 200, "of which only the start counts"}, {long + "c", 429, "however it ends"},
	} {
		resp, body := ask(t, addr, "GET /\nX-User: "+c.user)
		require.Equal(t, c.status, resp.StatusCode, "request %d: %s", i, c.why)
		if c.status == 429 {
			after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
			require.NoError(t, err)
			require.InDelta(t, 1000, after, 999, "in seconds, rounded up")
			require.NotContains(t, body, "ok")
		}
	}

	addr = serve(t, quietApp(RateLimit(RateOptions{Rate: 0.001, Burst: 1})))
	resp, _ := ask(t, addr, "GET /")
	require.Equal(t, 200, resp.StatusCode)
	resp, _ = ask(t, addr, "GET /")
	require.Equal(t, 429, resp.StatusCode, "another connection of the same address")

	for _, c := range []struct {
		o   RateOptions
		why string
	}{
		{RateOptions{Burst: 1}, "no rate"},
		{RateOptions{Rate: -1, Burst: 1}, "a negative one"},
		{RateOptions{Rate: math.NaN(), Burst: 1}, "none at all"},
		{RateOptions{Rate: 1e10, Burst: 1}, "more than one a nanosecond"},
		{RateOptions{Rate: 1}, "no burst: nothing would pass"},
		{RateOptions{Rate: 1e-9, Burst: 1000}, "a bucket that takes ages to fill overflows"},
	} {
		mustPanic(t, "RateLimit", c.why, func() { RateLimit(c.o) })
	}
}

func BenchmarkRateLimitTake(b *testing.B) {
	for _, keys := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			buckets := newBuckets(RateOptions{Rate: 1000, Burst: 100})
			key := make([]byte, 4)
			now := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				now += 100
				binary.LittleEndian.PutUint32(key, uint32(now*7919)%uint32(keys))
				buckets.takeToken(key, now)
			}
		})
	}
}

// elsewhere stands for the buckets of all servers.
type elsewhere struct {
	wait  time.Duration
	err   error
	asked atomic.Int64
}

func (e *elsewhere) Take(*app.Context, []byte) (time.Duration, error) {
	e.asked.Add(1)
	return e.wait, e.err
}

func TestRateLimitShared(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shared *elsewhere
		closed bool
		status []int
		asked  int64
		why    string
	}{
		{&elsewhere{}, false, []int{200, 200, 429}, 2, "what is refused here is not asked there"},
		{&elsewhere{wait: 3 * time.Second}, false, []int{429, 429, 429}, 2, "others have used it up"},
		{&elsewhere{err: errors.New("away")}, false, []int{200, 200, 429}, 2, "open: alone"},
		{&elsewhere{err: errors.New("away")}, true, []int{503, 503, 429}, 2, "closed: no request is admitted"},
	} {
		addr := serve(t, quietApp(RateLimit(RateOptions{Rate: 0.001, Burst: 2, Shared: c.shared, FailClosed: c.closed})))
		for i, want := range c.status {
			resp, _ := ask(t, addr, "GET /")
			require.Equal(t, want, resp.StatusCode, "request %d: %s", i, c.why)
			if c.shared.wait > 0 && i < 2 {
				require.Equal(t, "3", resp.Header.Get("Retry-After"))
			}
		}
		require.Equal(t, c.asked, c.shared.asked.Load(), c.why)
	}
}
