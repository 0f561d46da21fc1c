// Package work has what every Go peer answers and computes alike: the bodies of the plain routes, and a measured amount
// of computation in place of a handler's own millisecond. Everything is safe for concurrent use.
package work

import (
	"errors"
	"fmt"
	"math"
	"strconv"
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

// Calls is the number of backend calls GET /work makes, one after the other.
const Calls = 3

// FanDeadline is when GET /fan answers with what it has: it asks N bidders in parallel, of which ?slow=1 makes one too
// slow.
const FanDeadline = 50 * time.Millisecond

// Fan reads the query of GET /fan and gives the bidders to ask, by the address of the delay backend.
func Fan(backend, n, slow string) ([]string, error) {
	count, err := strconv.Atoi(n)
	if err != nil || count < 1 || count > 100 {
		return nil, errors.New("n must be 1 to 100")
	}
	urls := make([]string, count)
	for i := range urls {
		urls[i] = "http://" + backend + "/delay"
	}
	if slow == "1" {
		urls[0] = "http://" + backend + "/slow"
	}
	return urls, nil
}

// FanDone is the body of GET /fan: how many of the bidders answered in time, always eight bytes.
func FanDone(answered, asked int) string { return fmt.Sprintf("%02d of %02d", answered, asked) }

// SleepMax is how long GET /sleep waits before it answers: longer than any measurement of parked requests.
const SleepMax = 30 * time.Second

// HoldMillis is the number of milliseconds of computation GET /hold takes; GET /work takes one.
const HoldMillis = 20

// Nap is how long GET /nap keeps its goroutine asleep, by a sleep that no event loop knows of.
const Nap = HoldMillis * time.Millisecond

// Light and Heavy are the rounds of GET /light, 50 us, and of GET /heavy, 3 ms.
func Light(roundsPerMilli int) int { return roundsPerMilli / 20 }
func Heavy(roundsPerMilli int) int { return 3 * roundsPerMilli }

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
