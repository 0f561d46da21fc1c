// This file owns a token bucket per client, in bounded memory. Whom a bucket belongs to is the caller's to say, and what other servers
// have let through is for those who keep it.

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

// RateOptions describe the buckets: each holds Burst tokens, gains Rate of them a second, and pays one per request.
type RateOptions struct {
	Rate  float64 // tokens per second, above 0 and at most 1e9
	Burst int     // tokens a full bucket holds, above 0
	// Keys bounds how many buckets are kept; default 65536, some 100 bytes each. Beyond it the one that was not used
	// for longest is forgotten, and full again if its client comes back.
	Keys int
	// Key says whose bucket pays, in at most 256 bytes of which the rest does not count; "" is not limited. Default:
	// app.Context.ClientIP, of IPv6 the first 64 bits, since that is what one customer is given.
	Key func(c *app.Context) string
	// Shared, if not nil, holds the buckets of all servers together. It is asked for what the local bucket lets through, so that a
	// flood from one client stays here.
	Shared SharedBuckets
	// FailClosed answers 503 to requests for which Shared has an error. Without it, the local bucket decides alone.
	FailClosed bool
}

// SharedBuckets are buckets of the same rate and burst elsewhere, as those of package redislimit.
type SharedBuckets interface {
	// Take takes a token from the bucket of key and returns 0, or the time until there will be one. It may wait for the answer.
	Take(c *app.Context, key []byte) (wait time.Duration, err error)
}

const (
	rateShards      = 32 // so that loops seldom wait for each other
	rateKeyBytesMax = 256
)

// RateLimit answers 429 with Retry-After to requests whose bucket is empty. All loops share the buckets. It panics on
// a rate or burst out of bounds.
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
			wait := b.take(key, int64(time.Since(base)))
			if wait == 0 && o.Shared != nil {
				shared, err := o.Shared.Take(c, bytes.Clone(key)) // so that key need not be on the heap for those without it
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

// key is where the bucket of c is found, in space; limited is false if none pays.
func (o *RateOptions) key(c *app.Context, space *[rateKeyBytesMax]byte) (key []byte, limited bool) {
	if o.Key == nil {
		return appendAddress(space[:0], c.ClientIP()), true
	}
	own := o.Key(c)
	return append(space[:0], own[:min(len(own), rateKeyBytesMax)]...), own != ""
}

// appendAddress appends the 4 bytes of an IPv4 address, or the first 8 of an IPv6 one.
func appendAddress(b []byte, client string) []byte {
	address, err := netip.ParseAddr(client)
	if err != nil { // not an internet socket: all of them share a bucket
		return b
	}
	address = address.Unmap()
	bytes := address.As16()
	if address.Is4() {
		return append(b, bytes[12:]...)
	}
	return append(b, bytes[:8]...)
}

// buckets keeps them in shards, each with its own lock, which is held for a lookup and no longer.
type buckets struct {
	seed     maphash.Seed
	interval int64 // ns in which one token is gained
	depth    int64 // ns in which all are
	shards   [rateShards]shard
}

// shard is a map and a list in the order of use, most recent first, in one array that never grows beyond max.
type shard struct {
	mu          sync.Mutex
	index       map[string]int32
	entries     []bucket
	first, last int32
	max         int
	_           [64]byte // keeps neighbours' locks on other cache lines
}

// bucket is a token bucket as one number, the time at which it will be full again: it holds as many tokens as
// intervals fit between full and the time one whole depth from now (this is the virtual scheduling of ITU-T I.371).
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

// take takes a token from the bucket of key at the time now, in ns, and returns 0, or the ns until there will be one.
func (b *buckets) take(key []byte, now int64) (wait int64) {
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

// find returns the entry of key, now the most recently used; a new one is full.
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
