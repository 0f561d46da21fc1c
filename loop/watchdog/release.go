// Code that runs on beside its loop after its slice was taken. The loop reports the handoff, and the
// thread that ran the code reports its return. In between, the sampler looks at the task as at one
// that holds its loop, but less often if there are many.

package watchdog

import (
	"sync/atomic"

	"tafe/loop"
)

const (
	releasedLooks = 8                // most looks at released tasks in one visit
	releasedRest  = int64(1_000_000) // time between two looks at a task, ns
)

// release is the code of a slice whose loop was handed over.
type release struct {
	task   *loop.Task
	id     uint64
	entry  *ledgerEntry // for the time that the loop was held; nil if the loop is passive
	start  int64
	taken  int64
	budget int64
	// Readings of the thread that carries the slice: from before its start, if there is one,
	// and from the handoff.
	before, atHandoff reading

	back  atomic.Int64 // when the code returned; 0 if it has not
	ended ended        // valid once back is set

	probe *probe // used by the sampler only
}

// Released implements loop.ReleaseObserver. It starts following a slice whose loop was handed over
// at taken.
func (ln *watchedLoop) Released(_ *loop.Loop, t *loop.Task, ready, start, taken int64) {
	ln.count(t, ready, start, taken)
	r := &release{task: t, start: start, taken: taken, budget: int64(ln.budget(t))}
	r.atHandoff = ln.loopInstruments.read(taken, t.Observe().Thread(), t.Observe().State())
	r.atHandoff.freeze()
	here := ln.readHere(taken)
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if b := &ln.adopted; b.tid == r.atHandoff.tid && b.now <= start {
		r.before = *b
	}
	ln.adopted = here
	r.id = ln.idFor(start)
	r.entry = ln.ledger.open(r.id, t.ID(), start, taken)
	ln.lastEnd.Store(taken)
	ln.newReleases = append(ln.newReleases, r)
	if back := t.Observe().ReturnedAt(); back != 0 {
		last := reading{now: back, mono: monotonic(), goState: r.atHandoff.goState}
		ln.returned(r, back, last)
	} else {
		ln.beside[t] = r
	}
	if len(ln.ledger.unnamed) > 0 {
		ln.ledger.name(t)
	}
	ln.traceArrivals()
}

// Returned implements loop.ReleaseObserver. For a task that is not in ln.beside, either the task
// left its loop by itself, or Released is yet to come and will see ReturnedAt.
func (ln *watchedLoop) Returned(_ *loop.Loop, t *loop.Task, start, back int64) {
	ln.mu.Lock()
	r := ln.beside[t]
	if left := t.Observe().LeftAt(); r == nil && left != 0 {
		ln.tracks.add(left, back, left, t.ID(), t.Observe().RoutePattern())
	}
	ln.mu.Unlock()
	if r == nil || r.start != start {
		return
	}
	// Released, which runs on the loop, locks mu. The readings are system calls and are
	// taken without it.
	ln.returnMu.Lock()
	last := ln.returnInstruments.read(back, threadID(), loop.StateUnknown)
	ln.returnMu.Unlock()
	last.state = nil // the code ran until now
	ln.mu.Lock()
	defer ln.mu.Unlock()
	delete(ln.beside, t)
	ln.returned(r, back, last)
}

// returned records the end of released code. ln.mu must be held.
func (ln *watchedLoop) returned(r *release, back int64, last reading) {
	t := r.task
	ln.tracks.add(r.taken, back, r.taken, t.ID(), t.Observe().RoutePattern())
	r.ended = ended{entry: r.entry, release: r, description: t.Observe().Description(), budget: r.budget, asked: t.Observe().YieldChecks(), last: last}
	r.back.Store(back)
	if back-r.start >= r.budget {
		ln.queueEnded(r.ended)
	}
}

// freeze fixes the state of the reading's thread, so that another goroutine can use the reading.
func (r *reading) freeze() {
	if r.tid == 0 || r.goState != loop.StateSyscall && r.goState != loop.StateUnknown {
		r.state = nil // it ran, or has no thread
		return
	}
	state := r.state(r.tid)
	r.state = func(int) byte { return state }
}

// takeReleases makes probes for the slices released since the last visit. A probe that followed a
// slice on its loop is continued.
func (ln *watchedLoop) takeReleases(w *Watchdog) {
	ln.mu.Lock()
	news := ln.newReleases
	ln.newReleases = nil
	ln.mu.Unlock()
	for _, r := range news {
		if back := r.back.Load(); back != 0 && back-r.start < r.budget {
			continue
		}
		p := &probe{}
		if seen := ln.probeOf(r.start, false); seen != nil {
			*p = *seen
			if seen == &ln.current {
				ln.current = probe{}
			}
			if back := r.back.Load(); back == 0 || back > r.atHandoff.now {
				p.ev.look(r.atHandoff, &w.late)
			}
		} else {
			*p = probe{since: r.start, began: r.start, task: r.task, budget: r.budget, kernel: Syscall}
			base := r.atHandoff
			for _, b := range []reading{ln.base, r.before} {
				if b.now != 0 && b.now <= r.start && b.tid == r.atHandoff.tid && (base.now > r.start || b.now > base.now) {
					base = b
				}
			}
			p.ev.begin(p.since, base, r.atHandoff, p.budget, &w.late)
		}
		ln.follow(w, p, r)
	}
	if ln.passive {
		ln.findReleases(w)
	}
}

// follow adds a probe of released code.
func (ln *watchedLoop) follow(w *Watchdog, p *probe, r *release) {
	p.release, r.probe = r, p
	p.carrier = ln.carrier
	p.due = min(p.since+p.budget/2, ln.clock()+w.tick.Load())
	ln.released = append(ln.released, p)
}

// findReleases finds the released code of a passive loop.
func (ln *watchedLoop) findReleases(w *Watchdog) {
	found := map[*loop.Task]int64{}
	ln.loop.Observe().EachTaken(func(t *loop.Task, start int64) { found[t] = start })
	for _, p := range ln.released {
		if found[p.task] == p.since {
			delete(found, p.task)
		} else if p.release.back.Load() == 0 {
			p.release.back.Store(ln.clock())
		}
	}
	for t, start := range found {
		p := &probe{}
		r := &release{task: t, start: start, taken: ln.clock(), budget: int64(ln.budget(t))}
		reading := w.instruments.read(ln.clock(), t.Observe().Thread(), t.Observe().State())
		if ln.current.since == start {
			*p = ln.current
			ln.current = probe{}
			p.ev.look(reading, &w.late)
		} else {
			*p = probe{since: start, began: reading.now, task: t, budget: r.budget, kernel: Syscall}
			p.ev.begin(p.began, reading, reading, p.budget, &w.late)
		}
		r.start = p.began
		ln.mu.Lock()
		r.id = ln.idFor(start)
		ln.mu.Unlock()
		ln.follow(w, p, r)
	}
}

// visitReleased looks at the released code that is due, the longest waiting first, and returns
// the time to the next look in ns.
func (ln *watchedLoop) visitReleased(w *Watchdog) int64 {
	next, looks := int64(lookIdle), 0
	now := ln.clock()
	kept := ln.released[:0]
	var later []*probe
	for _, p := range ln.released {
		switch {
		case p.release.back.Load() != 0:
			if ln.passive && p.reported != nil {
				w.reporter.close(ln.record(p, p.release.back.Load()-p.began, true), true)
			}
			continue
		case now < p.due:
			next = min(next, p.due-now)
			kept = append(kept, p)
		case looks == releasedLooks:
			next = releasedRest
			kept = append(kept, p)
		default:
			looks++
			rest := max(ln.lookReleased(w, p), releasedRest)
			p.due = now + rest
			next = min(next, rest)
			later = append(later, p)
		}
	}
	clear(ln.released[len(kept):])
	ln.released = append(kept, later...)
	return next
}

// lookReleased looks at the released code of one task and returns the time to its next look in ns.
func (ln *watchedLoop) lookReleased(w *Watchdog, p *probe) int64 {
	tid, state := p.task.Observe().Thread(), p.task.Observe().State()
	if tid != 0 {
		p.carrier = tid
	} else if state == stateCoroutine {
		tid = p.carrier
	}
	r := w.instruments.read(ln.clock(), tid, state)
	if !ln.still(p) {
		return releasedRest // Returned will follow
	}
	ln.observe(w, p, r)
	return ln.examine(w, p, r.now-p.began)
}
