package watchdog

// A lane is a loop's side of the watchdog: it is told of every slice, counts
// it, keeps it in the flight recorder, and takes notice of the long ones.

import (
	"sync"
	"sync/atomic"
	"time"

	"tafe/loop"
)

const endedMax = 256 // overruns that wait for the sampler

// lane implements loop.LateObserver and loop.ReleaseObserver.
type lane struct {
	loop *loop.Loop
	dog  *Watchdog
	// passive: the loop does not report to it, and its clock may not be real.
	passive bool
	// What a slice may take by the loop's limits, and what it may take here.
	loopBudget, common time.Duration

	// The loop's own, read by others word by word.
	runs   *recorder
	routes routeTable
	// lastEnd is the end of the last overrun: who was ready later is no victim.
	lastEnd atomic.Int64
	// heldOutside is the start of a callback that was reported to hold the loop
	// and is not known to have ended; 0: none.
	heldOutside atomic.Int64
	own         instruments // for the loop's goroutine

	// The sampler's own.
	released []*pursuit // of slices whose loop was taken
	hunt     pursuit
	past     [4]pursuit // the ones before that came near their budget
	pastAt   int
	base     reading // the last
	written  uint64  // slices recorded at that time
	carrier  int     // the last thread that the loop was seen on
	closing  []closing

	mu      sync.Mutex
	beside  map[*loop.Task]*release // whose code has not returned
	news    []*release              // that the sampler has not taken yet
	adopted reading                 // of the thread that took the loop over last, at that time
	tracks  *recorder               // of released code: from when the loop was taken until it returned
	ledger  ledger
	ids     [8]started // overruns that have an id and have not ended
	idAt    int
	ended   []ended
	dropped uint64

	awayMu sync.Mutex
	away   instruments // for those who return
}

// started joins the two sides of an overrun: who sees it first numbers it.
type started struct {
	since int64
	id    uint64
}

// ended is what the loop tells of an overrun that is over.
type ended struct {
	entry       *entry
	release     *release // nil: the loop was not taken
	description loop.Description
	budget      int64
	asked       uint64
	outside     bool
	last        reading
}

func newLane(w *Watchdog, l *loop.Loop) *lane {
	ln := &lane{loop: l, dog: w, runs: newRecorder(w.config.RecorderRuns), own: newInstruments(),
		beside: map[*loop.Task]*release{}, away: newInstruments(), tracks: newRecorder(1)}
	ln.loopBudget = l.Limits().SliceBudget
	ln.common = ln.loopBudget
	if w.config.Budget > 0 {
		ln.common = w.config.Budget
	}
	return ln
}

// budget is what a slice of t may take; t may be nil.
func (ln *lane) budget(t *loop.Task) time.Duration {
	if t != nil {
		if b := t.Budget(); b != ln.loopBudget {
			return b // its own
		}
	}
	return ln.common
}

// SliceEnd is on the path of every slice (BenchmarkSliceEnd).
func (ln *lane) SliceEnd(_ *loop.Loop, t *loop.Task, ready, start, end int64) {
	ln.count(t, ready, start, end)
	if end-start >= int64(ln.budget(t)) {
		ln.overran(t, start, end)
	}
	if len(ln.ledger.fresh) > 0 { // only the loop's goroutine changes it
		ln.mu.Lock()
		ln.ledger.name(t)
		ln.mu.Unlock()
	}
}

func (ln *lane) count(t *loop.Task, ready, start, end int64) {
	route := t.Observe().RoutePattern()
	ln.routes.observe(route, time.Duration(end-start))
	ln.runs.add(start, end, ready, t.ID(), route)
}

// SliceLate charges what a task waited for the loop.
func (ln *lane) SliceLate(_ *loop.Loop, t *loop.Task, ready, start int64) {
	held := ln.heldOutside.Load()
	if ready >= ln.lastEnd.Load() && held == 0 {
		return
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if held != 0 && ln.heldOutside.CompareAndSwap(held, 0) {
		ln.endOutside(held, start)
	}
	ln.ledger.charge(t, ready, start, t.Observe().ReadyEstimated())
}

// overran takes notice of a slice beyond its budget, at its end, on the loop.
func (ln *lane) overran(t *loop.Task, start, end int64) {
	e := ended{description: t.Observe().Description(), budget: int64(ln.budget(t)), asked: t.Observe().YieldChecks(), last: ln.readHere(end)}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	e.entry = ln.ledger.open(ln.idFor(start), t.ID(), start, end)
	ln.lastEnd.Store(end)
	ln.handOver(e)
	ln.trace()
}

// endOutside closes a held callback at the start of what came after it.
func (ln *lane) endOutside(since, end int64) {
	e := ended{budget: int64(ln.budget(nil)), outside: true}
	e.entry = ln.ledger.open(ln.idFor(-since), 0, since, end)
	ln.lastEnd.Store(end)
	ln.handOver(e)
	ln.trace()
}

// readHere takes the loop's own readings, on the loop.
func (ln *lane) readHere(now int64) reading {
	r := ln.own.read(now, threadID(), loop.StateUnknown)
	r.state = nil // it runs: the kernel has accounted for all its waits
	return r
}

func (ln *lane) handOver(e ended) {
	if len(ln.ended) >= endedMax {
		ln.dropped++
		return
	}
	ln.ended = append(ln.ended, e)
}

// idFor numbers the slice that started at since, the same for both sides. A
// callback's start counts negative, as in loop.Slice.
func (ln *lane) idFor(since int64) uint64 {
	for _, s := range ln.ids {
		if s.since == since {
			return s.id
		}
	}
	id := ln.dog.lastID.Add(1)
	ln.ids[ln.idAt] = started{since, id}
	ln.idAt = (ln.idAt + 1) % len(ln.ids)
	return id
}

func durationOf(ns int64) time.Duration { return time.Duration(ns) }
