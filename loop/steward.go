// Steward: it looks at the running slices, hands loops over that a slice has held for too
// long, wakes idle loops once a second, and calls Visitors such as a watchdog. It runs on its
// own goroutine, so it works while every loop is held.

package loop

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// HandoffTime is the default time for which a slice may hold its loop while others wait.
const HandoffTime = 2 * time.Millisecond

const (
	lookMin     = 50 * time.Microsecond
	lookBusy    = time.Millisecond     // when a slice is past its handoff time but nothing waits
	lookIdle    = 5 * time.Millisecond // after more than quietMax idle looks in a row
	quietMax    = 20
	idleTurnMax = time.Second // an idle loop turns at least this often

	stepMax = 10 * time.Millisecond // between any two looks

	offerPeriod = int64(6 * time.Millisecond) // see offerProcessor
	offerRest   = 50                          // at least so many times the length of the last offer
)

// Visitor has functions that a Steward calls at due times. They run on the steward's
// goroutine and must be quick.
type Visitor struct {
	// Look gets the time on the StewardClock, ns, and returns in how many ns it is to be
	// called again.
	Look func(now int64) (next int64)
	// Woke, if not nil, is called after each sleep of the steward. due is the planned
	// wake-up time, woke the actual one (StewardClock, ns).
	Woke func(due, woke int64)
}

// visit is a Visitor and its next call.
type visit struct {
	Visitor
	mu   sync.Mutex // held while it runs
	gone bool
	due  int64
}

// Steward watches the running slices of loops, hands loops over and calls Visitors. Any
// goroutine.
type Steward struct {
	mu       sync.Mutex
	begun    bool
	loops    atomic.Pointer[[]*stewardLoop]
	visits   atomic.Pointer[[]*visit]
	stopping atomic.Bool
	stopped  chan struct{}

	nap     func(d int64) // sleeps d ns; a field for tests
	offerAt int64         // the steward's own
}

// stewardLoop is a steward's record of a loop. Only the steward's goroutine uses its fields.
type stewardLoop struct {
	mu         sync.Mutex // held while the steward looks
	gone       bool
	idleTurnAt int64 // loop clock: next check for an idle loop
	loop       *Loop
	owner      HandoffDriver
	quiet      int // looks that found no slice
}

// NewSteward returns a Steward, which does nothing until Start.
func NewSteward() *Steward {
	s := &Steward{stopped: make(chan struct{}), nap: nap}
	s.loops.Store(&[]*stewardLoop{})
	s.visits.Store(&[]*visit{})
	return s
}

// Watch adds a loop. handoff is the time for which a slice may hold it while others wait; 0
// or less means without limit. Task.SetHandoff takes precedence for its task, also if
// handoff is 0. A loop whose Driver is not a HandoffDriver is never taken.
func (s *Steward) Watch(l *Loop, handoff time.Duration) {
	owner, ok := l.driver.(HandoffDriver)
	if !ok {
		handoff = 0
	}
	l.handoff.Store(max(int64(handoff), 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	loops := append(slices.Clone(*s.loops.Load()), &stewardLoop{loop: l, owner: owner})
	s.loops.Store(&loops)
}

// Forget removes a loop. The steward does not use the loop after Forget has returned.
func (s *Steward) Forget(l *Loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var loops []*stewardLoop
	for _, w := range *s.loops.Load() {
		if w.loop != l {
			loops = append(loops, w)
			continue
		}
		w.mu.Lock()
		w.gone = true
		l.handoff.Store(0)
		w.mu.Unlock()
	}
	s.loops.Store(&loops)
}

// Visit adds a Visitor. leave removes it and waits until it does not run. The Visitor must
// not call leave.
func (s *Steward) Visit(visitor Visitor) (leave func()) {
	v := &visit{Visitor: visitor}
	s.mu.Lock()
	defer s.mu.Unlock()
	visits := append(slices.Clone(*s.visits.Load()), v)
	s.visits.Store(&visits)
	return func() {
		s.mu.Lock()
		visits := slices.DeleteFunc(slices.Clone(*s.visits.Load()), func(o *visit) bool { return o == v })
		s.visits.Store(&visits)
		s.mu.Unlock()
		v.mu.Lock()
		defer v.mu.Unlock()
		v.gone = true
	}
}

// look calls the Visitor if it is due and returns in how many ns it is due next.
func (v *visit) look(now int64) int64 {
	if now < v.due {
		return v.due - now
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone {
		return math.MaxInt64
	}
	next := v.Look(now)
	v.due = now + min(next, int64(time.Hour))
	return next
}

func (v *visit) woke(due, woke int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.gone && v.Woke != nil {
		v.Woke(due, woke)
	}
}

// Start starts the steward. A second call does nothing.
func (s *Steward) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		s.begun = true
		go s.run()
	}
}

// Stop ends the steward and waits for its last look.
func (s *Steward) Stop() {
	s.mu.Lock()
	begun := s.begun
	s.begun = true // and never again
	s.mu.Unlock()
	if begun {
		s.stopping.Store(true)
		<-s.stopped
	}
}

var processStart = time.Now().Add(-time.Second)

// StewardClock returns the time for Visitors, in monotonic ns, never 0.
func StewardClock() int64 { return int64(time.Since(processStart)) }

func (s *Steward) run() {
	defer close(s.stopped)
	for !s.stopping.Load() {
		next := int64(math.MaxInt64)
		for _, w := range *s.loops.Load() {
			next = min(next, w.look())
		}
		now := StewardClock()
		for _, v := range *s.visits.Load() {
			next = min(next, v.look(now))
		}
		s.sleep(min(max(next, int64(lookMin)), int64(stepMax)))
	}
}

// sleep sleeps d ns and reports the sleep to the Visitors.
func (s *Steward) sleep(d int64) {
	due := StewardClock() + d
	s.offerProcessor()
	s.nap(due - StewardClock())
	woke := StewardClock()
	for _, v := range *s.visits.Load() {
		v.woke(due, woke)
	}
}

// offerProcessor yields to the runtime's scheduler. The runtime takes a goroutine that only
// makes system calls for one that computes. After 10 ms it would retake its P, and its
// monitor thread would then wake every 20 us for some milliseconds. While the collector's
// workers have all Ps a yield takes long, so the next one comes later.
func (s *Steward) offerProcessor() {
	now := StewardClock()
	if now < s.offerAt {
		return
	}
	runtime.Gosched()
	s.offerAt = now + max(offerPeriod, offerRest*(StewardClock()-now))
}

// nap sleeps in the kernel, which wakes the thread directly. A sleep of the Go runtime ends
// only when a P is free. See docs/decisions/007.
func nap(d int64) {
	ts := unix.NsecToTimespec(max(d, 0))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
}

// look looks at the loop and returns in how many ns to look again.
func (w *stewardLoop) look() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return int64(lookIdle)
	}
	return w.lookAtSlice()
}

// turnIfIdle makes the loop turn if it has not done so for idleTurnMax; see
// LoopView.TurnedAt.
func (w *stewardLoop) turnIfIdle() {
	now := w.loop.driver.Now()
	if now < w.idleTurnAt {
		return
	}
	idle := now - w.loop.Observe().TurnedAt()
	if idle >= int64(idleTurnMax) {
		w.loop.driver.Wake()
		idle = 0
	}
	w.idleTurnAt = now + int64(idleTurnMax) - idle
}

// lookAtSlice looks at the running slice and returns in how many ns to look again. The next
// look comes before a slice that begins now can exceed the loop's handoff time, except on a
// loop that has been idle for some time.
func (w *stewardLoop) lookAtSlice() int64 {
	if w.owner == nil {
		w.turnIfIdle()
		return int64(lookIdle)
	}
	period := int64(HandoffTime) // tasks may have a time of their own
	if handoff := w.loop.handoff.Load(); handoff > 0 {
		period = min(handoff, int64(lookIdle))
	}
	since, t, ok := w.loop.slice.Load()
	if !ok {
		w.turnIfIdle()
		if w.quiet++; w.quiet > quietMax {
			return int64(lookIdle)
		}
		return period
	}
	w.quiet = 0
	handoff := t.handoffTime()
	if handoff == 0 {
		return period
	}
	held := w.loop.driver.Now() - since
	if held < handoff {
		return min(handoff-held, period)
	}
	if w.loop.Drive().TakeFrom(since, t, false) {
		w.owner.HandOff()
		return period
	}
	return min(period, int64(lookBusy)) // work may come to wait
}
