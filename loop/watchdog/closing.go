// The end of a probe. When the slice is over, its last reading comes from the loop, and the record
// stays open until the ledger knows all victims.

package watchdog

import "tafe/loop"

// closing is a final record that waits for its ledger entry to settle.
type closing struct {
	overrun Overrun
	entry   *ledgerEntry
	known   bool // it was reported while it lasted
	search  *unblockerSearch
}

// sliceEnded ends the current probe. If the slice was an overrun, the loop has queued its data in
// ended. The end of a callback is not signalled, so it is taken to be now.
func (ln *watchedLoop) sliceEnded(w *Watchdog) {
	p := &ln.current
	if ln.passive {
		if p.reported != nil {
			w.reporter.close(ln.record(p, ln.clock()-p.began, true), true)
		}
		ln.current = probe{}
		return
	}
	if p.callback && p.reported != nil && ln.heldByCallback.CompareAndSwap(p.since, 0) {
		ln.mu.Lock()
		ln.endCallback(p.since, ln.loop.Clock())
		ln.mu.Unlock()
	}
	if p.halfway && !p.callback || p.reported != nil {
		ln.past[ln.pastAt] = *p
		ln.pastAt = (ln.pastAt + 1) % len(ln.past)
	}
	ln.current = probe{}
}

// close makes records of the overruns that ended since the last visit, and closes the records whose
// victims are known.
func (ln *watchedLoop) close(w *Watchdog) {
	ln.mu.Lock()
	news := ln.ended
	ln.ended = nil
	ln.mu.Unlock()
	for _, e := range news {
		if e.release != nil && e.release.probe == nil { // released and returned in this visit
			ln.takeReleases(w)
		}
		ln.conclude(w, e)
	}
	if len(ln.closing) == 0 {
		return
	}
	now := ln.loop.Clock()
	kept := ln.closing[:0]
	for _, c := range ln.closing {
		ln.mu.Lock()
		done := c.entry.settled && c.search.over() || now-c.entry.end > settleMax
		if done {
			c.overrun.Victims = c.entry.copyTally()
		}
		ln.mu.Unlock()
		if done {
			c.overrun.EndedBy = c.search.result()
			w.reporter.close(c.overrun, c.known)
		} else {
			kept = append(kept, c)
		}
	}
	ln.closing = kept
}

// conclude makes the final record of an overrun. If no probe saw the overrun, because it was short
// or the watchdog late, the evidence is the difference of the clocks between the last reading
// before it and its end.
func (ln *watchedLoop) conclude(w *Watchdog, e ended) {
	ran := e.entry.end - e.entry.start
	p := ln.probeOf(e.entry.start, e.callback)
	if e.release != nil {
		p, ran = e.release.probe, e.release.back.Load()-e.release.start
	}
	if p == nil {
		p = &probe{since: e.entry.start, began: e.entry.start, callback: e.callback}
		if ln.base.now <= e.entry.start && !e.callback {
			p.ev.begin(p.since, ln.base, e.last, e.budget, &w.late)
		} else {
			p.ev.unclear = e.entry.end - p.since
		}
	}
	p.budget = e.budget
	if p.ev.last.now > 0 && !e.callback && p.ev.last.now < e.last.now {
		// The state at the last look is taken to have lasted to the end.
		e.last.goState = p.ev.last.goState
		if p.ev.last.tid == 0 {
			e.last.tid, e.last.timed = 0, false
		}
		p.ev.look(e.last, &w.late)
	}
	p.ev.settle(p.verdict())
	if !e.callback {
		p.description = e.description
	}
	o := ln.record(p, ran, true)
	known, search := p.reported != nil, p.search
	if p == &ln.current {
		ln.current = probe{}
	}
	if o.Asked = e.asked; o.Blamed {
		o.Advice = o.advice()
	}
	search.end()
	ln.closing = append(ln.closing, closing{overrun: o, entry: e.entry, known: known, search: search})
}

// probeOf returns the probe of the slice or callback that started at since, or nil.
func (ln *watchedLoop) probeOf(since int64, callback bool) *probe {
	if ln.current.since == since && ln.current.callback == callback {
		return &ln.current
	}
	for i := range ln.past {
		if ln.past[i].since == since && ln.past[i].callback == callback {
			return &ln.past[i]
		}
	}
	return nil
}

// finish closes all open records when the watchdog stops.
func (ln *watchedLoop) finish(w *Watchdog) {
	ln.takeReleases(w)
	if since, _, ok := ln.loop.Observe().Slice().Load(); !ok || since != ln.current.since {
		ln.sliceEnded(w)
	}
	ln.close(w)
	for _, c := range ln.closing {
		ln.mu.Lock()
		c.overrun.Victims = c.entry.copyTally()
		ln.mu.Unlock()
		c.overrun.EndedBy = c.search.result()
		w.reporter.close(c.overrun, c.known)
	}
	ln.closing = nil
}

var (
	_ loop.LateObserver    = (*watchedLoop)(nil)
	_ loop.ReleaseObserver = (*watchedLoop)(nil)
)
