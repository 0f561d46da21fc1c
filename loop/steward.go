package loop

// Steward: one goroutine that looks at the running slices. It hands loops over
// that a slice has held for too long, and calls what else has to look in time, such
// as a watchdog. It does not depend on the loops: it works while they are held.

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// HandoffTime is for how long a slice holds its loop before the loop is handed
// over, unless something else is said.
const HandoffTime = 2 * time.Millisecond

const (
	lookMin  = 50 * time.Microsecond
	lookBusy = time.Millisecond     // at a slice that may be handed over once somebody waits
	lookIdle = 5 * time.Millisecond // at a loop that quietMax looks have found idle
	quietMax = 20
	beatTime = time.Second // an idle loop turns at least so often

	stepMax = 10 * time.Millisecond // between any two looks

	offerPeriod = int64(6 * time.Millisecond) // see offerProcessor
	offerRest   = 50                          // times what the last offer took
)

// Visitor looks at something else in time. Its functions run on the steward's
// goroutine and must be quick.
type Visitor struct {
	// Look is called with the time, in ns on the StewardClock, and returns in how many
	// ns it wants to be called again.
	Look func(now int64) (next int64)
	// Woke, if not nil, is told after each sleep of the steward when it was to end and
	// when it did.
	Woke func(due, woke int64)
}

// visit is a Visitor and when it is due.
type visit struct {
	Visitor
	mu   sync.Mutex // while it runs
	gone bool
	due  int64
}

// Steward watches loops. Its methods may be called by any goroutine.
type Steward struct {
	mu       sync.Mutex
	begun    bool
	loops    atomic.Pointer[[]*ward]
	visits   atomic.Pointer[[]*visit]
	stopping atomic.Bool
	stopped  chan struct{}

	nap     func(d int64) // sleeps d ns
	offerAt int64         // the steward's own
}

// ward is a loop as its steward sees it. Its fields are the steward's own.
type ward struct {
	mu     sync.Mutex // while the steward looks
	gone   bool
	beatAt int64 // loop clock: when to have the loop turn if it is idle
	loop   *Loop
	owner  Owner
	quiet  int // looks that found no slice
}

// NewSteward makes a steward that does nothing until Start.
func NewSteward() *Steward {
	s := &Steward{stopped: make(chan struct{}), nap: nap}
	s.loops.Store(&[]*ward{})
	s.visits.Store(&[]*visit{})
	return s
}

// Watch adds a loop. handoff is for how long a slice may hold it while others
// wait; 0 or less, or a Driver that is no Owner: it is never taken.
func (s *Steward) Watch(l *Loop, handoff time.Duration) {
	owner, ok := l.driver.(Owner)
	if !ok {
		handoff = 0
	}
	l.handoff.Store(max(int64(handoff), 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	loops := append(slices.Clone(*s.loops.Load()), &ward{loop: l, owner: owner})
	s.loops.Store(&loops)
}

// Forget removes a loop. When it returns the steward does not touch it any more.
func (s *Steward) Forget(l *Loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var loops []*ward
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

// Visit adds a visitor. leave removes it, and returns when it does not run any
// more; it must not be called by the visitor.
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

// look calls the visitor if it is due, and returns in how many ns it is again.
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

// Start begins to watch; a second call does nothing.
func (s *Steward) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		s.begun = true
		go s.run()
	}
}

// Stop ends watching and returns when the last look is over.
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

// StewardClock is the clock of visitors: monotonic ns, never 0.
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

// sleep sleeps d ns and tells the visitors by how much it was more.
func (s *Steward) sleep(d int64) {
	due := StewardClock() + d
	s.offerProcessor()
	s.nap(due - StewardClock())
	woke := StewardClock()
	for _, v := range *s.visits.Load() {
		v.woke(due, woke)
	}
}

// offerProcessor lets the runtime's scheduler run. To the runtime a goroutine that
// makes nothing but system calls seems to compute: after 10 ms it would take the P,
// and its monitor thread would then wake every 20 us for some milliseconds. While
// the collector's workers have all Ps the way back is long, and worth more.
func (s *Steward) offerProcessor() {
	now := StewardClock()
	if now < s.offerAt {
		return
	}
	runtime.Gosched()
	s.offerAt = now + max(offerPeriod, offerRest*(StewardClock()-now))
}

// nap sleeps in the kernel, which wakes the thread directly: a sleep of the Go
// runtime ends when a P is free. See docs/decisions/007.
func nap(d int64) {
	ts := unix.NsecToTimespec(max(d, 0))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
}

// look looks at the loop and returns in how many ns to look again.
func (w *ward) look() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return int64(lookIdle)
	}
	return w.lookAtSlice()
}

// beat has a loop turn that has not for beatTime: see LoopView.TurnedAt.
func (w *ward) beat() {
	now := w.loop.driver.Now()
	if now < w.beatAt {
		return
	}
	idle := now - w.loop.Observe().TurnedAt()
	if idle >= int64(beatTime) {
		w.loop.driver.Wake()
		idle = 0
	}
	w.beatAt = now + int64(beatTime) - idle
}

// lookAtSlice looks at the running slice and returns in how many ns to look again. A
// slice that begins right after a look is seen at the latest when it is to be
// handed over, except the first one of a loop that was idle for some time.
func (w *ward) lookAtSlice() int64 {
	if w.owner == nil {
		w.beat()
		return int64(lookIdle)
	}
	period := int64(HandoffTime) // some task may have a time of its own
	if handoff := w.loop.handoff.Load(); handoff > 0 {
		period = min(handoff, int64(lookIdle))
	}
	since, t, ok := w.loop.slice.Load()
	if !ok {
		w.beat()
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
		w.owner.HandOver()
		return period
	}
	return min(period, int64(lookBusy)) // somebody may come to wait
}
