package watchdog

// The ledger: each task that started late is charged to the overruns it waited
// through. Since when it waited is exact for timers, wakes and posts; for bytes
// in a socket it is the kernel's estimate.

import (
	"slices"

	"tafe/loop"
)

const (
	entriesMax = 64 // overruns of a loop that may still find victims
	worstMax   = 64 // victims that an overrun names
	roundsMax  = 64 // turns that the ledger waits for late arrivals at most
)

// entry is one overrun on the ledger. Loop clock, ns.
type entry struct {
	id, task   uint64
	start, end int64
	toll       Toll
	settled    bool // all who waited have started
}

// ledger is a loop's. Its lane's mutex guards it.
type ledger struct {
	entries []*entry // oldest first
	tracing bool     // arrivals are being asked for; a marker is on its way
	round   int
	found   int // victims since the last marker
	fresh   []named
}

// named is a victim whose task has not told yet what it is.
type named struct {
	e *entry
	v Victim
}

func (g *ledger) open(id, task uint64, start, end int64) *entry {
	e := &entry{id: id, task: task, start: start, end: end, toll: Toll{Waited: Sparse{}, Without: Sparse{}}}
	if len(g.entries) >= entriesMax {
		g.entries[0].settled = true
		g.entries = slices.Delete(g.entries, 0, 1)
	}
	g.entries = append(g.entries, e)
	return e
}

// charge adds the wait of t, from ready to start, to every overrun in it.
func (g *ledger) charge(t *loop.Task, ready, start int64, estimated bool) {
	if t.Observe().Background() {
		return // nobody waits for it
	}
	for i := len(g.entries) - 1; i >= 0; i-- {
		e := g.entries[i]
		if e.end <= ready {
			break // older ones ended before
		}
		overlap := min(e.end, start) - max(e.start, ready)
		if overlap <= 0 || e.task == t.ID() {
			continue
		}
		t.Observe().AddDelay(e.id, durationOf(overlap))
		g.found++
		e.toll.Count++
		e.toll.Total += Millis(overlap)
		e.toll.Waited.add(start - ready)
		e.toll.Without.add(start - ready - overlap)
		if estimated {
			e.toll.Estimated++
		}
		g.fresh = append(g.fresh, named{e, Victim{Task: t.ID(), Delay: Millis(overlap), Estimated: estimated, start: start}})
	}
}

// name completes the victims that charge found, now that their task has said
// what it does: at the end of its slice.
func (g *ledger) name(t *loop.Task) {
	d := t.Observe().Description()
	for _, n := range g.fresh {
		n.v.Route, n.v.RequestID, n.v.Remote = d.Route, d.RequestID, d.Remote
		n.e.toll.keep(n.v)
	}
	g.fresh = g.fresh[:0]
}

// keep holds on to the worst victims.
func (t *Toll) keep(v Victim) {
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

// snapshot is a copy for a record, worst first.
func (e *entry) snapshot() Toll {
	t := e.toll
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

// trace makes the loop ask for arrivals until nothing that was ready before
// the overrun's end is left. All that was ready is handled before the second
// turn that is asked for now; a connection that was only waiting to be accepted
// takes another, and where more of them waited than one turn accepts, each turn
// finds the victims of the one before.
func (ln *lane) trace() {
	g := &ln.ledger
	g.round = 0
	ln.loop.Observe().TraceArrivals(true)
	if !g.tracing {
		g.tracing = ln.loop.PostUnbounded(ln.mark)
	}
}

// mark is the marker that trace posts; on the loop.
func (ln *lane) mark() {
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
