// The observer of one loop. It receives every slice end, counts it, adds it to the flight recorder
// and records overruns. probe.go is the sampler's view of the same loop.

package watchdog

import (
	"sync"
	"sync/atomic"
	"time"

	"tafe/loop"
)

const endedMax = 256 // ended overruns queued for the sampler

// watchedLoop implements loop.LateObserver and loop.ReleaseObserver.
type watchedLoop struct {
	loop     *loop.Loop
	watchdog *Watchdog
	// passive: the loop does not report to it, and its clock may not be real time.
	passive bool
	// loopBudget is the slice budget in the loop's limits; common is the one used here.
	loopBudget, common time.Duration

	// Written by the loop's goroutine, read by others word by word.
	runs   *recorder
	routes routeTable
	// lastEnd is the end of the last overrun. Tasks that became ready later are not victims.
	lastEnd atomic.Int64
	// heldByCallback is the start of a callback that was reported as an overrun and is not
	// known to have ended, or 0.
	heldByCallback  atomic.Int64
	loopInstruments instruments // for the loop's goroutine

	// Used by the sampler only.
	released []*probe // of released code
	current  probe
	past     [4]probe // recent ones that came near their budget
	pastAt   int
	base     reading // the latest
	written  uint64  // slices recorded at the time of base
	carrier  int     // thread that last ran the loop
	closing  []closing

	mu          sync.Mutex              // guards the fields down to dropped
	beside      map[*loop.Task]*release // released code that has not returned
	newReleases []*release              // queued for the sampler
	adopted     reading                 // of the thread of the latest handoff, taken then
	tracks      *recorder               // released code, from handoff to return
	ledger      ledger
	ids         [8]assignedID // ids of recent overruns
	idAt        int
	ended       []ended
	dropped     uint64

	returnMu          sync.Mutex  // guards returnInstruments
	returnInstruments instruments // used by the goroutines of released tasks
}

// assignedID is the id of the overrun of a slice. The loop and the sampler both look it up; the
// first one to see the overrun assigns it.
type assignedID struct {
	since int64
	id    uint64
}

// ended is the data that the loop records when an overrun ends.
type ended struct {
	entry       *ledgerEntry
	release     *release // nil if the loop was not handed over
	description loop.Description
	budget      int64
	asked       uint64
	callback    bool
	last        reading
}

func newWatchedLoop(w *Watchdog, l *loop.Loop) *watchedLoop {
	ln := &watchedLoop{loop: l, watchdog: w, runs: newRecorder(w.config.RecorderSlices), loopInstruments: newInstruments(),
		beside: map[*loop.Task]*release{}, returnInstruments: newInstruments(), tracks: newRecorder(1)}
	ln.loopBudget = l.Limits().SliceBudget
	ln.common = ln.loopBudget
	if w.config.Budget > 0 {
		ln.common = w.config.Budget
	}
	return ln
}

// budget returns the budget of a slice of t. A nil t stands for a callback.
func (ln *watchedLoop) budget(t *loop.Task) time.Duration {
	if t != nil {
		if b := t.Budget(); b != ln.loopBudget {
			return b // set for the task
		}
	}
	return ln.common
}

// SliceEnd is called at the end of every slice (BenchmarkSliceEnd).
func (ln *watchedLoop) SliceEnd(_ *loop.Loop, t *loop.Task, ready, start, end int64) {
	ln.count(t, ready, start, end)
	if end-start >= int64(ln.budget(t)) {
		ln.overran(t, start, end)
	}
	if len(ln.ledger.unnamed) > 0 { // only the loop's goroutine changes it
		ln.mu.Lock()
		ln.ledger.name(t)
		ln.mu.Unlock()
	}
}

func (ln *watchedLoop) count(t *loop.Task, ready, start, end int64) {
	route := t.Observe().RoutePattern()
	ln.routes.observe(route, time.Duration(end-start))
	ln.runs.add(start, end, ready, t.ID(), route)
}

// SliceLate charges the time that a task waited for the loop to the overruns of that time.
func (ln *watchedLoop) SliceLate(_ *loop.Loop, t *loop.Task, ready, start int64) {
	held := ln.heldByCallback.Load()
	if ready >= ln.lastEnd.Load() && held == 0 {
		return
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if held != 0 && ln.heldByCallback.CompareAndSwap(held, 0) {
		ln.endCallback(held, start)
	}
	ln.ledger.charge(t, ready, start, t.Observe().ReadyEstimated())
}

// overran records a slice that exceeded its budget, at its end, on the loop's goroutine.
func (ln *watchedLoop) overran(t *loop.Task, start, end int64) {
	e := ended{description: t.Observe().Description(), budget: int64(ln.budget(t)), asked: t.Observe().YieldChecks(), last: ln.readHere(end)}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	e.entry = ln.ledger.open(ln.idFor(start), t.ID(), start, end)
	ln.lastEnd.Store(end)
	ln.queueEnded(e)
	ln.traceArrivals()
}

// endCallback records the end of a callback that held the loop. The end is the start of what ran
// next.
func (ln *watchedLoop) endCallback(since, end int64) {
	e := ended{budget: int64(ln.budget(nil)), callback: true}
	e.entry = ln.ledger.open(ln.idFor(-since), 0, since, end)
	ln.lastEnd.Store(end)
	ln.queueEnded(e)
	ln.traceArrivals()
}

// readHere takes a reading of the calling thread, on the loop's goroutine.
func (ln *watchedLoop) readHere(now int64) reading {
	r := ln.loopInstruments.read(now, threadID(), loop.StateUnknown)
	r.state = nil // it runs, so the kernel has accounted for all its waits
	return r
}

// queueEnded queues an ended overrun for the sampler, or counts it as dropped. ln.mu must be held.
func (ln *watchedLoop) queueEnded(e ended) {
	if len(ln.ended) >= endedMax {
		ln.dropped++
		return
	}
	ln.ended = append(ln.ended, e)
}

// idFor returns the overrun id of the slice that started at since, the same for the loop and the
// sampler. The start of a callback is negative, as in loop.Slice. ln.mu must be held.
func (ln *watchedLoop) idFor(since int64) uint64 {
	for _, s := range ln.ids {
		if s.since == since {
			return s.id
		}
	}
	id := ln.watchdog.lastID.Add(1)
	ln.ids[ln.idAt] = assignedID{since, id}
	ln.idAt = (ln.idAt + 1) % len(ln.ids)
	return id
}
