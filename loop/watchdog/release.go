package watchdog

// Released slices: those whose loop was taken. The loop tells when that was, and
// the thread that ran the code tells when it returned; in between the sampler looks
// at the task as it does at one that holds its loop, only less often where there
// are many.

import (
	"sync/atomic"

	"tafe/loop"
)

const (
	releasedLooks = 8                // looks at released tasks in one visit of a lane
	releasedRest  = int64(1_000_000) // between two looks at one of them, ns
)

// release is a slice whose loop was taken.
type release struct {
	task   *loop.Task
	id     uint64
	entry  *entry // of the part that held the loop; nil on a passive lane
	start  int64
	taken  int64
	budget int64
	// Readings of the thread that carries the slice: one of before its start, if there
	// is one, and the one when the loop was taken.
	before, handed reading

	back  atomic.Int64 // when its code returned; 0: not yet
	ended ended        // what is known then

	pursuit *pursuit // the sampler's own
}

// Released begins to follow a slice whose loop was taken: loop.ReleaseObserver.
func (ln *lane) Released(_ *loop.Loop, t *loop.Task, ready, start, taken int64) {
	ln.count(t, ready, start, taken)
	r := &release{task: t, start: start, taken: taken, budget: int64(ln.budget(t))}
	r.handed = ln.own.read(taken, t.Observe().Thread(), t.Observe().State())
	r.handed.freeze()
	here := ln.readHere(taken)
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if b := &ln.adopted; b.tid == r.handed.tid && b.now <= start {
		r.before = *b
	}
	ln.adopted = here
	r.id = ln.idFor(start)
	r.entry = ln.ledger.open(r.id, t.ID(), start, taken)
	ln.lastEnd.Store(taken)
	ln.news = append(ln.news, r)
	if back := t.Observe().ReturnedAt(); back != 0 {
		last := reading{now: back, mono: monotonic(), goState: r.handed.goState}
		ln.returned(r, back, last)
	} else {
		ln.beside[t] = r
	}
	if len(ln.ledger.fresh) > 0 {
		ln.ledger.name(t)
	}
	ln.trace()
}

// Returned ends that: loop.ReleaseObserver. A task that it does not know has left
// its loop by itself, or Released is still to come and asks ReturnedAt.
func (ln *lane) Returned(_ *loop.Loop, t *loop.Task, start, back int64) {
	ln.mu.Lock()
	r := ln.beside[t]
	if left := t.Observe().LeftAt(); r == nil && left != 0 {
		ln.tracks.add(left, back, left, t.ID(), t.Observe().RoutePattern())
	}
	ln.mu.Unlock()
	if r == nil || r.start != start {
		return
	}
	// The loop waits for mu in Released: the readings, which are system calls, are
	// taken without it.
	ln.awayMu.Lock()
	last := ln.away.read(back, threadID(), loop.StateUnknown)
	ln.awayMu.Unlock()
	last.state = nil // it ran until now
	ln.mu.Lock()
	defer ln.mu.Unlock()
	delete(ln.beside, t)
	ln.returned(r, back, last)
}

// returned enters the end of a released slice.
func (ln *lane) returned(r *release, back int64, last reading) {
	t := r.task
	ln.tracks.add(r.taken, back, r.taken, t.ID(), t.Observe().RoutePattern())
	r.ended = ended{entry: r.entry, release: r, description: t.Observe().Description(), budget: r.budget, asked: t.Observe().YieldChecks(), last: last}
	r.back.Store(back)
	if back-r.start >= r.budget {
		ln.handOver(r.ended)
	}
}

// freeze has a reading carry the state of its thread, for another goroutine than
// the one whose instruments it came from.
func (r *reading) freeze() {
	if r.tid == 0 || r.goState != loop.StateSyscall && r.goState != loop.StateUnknown {
		r.state = nil // it ran, or has no thread
		return
	}
	state := r.state(r.tid)
	r.state = func(int) byte { return state }
}

// takeReleases begins the pursuits of slices that were released since the last
// visit, or goes on with what was seen of them on the loop.
func (ln *lane) takeReleases(w *Watchdog) {
	ln.mu.Lock()
	news := ln.news
	ln.news = nil
	ln.mu.Unlock()
	for _, r := range news {
		if back := r.back.Load(); back != 0 && back-r.start < r.budget {
			continue
		}
		p := &pursuit{}
		if seen := ln.seen(r.start, false); seen != nil {
			*p = *seen
			if seen == &ln.hunt {
				ln.hunt = pursuit{}
			}
			p.ev.look(r.handed, &w.late)
		} else {
			*p = pursuit{since: r.start, began: r.start, task: r.task, budget: r.budget, kernel: Syscall}
			base := r.handed
			for _, b := range []reading{ln.base, r.before} {
				if b.now != 0 && b.now <= r.start && b.tid == r.handed.tid && (base.now > r.start || b.now > base.now) {
					base = b
				}
			}
			p.ev.begin(p.since, base, r.handed, p.budget, &w.late)
		}
		ln.follow(w, p, r)
	}
	if ln.passive {
		ln.findReleases(w)
	}
}

// follow adds a pursuit to those of released slices.
func (ln *lane) follow(w *Watchdog, p *pursuit, r *release) {
	p.release, r.pursuit = r, p
	p.carrier = ln.carrier
	p.due = min(p.since+p.budget/2, ln.clock()+w.tick.Load())
	ln.released = append(ln.released, p)
}

// findReleases is for loops that do not report what becomes of their slices.
func (ln *lane) findReleases(w *Watchdog) {
	found := map[*loop.Task]int64{}
	ln.loop.Observe().EachReleased(func(t *loop.Task, start int64) { found[t] = start })
	for _, p := range ln.released {
		if found[p.task] == p.since {
			delete(found, p.task)
		} else if p.release.back.Load() == 0 {
			p.release.back.Store(ln.clock())
		}
	}
	for t, start := range found {
		p := &pursuit{}
		r := &release{task: t, start: start, taken: ln.clock(), budget: int64(ln.budget(t))}
		reading := w.instruments.read(ln.clock(), t.Observe().Thread(), t.Observe().State())
		if ln.hunt.since == start {
			*p = ln.hunt
			ln.hunt = pursuit{}
			p.ev.look(reading, &w.late)
		} else {
			*p = pursuit{since: start, began: reading.now, task: t, budget: r.budget, kernel: Syscall}
			p.ev.begin(p.began, reading, reading, p.budget, &w.late)
		}
		r.start = p.began
		ln.mu.Lock()
		r.id = ln.idFor(start)
		ln.mu.Unlock()
		ln.follow(w, p, r)
	}
}

// visitReleased looks at the released slices that are due, the one that waits for
// the longest first, and returns in how many ns it wants to look again.
func (ln *lane) visitReleased(w *Watchdog) int64 {
	next, looks := int64(lookIdle), 0
	now := ln.clock()
	kept := ln.released[:0]
	var later []*pursuit
	for _, p := range ln.released {
		switch {
		case p.release.back.Load() != 0:
			if ln.passive && p.reported != nil {
				w.desk.close(ln.record(p, p.release.back.Load()-p.began, true), true)
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

// lookReleased looks at one released slice.
func (ln *lane) lookReleased(w *Watchdog, p *pursuit) int64 {
	tid, state := p.task.Observe().Thread(), p.task.Observe().State()
	if tid != 0 {
		p.carrier = tid
	} else if state == stateCoroutine {
		tid = p.carrier
	}
	r := w.instruments.read(ln.clock(), tid, state)
	if !ln.still(p) {
		return releasedRest // its end is on its way
	}
	ln.observe(w, p, r)
	return ln.pursue(w, p, r.now-p.began)
}
