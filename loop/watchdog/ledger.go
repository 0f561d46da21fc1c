// The ledger charges the wait of each task that started late to the overruns it waited through. The
// start of a wait is exact for timers, wakes and posts; for bytes in a socket it is the kernel's
// estimate.

package watchdog

import (
	"slices"
	"time"

	"tafe/loop"
)

const (
	entriesMax = 64 // overruns of a loop that may still get victims
	worstMax   = 64 // victims listed in an overrun
	roundsMax  = 64 // most loop turns to wait for late victims
)

// ledgerEntry is one overrun on the ledger. Times are on the loop clock, ns.
type ledgerEntry struct {
	id, task   uint64
	start, end int64
	tally      Tally
	settled    bool // all victims have started
}

// ledger is the ledger of one loop, guarded by watchedLoop.mu.
type ledger struct {
	entries []*ledgerEntry // oldest first
	tracing bool           // arrival times are being recorded; mark is posted
	round   int
	found   int // victims since the last mark
	unnamed []unnamedVictim
}

// unnamedVictim is a victim whose task has not set its description yet.
type unnamedVictim struct {
	e *ledgerEntry
	v Victim
}

// open adds an overrun. If there are too many, the oldest is settled and removed.
func (g *ledger) open(id, task uint64, start, end int64) *ledgerEntry {
	e := &ledgerEntry{id: id, task: task, start: start, end: end, tally: Tally{Waited: Sparse{}, Without: Sparse{}}}
	if len(g.entries) >= entriesMax {
		g.entries[0].settled = true
		g.entries = slices.Delete(g.entries, 0, 1)
	}
	g.entries = append(g.entries, e)
	return e
}

// charge adds the wait of t, from ready to start, to every overrun that overlaps it.
func (g *ledger) charge(t *loop.Task, ready, start int64, estimated bool) {
	if t.Observe().Background() {
		return // no client waits for it
	}
	for i := len(g.entries) - 1; i >= 0; i-- {
		e := g.entries[i]
		if e.end <= ready {
			break // older ones ended even earlier
		}
		overlap := min(e.end, start) - max(e.start, ready)
		if overlap <= 0 || e.task == t.ID() {
			continue
		}
		t.Loop().Drive().AddDelay(t, e.id, time.Duration(overlap))
		g.found++
		e.tally.Count++
		e.tally.Total += Millis(overlap)
		e.tally.Waited.add(start - ready)
		e.tally.Without.add(start - ready - overlap)
		if estimated {
			e.tally.Estimated++
		}
		g.unnamed = append(g.unnamed, unnamedVictim{e, Victim{Task: t.ID(), Delay: Millis(overlap), Estimated: estimated, start: start}})
	}
}

// name describes the victims that charge found. It is called at the end of their slice, when t has
// its description.
func (g *ledger) name(t *loop.Task) {
	d := t.Observe().Description()
	for _, n := range g.unnamed {
		n.v.Route, n.v.RequestID, n.v.Remote = d.Route, d.RequestID, d.Remote
		n.e.tally.keep(n.v)
	}
	g.unnamed = g.unnamed[:0]
}

// keep adds v to the worst victims, replacing the least if there are too many.
func (t *Tally) keep(v Victim) {
	if len(t.Worst) < worstMax {
		t.Worst = append(t.Worst, v)
		return
	}
	least := 0
	for i := range t.Worst {
		if t.Worst[i].Delay < t.Worst[least].Delay {
			least = i
		}
	}
	if t.Worst[least].Delay < v.Delay {
		t.Worst[least] = v
	}
}

// copyTally returns a copy of the tally, worst victims first.
func (e *ledgerEntry) copyTally() Tally {
	t := e.tally
	t.Worst = slices.Clone(t.Worst)
	slices.SortFunc(t.Worst, func(a, b Victim) int { return int(b.Delay - a.Delay) })
	t.Waited, t.Without = clone(t.Waited), clone(t.Without)
	t.Open = !e.settled
	return t
}

func clone(s Sparse) Sparse {
	c := make(Sparse, len(s))
	for k, v := range s {
		c[k] = v
	}
	return c
}

// traceArrivals makes the loop record arrival times until everything that was ready before the end
// of the overrun has run. This takes two turns of the loop, a third for a connection that waited to
// be accepted, and more if more of those waited than one turn accepts.
func (ln *watchedLoop) traceArrivals() {
	g := &ln.ledger
	g.round = 0
	ln.loop.Observe().TraceArrivals(true)
	if !g.tracing {
		g.tracing = ln.loop.PostUnbounded(ln.mark)
	}
}

// mark runs on the loop once a turn while arrivals are traced. From the third turn on, it ends the
// tracing after a turn without new victims, at the latest after roundsMax turns.
func (ln *watchedLoop) mark() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	g := &ln.ledger
	quiet := g.found == 0
	g.found = 0
	g.round++
	if (quiet && g.round > 2 || g.round > roundsMax) || !ln.loop.PostUnbounded(ln.mark) {
		g.tracing = false
		ln.loop.Observe().TraceArrivals(false)
		for _, e := range g.entries {
			e.settled = true
		}
	}
}
