package watchdog

// A pursuit follows one slice from the first look at it until its record is
// closed: it gathers evidence, takes stacks when the budget is spent, decides
// when the code is to blame, and says so. One per lane, for the sampler alone.

import (
	"time"

	"tafe/loop"
)

const (
	samplesMax    = 256
	sampleEvery   = int64(time.Second) // at least, while an overrun lasts
	lookEvery     = int64(250 * time.Millisecond)
	settleMax     = int64(5 * time.Second) // what the ledger may take to settle
	confirmedBy   = 3                      // stacks, when the collector is at work meanwhile
	confirmCost   = int64(time.Millisecond)
	updateFrom    = int64(time.Second) // a live report is updated at this length and at its doubles
	nobodySamples = 2
)

// pursuit is idle when since is 0.
type pursuit struct {
	since   int64
	task    *loop.Task
	outside bool
	budget  int64
	ev      evidence
	hinted  bool

	description loop.Description
	described   bool
	tree        Tree
	votes       map[Verdict]int64 // samples
	last        []Frame           // the last stack that blames
	lastOf      map[Verdict][]Frame
	samples     int
	onThread    int // of samples: a thread ran it
	collecting  int // of onThread: for the collector
	discarded   int
	cost        int64
	lateness    int64
	nextSample  int64 // age
	nextUpdate  int64 // age
	reported    *Overrun
}

// visit looks at a lane and returns in how many ns it wants to be visited
// again.
func (ln *lane) visit(w *Watchdog) int64 {
	since, task, inTask := ln.loop.Slice().Load()
	outside := false
	if !inTask {
		since, outside = ln.loop.Slice().Outside()
	}
	if ln.hunt.since != 0 && ln.hunt.since != since {
		ln.lost()
	}
	ln.close(w)
	r := w.instruments.read(ln.loop.Clock(), ln.loop.Thread(), loop.ThreadsKnown(), w.stalled())
	if !inTask && !outside || r.now <= since {
		ln.base = r
		return int64(time.Hour)
	}
	p := &ln.hunt
	if p.since == 0 {
		*p = pursuit{since: since, task: task, outside: outside, budget: int64(ln.loop.Limits().SliceBudget)}
		if task != nil {
			p.budget = int64(task.Budget())
			w.heed(task.Budget())
		}
		p.ev.begin(since, ln.base, r)
	} else {
		p.ev.look(r)
	}
	ln.base = r
	p.lateness = max(p.lateness, w.lateness.Load())
	return ln.pursue(w, r.now-since)
}

// pursue decides what to do about a slice of the given age, and when to look
// again.
func (ln *lane) pursue(w *Watchdog, age int64) int64 {
	p := &ln.hunt
	if age >= p.budget/2 && !p.hinted {
		p.hinted = true
		ln.loop.Slice().SetDue(p.since)
	}
	switch {
	case age < p.budget/2:
		return p.budget/2 - age
	case age < p.budget:
		return p.budget - age
	}
	step := max(p.budget/8, int64(100*time.Microsecond))
	if own := p.ev.own() + p.ev.offered; own < p.budget {
		return max(step, min(p.budget-own, lookEvery))
	}
	if p.reported == nil || age >= p.nextSample {
		ln.sampleStack(w, age)
	}
	if p.reported == nil {
		if !p.proven() {
			return step
		}
		ln.accuse(w, age)
		return min(step*2, lookEvery)
	}
	if age >= p.nextUpdate {
		p.nextUpdate = 2 * age
		w.desk.update(ln.record(p, age, false))
	}
	return max(min(p.nextSample-age, p.nextUpdate-age, lookEvery), step)
}

// sampleStack takes one stack and lets it settle the evidence. What was taken
// after the slice had ended is thrown away.
func (ln *lane) sampleStack(w *Watchdog, age int64) {
	p := &ln.hunt
	gid := ln.loop.GoroutineID()
	if p.task != nil {
		gid = p.task.GoroutineID()
	}
	tid := ln.loop.Thread()
	p.nextSample = age + min(age, sampleEvery)
	s, err := w.camera.take(gid, ln.loop.ID())
	p.cost += s.cost
	if !ln.still(p.since) {
		p.discarded++
		return
	}
	if !p.described && p.task != nil {
		d := p.task.Description()
		if !ln.still(p.since) {
			return
		}
		p.description, p.described = d, true
	}
	if err != nil {
		w.missed.Add(1)
		return
	}
	onThread := tid != 0 || s.inner || !loop.ThreadsKnown()
	v := judge(s, onThread, tid)
	p.ev.seen(v)
	if p.samples >= samplesMax {
		return
	}
	p.samples++
	if onThread {
		p.onThread++
		if v == GC {
			p.collecting++
		}
	}
	if p.votes == nil {
		p.votes, p.lastOf = map[Verdict]int64{}, map[Verdict][]Frame{}
	}
	p.votes[v]++
	s.frames = trim(s.frames)
	p.lastOf[v] = s.frames
	p.tree.add(s.frames)
}

func (ln *lane) still(since int64) bool {
	if now, _, ok := ln.loop.Slice().Load(); ok {
		return now == since
	}
	now, ok := ln.loop.Slice().Outside()
	return ok && now == since
}

// verdict is what most stacks say. Without any, the clocks must do: what
// computed and was never seen did spin.
func (p *pursuit) verdict() Verdict {
	best, most := Unknown, int64(0)
	for _, v := range Verdicts {
		if n := p.votes[v]; n > most {
			best, most = v, n
		}
	}
	if most == 0 && p.ev.running > p.ev.blocked+p.ev.parked+p.ev.unclear {
		return Spin
	}
	return best
}

// own is the code's own time, less the share of its computing that, by the
// stacks, was the collector's.
func (p *pursuit) own() int64 {
	own := p.ev.own()
	if p.collecting > 0 {
		own -= p.ev.running * int64(p.collecting) / int64(p.onThread)
	}
	return max(own, 0)
}

// proven: the code itself used up its budget, and a stack says how. While the
// collector works it may be its work that the clocks count, so then several
// stacks must agree, if they are cheap to have.
func (p *pursuit) proven() bool {
	if p.own() < p.budget || p.samples == 0 || !p.verdict().Blames() {
		return false
	}
	if p.ev.gcs && p.cost < confirmCost*int64(p.samples) {
		return p.samples >= confirmedBy
	}
	return true
}

// accuse makes the first report of an overrun, while it lasts.
func (ln *lane) accuse(w *Watchdog, age int64) {
	p := &ln.hunt
	p.nextUpdate = max(updateFrom, 2*age)
	o := ln.record(p, age, false)
	p.reported = &o
	if p.outside {
		ln.heldOutside.Store(p.since)
		ln.loop.TraceArrivals(true)
	}
	w.desk.open(o)
}

// record writes down what is known.
func (ln *lane) record(p *pursuit, age int64, final bool) Overrun {
	ln.mu.Lock()
	id := ln.idFor(p.since)
	ln.mu.Unlock()
	o := Overrun{
		ID: id, Final: final, Loop: ln.loop.ID(), start: p.since,
		Started: time.Now().Add(-time.Duration(ln.loop.Clock() - p.since)),
		Held:    Millis(age), Budget: Millis(p.budget), Outside: p.outside,
		Own: Millis(min(p.own(), age)), Running: Millis(p.ev.running), Starved: Millis(p.ev.starved),
		Paused: Millis(p.ev.paused), Stopped: Millis(p.ev.stopped),
		Samples: p.samples, Discarded: p.discarded, Lateness: Millis(p.lateness), Capture: Millis(p.cost),
		Tree: p.tree.Children,
	}
	o.describe(p.description)
	o.Verdict = p.verdict()
	if p.own() < p.budget {
		o.Verdict = p.innocent()
	}
	o.Blamed = o.Verdict.Blames()
	o.Stack = p.lastOf[o.Verdict]
	if o.Blamed {
		o.Culprit = culprit(o.Stack)
		o.Key = stackKey(o.Verdict, o.Stack)
		if len(o.Stack) == 0 {
			o.Key = o.Route + "?" + string(o.Verdict)
		}
	}
	return o
}

func (p *pursuit) innocent() Verdict {
	if p.votes[GC] > p.votes[Starved] || p.samples > 0 && p.votes[GC]*2 > int64(p.samples) {
		return GC
	}
	return p.ev.innocent()
}

func (o *Overrun) describe(d loop.Description) {
	o.Task, o.Route, o.Method, o.Path, o.RequestID = d.TaskID, d.Route, d.Method, d.Path, d.RequestID
	o.Traceparent, o.Conn, o.Remote = d.Traceparent, d.ConnID, d.Remote
}
