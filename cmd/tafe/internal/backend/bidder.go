// An HTTP bidder: its delay and its price.

package backend

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// DelayMax bounds the mean of a Delay, and each value drawn from it.
const DelayMax = 10 * time.Second

// Delay is the distribution of a bidder's response time: log-normal, with the given mean and standard deviation. With s =
// Deviation/Mean, the logarithm is normal with variance ln(1+s*s) and mean ln(Mean) - ln(1+s*s)/2. The median is
// Mean/sqrt(1+s*s): for 5 ms and 2 ms it is 4.6 ms, and one value in a thousand is above 15 ms. With Deviation 0 the delay is
// constant, with Mean 0 there is none. Values are cut at DelayMax.
type Delay struct {
	Mean      time.Duration
	Deviation time.Duration
}

// Check reports a mean or deviation out of bounds.
func (d Delay) Check() error {
	switch {
	case d.Mean < 0 || d.Mean > DelayMax:
		return fmt.Errorf("delay %v is not between 0 and %v", d.Mean, DelayMax)
	case d.Deviation < 0 || d.Deviation > DelayMax:
		return fmt.Errorf("jitter %v is not between 0 and %v", d.Deviation, DelayMax)
	}
	return nil
}

// draw converts a standard normal number to a delay.
func (d Delay) draw(normal float64) time.Duration {
	if d.Mean <= 0 {
		return 0
	}
	ratio := float64(d.Deviation) / float64(d.Mean)
	variance := math.Log1p(ratio * ratio)
	nanoseconds := math.Exp(math.Log(float64(d.Mean)) - variance/2 + math.Sqrt(variance)*normal)
	return time.Duration(min(nanoseconds, float64(DelayMax)))
}

// Bid is the response of a bidder.
type Bid struct {
	Bidder string  `json:"bidder"`
	Price  float64 `json:"price"` // in currency units, 0.01 to 10.00
}

// Bidder answers GET and POST /bid?user=ID with a Bid, after a delay. Its n-th request gets the n-th pair of delay and price of
// its seed: two bidders with the same name and seed give the same answers.
type Bidder struct {
	name  string
	delay Delay
	wait  func(r *http.Request, d time.Duration) error

	mu     sync.Mutex
	random *rand.Rand
}

// NewBidder returns a bidder under name. Delay must have passed Check.
func NewBidder(name string, delay Delay, seed uint64) *Bidder {
	// The name is part of the seed, so that bidders with one seed differ.
	salt := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		salt = (salt ^ uint64(c)) * 1099511628211
	}
	return &Bidder{name: name, delay: delay, wait: waitOrLeave, random: rand.New(rand.NewPCG(seed, salt))}
}

// ServeHTTP answers one request. It ends early when the client disconnects.
func (b *Bidder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/bid":
		http.NotFound(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	case r.URL.Query().Get("user") == "":
		http.Error(w, "no user", http.StatusBadRequest)
		return
	}
	delay, price := b.next()
	if b.wait(r, delay) != nil {
		return
	}
	body, err := json.Marshal(Bid{Bidder: b.name, Price: price})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

func (b *Bidder) next() (delay time.Duration, price float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.delay.draw(b.random.NormFloat64()), float64(1+b.random.IntN(1000)) / 100
}

func waitOrLeave(r *http.Request, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}
