// RateLimit: a token bucket per client, in bounded memory. Package redislimit has buckets that several servers share.

package middleware

import (
	"bytes"
	"hash/maphash"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"tafe/app"
)

// RateOptions configures the token buckets of RateLimit. Each request takes a token from a bucket.
type RateOptions struct {
	Rate  float64 // tokens that a bucket gains per second, above 0 and at most 1e9
	Burst int     // tokens in a full bucket, above 0
	// Keys bounds the number of buckets; default 65536, about 100 bytes each. Beyond it the least recently used one is evicted, which
	// makes it full again.
	Keys int
	// Key returns the key of the bucket that a request uses; "" is not limited. Bytes beyond the first 256 are ignored. Default:
	// app.Context.ClientIP, of an IPv6 address the first 64 bits, which usually belong to one customer.
	Key func(c *app.Context) string
	// Shared, if not nil, has the buckets that several servers share. It is used after the local bucket, which keeps floods of a single
	// client away from it.
	Shared SharedBuckets
	// FailClosed answers 503 if Shared returns an error. Otherwise the request is admitted then.
	FailClosed bool
}

// SharedBuckets are token buckets outside of the process, such as those of package redislimit.
type SharedBuckets interface {
	// Take takes a token from the bucket of key and returns 0. If there is none, it returns the time until there is. It may wait for the
	// result.
	Take(c *app.Context, key []byte) (wait time.Duration, err error)
}

const (
	rateShards      = 32 // reduces contention between loops
	rateKeyBytesMax = 256
)

// RateLimit answers 429 with Retry-After to requests whose bucket is empty. All loops share the buckets. It panics if Rate or Burst is out of
// range.
func RateLimit(o RateOptions) app.Middleware {
	b := newBuckets(o)
	base := time.Now()
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			var space [rateKeyBytesMax]byte
			key, limited := o.key(c, &space)
			if !limited {
				return next(c)
			}
			wait := b.takeToken(key, int64(time.Since(base)))
			if wait == 0 && o.Shared != nil {
				shared, err := o.Shared.Take(c, bytes.Clone(key)) // a copy, so that key does not escape to the heap without Shared
				switch {
				case err == nil:
					wait = int64(shared)
				case c.Err() != nil:
					return err
				case o.FailClosed:
					return &app.HTTPError{Status: 503, Message: "the rate limit cannot be checked", Reason: "rate-limit-unknown", Err: err}
				}
			}
			if wait > 0 {
				seconds := (wait + int64(time.Second) - 1) / int64(time.Second)
				c.SetHeader("Retry-After", strconv.FormatInt(seconds, 10))
				return app.Error(429, "")
			}
			return next(c)
		}
	}
}

// key returns the key of the bucket of c, in space; limited is false if c is not limited.
func (o *RateOptions) key(c *app.Context, space *[rateKeyBytesMax]byte) (key []byte, limited bool) {
	if o.Key == nil {
		return appendAddress(space[:0], c.ClientIPView()), true
	}
	own := o.Key(c)
	return append(space[:0], own[:min(len(own), rateKeyBytesMax)]...), own != ""
}

// appendAddress appends the 4 bytes of an IPv4 address, or the first 8 of an IPv6 one.
func appendAddress(b []byte, client string) []byte {
	address, err := netip.ParseAddr(client)
	if err != nil { // such as unix sockets, which share a bucket
		return b
	}
	address = address.Unmap()
	bytes := address.As16()
	if address.Is4() {
		return append(b, bytes[12:]...)
	}
	return append(b, bytes[:8]...)
}

// buckets is a set of buckets in shards with a lock each.
type buckets struct {
	seed     maphash.Seed
	interval int64 // ns to gain one token
	depth    int64 // ns to fill a bucket
	shards   [rateShards]shard
}

// shard is a map and a list in order of use, most recent first. Its entries are in an array of at most max elements.
type shard struct {
	mu          sync.Mutex
	index       map[string]int32
	entries     []bucket
	first, last int32
	max         int
	_           [64]byte // keeps the locks of shards on separate cache lines
}

// bucket represents a token bucket by the time at which it will be full. It holds (now + depth - full) / interval tokens (virtual scheduling,
// ITU-T I.371).
type bucket struct {
	key        string
	full       int64
	prev, next int32 // -1: none
}

func newBuckets(o RateOptions) *buckets {
	switch {
	case !(o.Rate > 0 && o.Rate <= 1e9):
		panic("middleware: RateLimit: Rate must be above 0 and at most 1e9")
	case o.Burst <= 0 || float64(o.Burst)/o.Rate > 1e9:
		panic("middleware: RateLimit: Burst must be above 0, and gained back within 1e9 seconds")
	}
	if o.Keys <= 0 {
		o.Keys = 1 << 16
	}
	interval := max(1, int64(float64(time.Second)/o.Rate))
	b := &buckets{seed: maphash.MakeSeed(), interval: interval, depth: interval * int64(o.Burst)}
	for i := range b.shards {
		b.shards[i] = shard{index: map[string]int32{}, first: -1, last: -1, max: (o.Keys + rateShards - 1) / rateShards}
	}
	return b
}

// takeToken takes a token from the bucket of key at the time now, in ns, and returns 0. If there is none, it returns the ns until there is.
func (b *buckets) takeToken(key []byte, now int64) (wait int64) {
	s := &b.shards[maphash.Bytes(b.seed, key)%rateShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &s.entries[s.find(key, now)]
	full := max(e.full, now) + b.interval
	if wait = full - now - b.depth; wait > 0 {
		return wait
	}
	e.full = full
	return 0
}

// find returns the index of key's entry, and makes it the most recently used. A new entry is full.
func (s *shard) find(key []byte, now int64) int32 {
	i, known := s.index[string(key)]
	switch {
	case known:
		s.unlink(i)
	case len(s.entries) < s.max:
		i = int32(len(s.entries))
		s.entries = append(s.entries, bucket{})
	default:
		i = s.last
		s.unlink(i)
		delete(s.index, s.entries[i].key)
	}
	if !known {
		owned := string(key)
		s.entries[i].key, s.entries[i].full = owned, now
		s.index[owned] = i
	}
	s.pushFirst(i)
	return i
}

func (s *shard) unlink(i int32) {
	e := &s.entries[i]
	if e.prev >= 0 {
		s.entries[e.prev].next = e.next
	} else {
		s.first = e.next
	}
	if e.next >= 0 {
		s.entries[e.next].prev = e.prev
	} else {
		s.last = e.prev
	}
}

func (s *shard) pushFirst(i int32) {
	e := &s.entries[i]
	e.prev, e.next = -1, s.first
	if s.first >= 0 {
		s.entries[s.first].prev = i
	} else {
		s.last = i
	}
	s.first = i
}
