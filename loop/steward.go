package loop

// Steward: one OS thread that looks at the running slices. It hands loops over
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
	lookBusy = time.Millisecond // between looks while slices run
	lookIdle = 5 * time.Millisecond
)

// Owner is a Driver whose loop can be taken. HandOver has another goroutine call
// Loop.Adopt, soon. Any goroutine.
type Owner interface{ HandOver() }

// Visitor looks at something at a given time (ns on the steward's clock) and
// returns in how many ns it wants to look again, at the latest.
type Visitor func(now int64) (next int64)

// Steward watches loops. Its methods may be called by any goroutine.
type Steward struct {
	mu       sync.Mutex
	begun    bool
	loops    atomic.Pointer[[]*ward]
	visitors atomic.Pointer[[]Visitor]
	stopping atomic.Bool
	stopped  chan struct{}
	lateness atomic.Pointer[func(due, woke int64)]
}

// ward is a loop as its steward sees it. Its fields are the steward's own.
type ward struct {
	loop    *Loop
	owner   Owner
	handoff int64 // ns; 0: never
	since   int64 // of the slice at the last look
	quiet   int   // looks that found no slice
}

// NewSteward makes a steward that does nothing until Start.
func NewSteward() *Steward {
	s := &Steward{stopped: make(chan struct{})}
	s.loops.Store(&[]*ward{})
	s.visitors.Store(&[]Visitor{})
	return s
}

// Watch adds a loop. handoff is for how long a slice may hold it while others
// wait; 0 or less, or a Driver that is no Owner: it is never taken.
func (s *Steward) Watch(l *Loop, handoff time.Duration) {
	owner, ok := l.driver.(Owner)
	if !ok {
		handoff = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	loops := append(slices.Clone(*s.loops.Load()), &ward{loop: l, owner: owner, handoff: max(int64(handoff), 0)})
	s.loops.Store(&loops)
}

// Forget removes a loop.
func (s *Steward) Forget(l *Loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	loops := slices.DeleteFunc(slices.Clone(*s.loops.Load()), func(w *ward) bool { return w.loop == l })
	s.loops.Store(&loops)
}

// Visit adds a visitor, which runs on the steward's thread and must be quick.
func (s *Steward) Visit(v Visitor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	visitors := append(slices.Clone(*s.visitors.Load()), v)
	s.visitors.Store(&visitors)
}

// OnWake has f called after each sleep with the time at which it was to end and
// that at which it did (ns on the steward's clock), on the steward's thread.
func (s *Steward) OnWake(f func(due, woke int64)) { s.lateness.Store(&f) }

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

var processStart = time.Now()

// StewardClock is the clock of visitors: monotonic ns.
func StewardClock() int64 { return int64(time.Since(processStart)) }

func (s *Steward) run() {
	runtime.LockOSThread() // and the thread ends with this goroutine
	defer close(s.stopped)
	for !s.stopping.Load() {
		next := int64(math.MaxInt64)
		for _, w := range *s.loops.Load() {
			next = min(next, w.look())
		}
		now := StewardClock()
		for _, visit := range *s.visitors.Load() {
			next = min(next, visit(now))
		}
		s.sleep(min(max(next, int64(lookMin)), int64(lookIdle)))
	}
}

// sleep sleeps d ns: in the kernel, on the steward's own thread, which needs no
// timer of the Go scheduler. See docs/decisions/007.
func (s *Steward) sleep(d int64) {
	due := StewardClock() + d
	ts := unix.NsecToTimespec(d)
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
	if f := s.lateness.Load(); f != nil {
		(*f)(due, StewardClock())
	}
}

// look looks at the running slice and returns in how many ns to look again.
func (w *ward) look() int64 {
	since, t, ok := w.loop.slice.Load()
	if !ok {
		if w.quiet++; w.quiet > 20 {
			return int64(lookIdle)
		}
		return int64(lookBusy)
	}
	w.quiet = 0
	handoff := w.handoff
	if d := t.label.handoff.Load(); d != 0 {
		handoff = max(d, 0)
	}
	if handoff == 0 {
		return int64(lookBusy)
	}
	held := w.loop.driver.Now() - since
	if held < handoff {
		return min(handoff-held, int64(lookBusy))
	}
	if w.loop.Take(since, t, false) {
		w.owner.HandOver()
	}
	return int64(lookBusy)
}
