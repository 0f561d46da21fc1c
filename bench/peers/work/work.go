// Package work is what every Go peer answers and computes alike: the bodies of the plain routes, and a measured amount
// of computation in place of a handler's own millisecond.
//
// It refuses to know any server. Everything is safe for concurrent use.
package work

import (
	"math"
	"time"
)

// Plaintext is the body of GET /plaintext.
const Plaintext = "Hello, World!"

// Message is the body of GET /json, encoded by each peer with its own idiom: {"message":"Hello, World!"}.
type Message struct {
	Message string `json:"message"`
}

// JSON is the encoded Message, 27 bytes, which every peer's encoder must produce.
const JSON = `{"message":"Hello, World!"}`

// Done is the body of GET /work and of GET /hold.
const Done = "done"

// Calls is how many backend calls GET /work makes, one after the other.
const Calls = 3

// SleepMax is how long GET /sleep waits before it answers: longer than any measurement of parked requests.
const SleepMax = 30 * time.Second

// HoldMillis is how many milliseconds of computation GET /hold takes; GET /work takes one.
const HoldMillis = 20

// Burn computes for the given number of rounds and returns the result, which the caller must use. A fixed amount of
// computation, not a fixed time: a server that is short of CPU must not get away with less of it.
//
//go:noinline
func Burn(rounds int) uint64 {
	x := uint64(0x9E3779B97F4A7C15)
	for range rounds {
		x ^= x >> 12
		x ^= x << 25
		x ^= x >> 27
		x *= 0x2545F4914F6CDD1D
	}
	return x
}

// RoundsPerMilli measures how many rounds take one millisecond on this machine when nothing else runs: the fastest of
// many tries, so that a busy machine does not make the work smaller. It takes about 60 ms.
func RoundsPerMilli() int {
	const rounds = 200_000
	best := time.Duration(math.MaxInt64)
	for start := time.Now(); time.Since(start) < 60*time.Millisecond; {
		t := time.Now()
		if Burn(rounds) == 0 {
			return 1
		}
		best = min(best, time.Since(t))
	}
	return int(rounds * int64(time.Millisecond) / int64(best))
}
