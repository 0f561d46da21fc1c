// The items of the store: limits, expiry, and the effect of each operation. The protocol is in protocol.go.

package backend

import (
	"errors"
	"strconv"
	"sync"
	"time"
)

// Limits of the store. They are those of memcached, except for the count.
const (
	keyBytesMax   = 250
	valueBytesMax = 1 << 20
	itemsMax      = 100_000
	storeBytesMax = 256 << 20
)

// relativeExpiryMax follows memcached: an expiry of up to thirty days is relative to now, a larger one is a Unix time.
const relativeExpiryMax = 60 * 60 * 24 * 30

var (
	errNotFound   = errors.New("no such item")
	errExists     = errors.New("the item has changed since it was read")
	errNotStored  = errors.New("the condition of the operation does not hold")
	errFull       = errors.New("out of memory storing object")
	errNotNumeric = errors.New("cannot increment or decrement non-numeric value")
	errTooLarge   = errors.New("object too large for cache")
)

type item struct {
	value   []byte // never written to once stored, so that a reader may keep it without the lock
	flags   uint32
	unique  uint64    // changes with each store: what gets answers and cas compares
	expires time.Time // zero: never
}

// Store holds items by key. It is safe for concurrent use.
type Store struct {
	now func() time.Time

	mu     sync.Mutex
	items  map[string]item
	bytes  int
	unique uint64
}

// NewStore returns an empty store. Items expire by clock; nil means time.Now.
func NewStore(clock func() time.Time) *Store {
	if clock == nil {
		clock = time.Now
	}
	return &Store{now: clock, items: make(map[string]item)}
}

// Set stores value under key without expiry, as `set key 0 0` does. It keeps value: the caller must not write to it afterwards.
func (s *Store) Set(key string, value []byte) error {
	return s.putItem("set", key, item{value: value}, 0, 0)
}

func (s *Store) get(key string) (item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live(key)
}

// live returns the item under key. It deletes an expired one. s.mu is held.
func (s *Store) live(key string) (item, bool) {
	it, ok := s.items[key]
	if ok && !it.expires.IsZero() && !s.now().Before(it.expires) {
		s.deleteItem(key, it)
		return item{}, false
	}
	return it, ok
}

func (s *Store) deleteItem(key string, it item) {
	delete(s.items, key)
	s.bytes -= len(key) + len(it.value)
}

// putItem executes the storage commands of the protocol; unique is used by cas only.
func (s *Store) putItem(verb, key string, it item, expiry int64, unique uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.live(key)
	switch verb {
	case "set":
	case "add":
		if exists {
			return errNotStored
		}
	case "replace", "append", "prepend":
		if !exists {
			return errNotStored
		}
	case "cas":
		if !exists {
			return errNotFound
		}
		if old.unique != unique {
			return errExists
		}
	}
	it.expires = s.deadline(expiry)
	switch verb {
	case "append":
		it = item{value: join(old.value, it.value), flags: old.flags, expires: old.expires}
	case "prepend":
		it = item{value: join(it.value, old.value), flags: old.flags, expires: old.expires}
	}
	return s.store(key, it, old, exists)
}

// store replaces old with it, within the limits. s.mu is held.
func (s *Store) store(key string, it, old item, exists bool) error {
	if len(it.value) > valueBytesMax {
		return errTooLarge
	}
	grown := len(it.value) - len(old.value)
	if !exists {
		grown += len(key)
	}
	if !exists && len(s.items) >= itemsMax || s.bytes+grown > storeBytesMax {
		return errFull
	}
	s.unique++
	it.unique = s.unique
	s.items[key] = it
	s.bytes += grown
	return nil
}

func (s *Store) remove(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.live(key)
	if !ok {
		return errNotFound
	}
	s.deleteItem(key, it)
	return nil
}

// touch sets the expiry of the item under key, and returns the item.
func (s *Store) touch(key string, expiry int64) (item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.live(key)
	if !ok {
		return item{}, errNotFound
	}
	it.expires = s.deadline(expiry)
	s.items[key] = it
	return it, nil
}

// count adds delta to the decimal number under key, or subtracts it. As in memcached, addition wraps at 64 bits and subtraction
// stops at zero.
func (s *Store) count(key string, delta uint64, down bool) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.live(key)
	if !ok {
		return 0, errNotFound
	}
	number, err := strconv.ParseUint(string(old.value), 10, 64)
	if err != nil {
		return 0, errNotNumeric
	}
	switch {
	case !down:
		number += delta
	case delta > number:
		number = 0
	default:
		number -= delta
	}
	it := old
	it.value = strconv.AppendUint(nil, number, 10)
	return number, s.store(key, it, old, true)
}

func (s *Store) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.items)
	s.bytes = 0
}

// deadline converts the expiry of the protocol to a time: 0 is never, a negative one has passed.
func (s *Store) deadline(expiry int64) time.Time {
	switch {
	case expiry == 0:
		return time.Time{}
	case expiry < 0:
		return s.now()
	case expiry <= relativeExpiryMax:
		return s.now().Add(time.Duration(expiry) * time.Second)
	default:
		return time.Unix(expiry, 0)
	}
}

func join(a, b []byte) []byte {
	return append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
}
