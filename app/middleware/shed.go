// Shed: load shedding by the queueing delay of each loop.

package middleware

import (
	"math"
	"sync"
	"time"

	"tafe/app"
	"tafe/loop"
)

// ShedOptions configures Shed. Zero fields take their defaults.
type ShedOptions struct {
	// LagMax is the queueing delay that makes a loop shed: if every sample of 100 ms, at least three, exceeds it. A single handler that
	// overruns makes one sample late, not three. Default 20 ms.
	LagMax time.Duration
}

const (
	shedEvery    = 10 * time.Millisecond
	shedPeriod   = 100 * time.Millisecond // minimum length of a period
	shedSamples  = 3                      // minimum number of samples in a period; an overloaded loop takes few
	shedAdmitMin = 0.02                   // minimum share of requests that is admitted, to notice the end of the overload
	shedLess     = 0.7                    // factor of the share for each shedPeriod of an overloaded period
	shedLeast    = 0.25                   // minimum factor for one period
	shedMore     = 0.05                   // added to the share after a normal period
)

// Shed answers 503 with Retry-After: 1 to a share of the requests while their loop has a standing queue. Every 10 ms it measures the queueing
// delay of the loop. If the lowest delay within 100 ms exceeds LagMax (the rule of CoDel, RFC 8289 section 3), it admits 30% less. Otherwise it
// admits 5% of all requests more for each 100 ms, until all are admitted again.
//
// Each loop has its own share. Waiting for upstreams does not delay a loop; see Concurrency for that. Shed panics if LagMax is negative.
func Shed(o ShedOptions) app.Middleware {
	if o.LagMax < 0 {
		panic("middleware: Shed: LagMax must not be negative")
	}
	if o.LagMax == 0 {
		o.LagMax = 20 * time.Millisecond
	}
	var valves sync.Map // *loop.Loop to *valve
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			if c.Loop().RequestContext() != nil { // the loop serves a single request
				return next(c)
			}
			v, ok := valves.Load(c.Loop())
			if !ok {
				v, _ = valves.LoadOrStore(c.Loop(), newValve(c.Loop(), o.LagMax))
			}
			if !v.(*valve).enter(c.Task()) {
				c.SetHeader("Retry-After", "1")
				return &app.HTTPError{Status: 503, Message: "the server is busy", Reason: "shed"}
			}
			return next(c)
		}
	}
}

const never = time.Duration(1<<63 - 1)

// valve sheds for one loop. It is for the loop's goroutine.
type valve struct {
	loop   *loop.Loop
	lagMax time.Duration
	timer  loop.Timer
	due    int64 // loop time at which the sample was due
	call   func()
	busy   bool // a sample is in progress
	used   bool // there were requests since the last sample

	admit  float64 // share of requests that is admitted
	credit float64 // accumulated share; 1 admits a request
	least  time.Duration
	n      int           // samples in the period
	took   time.Duration // their total duration
}

func newValve(l *loop.Loop, lagMax time.Duration) *valve {
	v := &valve{loop: l, lagMax: lagMax, admit: 1, least: never}
	v.call = v.end
	return v
}

// enter reports whether the request of task t is admitted.
func (v *valve) enter(t *loop.Task) bool {
	defer t.Leave(t.Enter())
	v.used = true
	if !v.busy { // sampling pauses without requests
		v.next()
	}
	if v.admit >= 1 {
		return true
	}
	if v.credit += v.admit; v.credit < 1 {
		return false
	}
	v.credit--
	return true
}

// next begins a sample. The delay includes that of the timer and that of a posted call.
func (v *valve) next() {
	v.busy, v.used = true, false
	v.loop.AfterFunc(&v.timer, shedEvery, func(t *loop.Timer) {
		v.due = t.Due()
		v.busy = v.loop.PostUnbounded(v.call)
	})
}

// end ends a sample.
func (v *valve) end() {
	v.sample(time.Duration(v.loop.Clock() - v.due))
	if v.busy = false; v.used || v.admit < 1 {
		v.next()
	}
}

// sample records a delay, and adjusts the admitted share at the end of a period.
func (v *valve) sample(lag time.Duration) {
	v.least = min(v.least, lag)
	v.n++
	if v.took += shedEvery + lag; v.n < shedSamples || v.took < shedPeriod {
		return
	}
	if v.least > v.lagMax {
		less := math.Pow(shedLess, float64(v.took)/float64(shedPeriod))
		v.admit = max(v.admit*max(less, shedLeast), shedAdmitMin)
	} else {
		v.admit = min(v.admit+shedMore, 1)
	}
	v.least, v.n, v.took = never, 0, 0
}
