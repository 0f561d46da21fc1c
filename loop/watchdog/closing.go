package watchdog

// The end of a pursuit: the slice is over, its last evidence has come from the
// loop, and the record waits for its victims before it is closed.

import "tafe/loop"

// closing is a record that waits for its ledger entry to settle.
type closing struct {
	overrun Overrun
	entry   *entry
	known   bool // it has been reported live
}

// lost: the slice that was followed is over. What the loop says of it is in
// ended, if it was an overrun; a callback's end nobody tells.
func (ln *lane) lost(w *Watchdog) {
	p := &ln.hunt
	if ln.passive {
		if p.reported != nil {
			w.desk.close(ln.record(p, ln.clock()-p.began, true), true)
		}
		ln.hunt = pursuit{}
		return
	}
	if p.outside && p.reported != nil && ln.heldOutside.CompareAndSwap(p.since, 0) {
		ln.mu.Lock()
		ln.endOutside(p.since, ln.loop.Clock())
		ln.mu.Unlock()
	}
	if p.halfway && !p.outside || p.reported != nil {
		ln.past[ln.pastAt] = *p
		ln.pastAt = (ln.pastAt + 1) % len(ln.past)
	}
	ln.hunt = pursuit{}
}

// close takes what the loop has told of ended overruns, and closes the records
// whose victims are known.
func (ln *lane) close(w *Watchdog) {
	ln.mu.Lock()
	news := ln.ended
	ln.ended = nil
	ln.mu.Unlock()
	for _, e := range news {
		if e.release != nil && e.release.pursuit == nil { // released and returned in this visit
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
		done := c.entry.settled || now-c.entry.end > settleMax
		if done {
			c.overrun.Victims = c.entry.snapshot()
		}
		ln.mu.Unlock()
		if done {
			w.desk.close(c.overrun, c.known)
		} else {
			kept = append(kept, c)
		}
	}
	ln.closing = kept
}

// conclude makes the final record of one ended overrun from what was seen of
// it. If it was never seen, because it was short or the watchdog late, its
// evidence is what the clocks say between the last look before and the end.
func (ln *lane) conclude(w *Watchdog, e ended) {
	ran := e.entry.end - e.entry.start
	p := ln.seen(e.entry.start, e.outside)
	if e.release != nil {
		p, ran = e.release.pursuit, e.release.back.Load()-e.release.start
	}
	if p == nil {
		p = &pursuit{since: e.entry.start, began: e.entry.start, outside: e.outside}
		if ln.base.now <= e.entry.start && !e.outside {
			p.ev.begin(p.since, ln.base, e.last, e.budget, &w.late)
		} else {
			p.ev.unclear = e.entry.end - p.since
		}
	}
	p.budget = e.budget
	if p.ev.last.now > 0 && !e.outside && p.ev.last.now < e.last.now {
		// To the end it went on with what it did.
		e.last.goState = p.ev.last.goState
		if p.ev.last.tid == 0 {
			e.last.tid, e.last.timed = 0, false
		}
		p.ev.look(e.last, &w.late)
	}
	p.ev.seen(p.verdict())
	if !e.outside {
		p.description = e.description
	}
	o := ln.record(p, ran, true)
	known := p.reported != nil
	if p == &ln.hunt {
		ln.hunt = pursuit{}
	}
	if o.Asked = e.asked; o.Blamed {
		o.Advice = o.advice()
	}
	ln.closing = append(ln.closing, closing{overrun: o, entry: e.entry, known: known})
}

// seen is the pursuit of the slice, or callback, that started at since.
func (ln *lane) seen(since int64, outside bool) *pursuit {
	if ln.hunt.since == since && ln.hunt.outside == outside {
		return &ln.hunt
	}
	for i := range ln.past {
		if ln.past[i].since == since && ln.past[i].outside == outside {
			return &ln.past[i]
		}
	}
	return nil
}

// finish closes what is open when the watchdog stops.
func (ln *lane) finish(w *Watchdog) {
	ln.takeReleases(w)
	if since, _, ok := ln.loop.Observe().Slice().Load(); !ok || since != ln.hunt.since {
		ln.lost(w)
	}
	ln.close(w)
	for _, c := range ln.closing {
		ln.mu.Lock()
		c.overrun.Victims = c.entry.snapshot()
		ln.mu.Unlock()
		w.desk.close(c.overrun, c.known)
	}
	ln.closing = nil
}

var (
	_ loop.LateObserver    = (*lane)(nil)
	_ loop.ReleaseObserver = (*lane)(nil)
)
