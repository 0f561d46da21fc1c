// This file owns shedding: which part of the requests is refused while loops cannot keep up. What each of them costs is not its
// business, nor who they come from.

package middleware

import (
	"math"
	"sync"
	"time"

	"tafe/app"
	"tafe/loop"
)

// ShedOptions say when a loop has more to do than it can. Zero fields take the defaults.
type ShedOptions struct {
	// LagMax is how long what comes to a loop may wait for it, in each of the samples that begin within a tenth of a second, three
	// at least, before the loop sheds; default 20 ms. One handler that overruns makes one sample late, not three.
	LagMax time.Duration
}

const (
	shedEvery    = 10 * time.Millisecond
	shedPeriod   = 100 * time.Millisecond // at least
	shedSamples  = 3                      // at least, in a period: a late loop takes few
	shedAdmitMin = 0.02                   // of all requests: what is left to notice that the time has come to admit more
	shedLess     = 0.7                    // of what was admitted is, for each shedPeriod of a late period,
	shedLeast    = 0.25                   // but not less after one of them
	shedMore     = 0.05                   // of all are admitted in addition, after a good one
)

// Shed refuses requests before their loop spends time on them, with 503 and Retry-After: 1, as long as it has a standing queue. Every
// 10 ms the loop sends itself a call by the way that requests come; when for a tenth of a second even the fastest was under way for
// more than LagMax (the rule of CoDel, RFC 8289 section 3), it admits 30% less, until it is in time again; from then on it admits a
// twentieth of all more with every tenth of a second. What is admitted is answered in time, and the loop is kept busy.
//
// Each loop sheds for itself. Waiting for upstreams does not make a loop late: for that there is Concurrency.
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
			if c.Loop().RequestContext() != nil { // it has nothing to do but this request
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

// valve is for its loop's goroutine.
type valve struct {
	loop   *loop.Loop
	lagMax time.Duration
	timer  loop.Timer
	due    int64 // loop clock: when the call was to be sent
	call   func()
	busy   bool // a sample is being taken or waited for
	used   bool // since the last sample

	admit  float64 // the part that is let in
	credit float64 // of a request
	least  time.Duration
	n      int           // samples in this period
	took   time.Duration // they, together
}

func newValve(l *loop.Loop, lagMax time.Duration) *valve {
	v := &valve{loop: l, lagMax: lagMax, admit: 1, least: never}
	v.call = v.end
	return v
}

// enter tells whether the next request, of the task t, is let in.
func (v *valve) enter(t *loop.Task) bool {
	defer t.Leave(t.Enter())
	v.used = true
	if !v.busy { // it rests while there is nothing to measure
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

// next begins a sample.
func (v *valve) next() {
	v.busy, v.used = true, false
	v.loop.AfterFunc(&v.timer, shedEvery, func(t *loop.Timer) {
		v.due = t.Due()
		v.busy = v.loop.PostUnbounded(v.call)
	})
}

// end ends it.
func (v *valve) end() {
	v.sample(time.Duration(v.loop.Clock() - v.due))
	if v.busy = false; v.used || v.admit < 1 {
		v.next()
	}
}

// sample enters one.
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
