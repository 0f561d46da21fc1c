package watchdog

// A pursuit follows one slice from the first look at it until its record is
// closed: it gathers evidence, takes stacks when the budget is spent, decides
// when the code is to blame, and says so. A lane has one of the slice that its
// loop runs, and those of slices whose loop was taken (release.go). For the sampler
// alone.

import (
	"time"

	"tafe/loop"
)

const (
	samplesMax  = 256
	sampleEvery = int64(time.Second) // while an overrun lasts
	captureRest = 50                 // no other stack for this many times of what one stopped the process
	// captureHaste is the same while a stack is lacking for the verdict: the
	// camera's credit bounds what that may come to.
	captureHaste = 4
	lookEvery    = int64(250 * time.Millisecond)
	lookLater    = int64(time.Hour)       // at the next tick
	lookIdle     = 2 * lookLater          // at the tick after the next: nothing runs
	baseMax      = 2                      // ticks: how old a reading of before a slice may be
	settleMax    = int64(5 * time.Second) // what the ledger may take to settle
	updateFrom   = int64(time.Second)     // a live report is updated at this length and at its doubles
)

// pursuit is idle when since is 0.
type pursuit struct {
	since   int64 // what the loop calls its start: its identity
	began   int64 // its start on the lane's clock
	task    *loop.Task
	outside bool
	budget  int64
	ev      evidence
	halfway bool
	release *release // nil: it holds its loop
	due     int64    // released: the next look, loop clock
	carrier int      // released: the last thread that it was seen on

	description loop.Description
	described   bool
	tree        Tree
	votes       map[string]map[Verdict]int // stacks, by the state they were taken in
	lastOf      map[Verdict][]Frame        // the last stack of each verdict
	lastStack   []Frame
	samples     int
	refused     bool    // a stack was not to be had
	kernel      Verdict // what the kernel says of the last system call
	discarded   int
	cost        int64
	lateness    int64
	nextSample  int64 // age
	nextUpdate  int64 // age
	reported    *Overrun
	guilty      bool // proven while it went on
	toll        liveToll
}

// visit looks at a lane and returns in how many ns it wants to be visited
// again.
func (ln *lane) visit(w *Watchdog) int64 {
	ln.takeReleases(w)
	next := ln.visitSlice(w)
	if len(ln.released) > 0 {
		next = min(next, ln.visitReleased(w))
	}
	return next
}

// visitSlice looks at what the loop runs.
func (ln *lane) visitSlice(w *Watchdog) int64 {
	since, task, inTask := ln.loop.Observe().Slice().Load()
	outside := false
	if !inTask && !ln.passive {
		since, outside = ln.loop.Observe().Slice().Outside()
	}
	// A task's slice may begin in the nanosecond in which a callback began.
	if ln.hunt.since != 0 && (ln.hunt.since != since || ln.hunt.outside != outside) {
		ln.lost(w)
	}
	ln.close(w)
	if since == 0 && !ln.passive && ln.base.now != 0 && ln.runs.written() == ln.written {
		// Nothing has run since the last reading: it still holds.
		ln.base.now, ln.base.mono = ln.clock(), monotonic()
		return lookIdle
	}
	if rest := ln.spare(w, since, task, inTask || outside); rest > 0 {
		return rest
	}
	if since == 0 {
		ln.written = ln.runs.written() // before the reading: what runs meanwhile asks for another
	}
	r := ln.read(w)
	if !inTask && !outside || !ln.passive && r.now <= since {
		ln.base = r
		return lookLater
	}
	p := &ln.hunt
	if p.since == 0 {
		*p = pursuit{since: since, began: since, task: task, outside: outside, budget: int64(ln.budget(task)), kernel: Syscall}
		w.heed(durationOf(p.budget))
		if ln.passive {
			p.began = r.now // it has begun since the last look
		}
		p.ev.begin(p.began, ln.base, r, p.budget, &w.late)
	}
	ln.observe(w, p, r)
	ln.base = r
	return ln.pursue(w, p, r.now-p.began)
}

// observe enters a reading.
func (ln *lane) observe(w *Watchdog, p *pursuit, r reading) {
	p.ev.look(r, &w.late)
	if r.goState == loop.StateSyscall && p.halfway {
		if v := judgeDescriptor(r.tid); v != Syscall { // between two calls it says nothing
			p.kernel = v
		}
	}
	p.lateness = max(p.lateness, w.late.last)
}

// spare tells that a look need not be a reading, and in how many ns the next one
// is due: what runs has only begun, and the last reading is fresh enough to tell
// later what was before it. Of a loop with many short slices this is every other
// look, and a reading is most of what a look costs.
func (ln *lane) spare(w *Watchdog, since int64, task *loop.Task, runs bool) int64 {
	now := ln.clock()
	if ln.passive || ln.hunt.since != 0 || ln.base.now == 0 || now-ln.base.now > baseMax*w.tick.Load() {
		return 0
	}
	if !runs {
		return lookLater
	}
	budget := int64(ln.budget(task))
	w.heed(durationOf(budget))
	if age := now - since; age < budget/4 {
		return budget*3/4 - age
	}
	return 0
}

// clock is the loop's, or the sampler's where the loop's is not real.
func (ln *lane) clock() int64 {
	if ln.passive {
		return monotonic()
	}
	return ln.loop.Clock()
}

// read takes a reading of what the loop runs. A task that drives a coroutine
// of its own has no thread: the one that the loop was on carries both.
func (ln *lane) read(w *Watchdog) reading {
	tid, state := ln.loop.Observe().Thread(), ln.loop.Observe().State()
	if tid != 0 {
		ln.carrier = tid
	} else if state == stateCoroutine {
		tid = ln.carrier
	}
	return w.instruments.read(ln.clock(), tid, state)
}

// pursue decides what to do about a slice of the given age, and when to look
// again.
func (ln *lane) pursue(w *Watchdog, p *pursuit, age int64) int64 {
	p.halfway = p.halfway || age >= p.budget/2
	switch {
	case age < p.budget/2:
		return p.budget/2 - age
	case age < p.budget:
		return p.budget - age
	}
	step := max(p.budget/8, int64(100*time.Microsecond))
	p.guilty = p.guilty || p.reported != nil && p.proven(age)
	if p.reported == nil && Millis(age) >= alwaysAt { // whatever the cause is
		if p.samples == 0 && !p.refused {
			ln.sampleStack(w, p, age)
		}
		ln.accuse(w, p, age)
	}
	if p.samples == 0 && !p.refused && p.ev.mayForce(p.budget) {
		ln.sampleStack(w, p, age)
	}
	if own := p.ev.proven() + p.ev.offered; own < p.budget {
		if age < 8*p.budget {
			return step
		}
		return max(step, min(p.budget-own, lookEvery))
	}
	if p.samples == 0 && !p.refused || age >= p.nextSample {
		ln.sampleStack(w, p, age)
	}
	if p.reported == nil {
		if !p.proven(age) {
			return step
		}
		ln.accuse(w, p, age)
		return min(step*2, lookEvery)
	}
	switch {
	case age >= p.nextUpdate:
		p.nextUpdate = 2 * age
		w.desk.update(ln.record(p, age, false))
	case age >= p.toll.next:
		w.desk.suffer(p.reported.ID, ln.countWaiting(p, age))
	}
	return max(min(p.nextSample-age, p.nextUpdate-age, lookEvery), step)
}

// sampleStack takes one stack and lets it settle the evidence. What was taken
// after the slice had ended is thrown away.
func (ln *lane) sampleStack(w *Watchdog, p *pursuit, age int64) {
	tid, state := p.ev.last.tid, p.ev.last.goState
	who := target{gid: ln.loop.Observe().GoroutineID(), loop: ln.loop.ID(), outside: p.outside, state: state}
	if p.task != nil {
		who.gid = p.task.Observe().GoroutineID()
	}
	s, err := w.camera.take(who, p.samples == 0, w.instruments.pauses)
	p.cost += s.cost
	// At doubling ages, sooner where more than one is needed, and when it stopped the process for long, not so soon.
	rest := max(min(age, sampleEvery), captureRest*s.stopped)
	if p.samples+1 < p.ev.stacksNeeded(age) {
		rest = max(p.budget/4, captureHaste*s.stopped)
	}
	p.nextSample = age + rest
	if !ln.still(p) {
		p.discarded++
		return
	}
	if !p.described && p.task != nil {
		d := p.task.Observe().Description()
		if !ln.still(p) {
			return
		}
		p.description, p.described = d, true
	}
	if err != nil {
		p.refused = true
		w.missed.Add(1)
		return
	}
	v := judge(s, tid != 0 || s.inner || !loop.Runtime().Threads(), tid)
	if s.collects {
		p.ev.force()
	}
	p.ev.seen(v)
	if p.samples >= samplesMax {
		return
	}
	p.samples++
	if p.votes == nil {
		p.votes, p.lastOf = map[string]map[Verdict]int{}, map[Verdict][]Frame{}
	}
	if p.votes[state] == nil {
		p.votes[state] = map[Verdict]int{}
	}
	p.votes[state][v]++
	s.frames = trim(s.frames)
	p.lastOf[v], p.lastStack = s.frames, s.frames
	p.tree.add(s.frames)
}

// still tells whether the slice that is followed goes on.
func (ln *lane) still(p *pursuit) bool {
	if r := p.release; r != nil {
		return p.task.Observe().ReturnedAt() == 0 && r.back.Load() == 0 // in this order
	}
	if p.outside {
		return ln.loop.Observe().Slice().Still(-p.since)
	}
	return ln.loop.Observe().Slice().Still(p.since)
}

// verdict is what most of the time went into. What a state means the stacks
// tell that were taken in it; without any, its name must do.
func (p *pursuit) verdict() Verdict {
	spent := map[Verdict]int64{}
	for state, ns := range p.ev.spent {
		spent[p.meaning(state)] += ns
	}
	best := Unknown
	for _, v := range Verdicts {
		if spent[v] > spent[best] {
			best = v
		}
	}
	if best == Unknown && p.ev.running > p.ev.proven()/2 {
		return Spin
	}
	return best
}

// meaning is the verdict for time that ended in a state.
func (p *pursuit) meaning(state string) Verdict {
	best, most := Unknown, 0
	for _, v := range Verdicts {
		if n := p.votes[state][v]; n > most && (v.Blames() || state == loop.StateUnknown) {
			best, most = v, n
		}
	}
	if most > 0 {
		return best
	}
	switch state {
	case loop.StateUnknown, loop.StateWaiting:
		return Unknown
	case loop.StateRunning, loop.StateRunnable, stateCoroutine:
		return Spin
	case loop.StateSyscall:
		return p.kernel
	}
	return judge(shot{state: state}, true, 0)
}

// proven: the code itself used up its budget, and a stack, if one was to be
// had, does not say that it was for something else.
func (p *pursuit) proven(age int64) bool {
	return p.ev.proven() >= p.budget && (p.samples >= p.ev.stacksNeeded(age) || p.refused)
}

// accuse makes the first report of an overrun, while it lasts. One whose stacks do
// not say what it does, or say that it works for the collector, is not reported
// before it is long.
func (ln *lane) accuse(w *Watchdog, p *pursuit, age int64) {
	o := ln.record(p, age, false)
	if !o.Blamed && o.Ran < alwaysAt {
		return
	}
	p.nextUpdate = max(updateFrom, 2*age)
	p.reported = &o
	p.guilty = p.proven(age)
	if p.outside {
		ln.heldOutside.Store(p.since)
		ln.loop.Observe().TraceArrivals(true)
	}
	w.desk.open(o)
}

// record writes down what is known of a slice whose code has run for age ns.
func (ln *lane) record(p *pursuit, age int64, final bool) Overrun {
	id, held := uint64(0), age
	if r := p.release; r != nil {
		id, held = r.id, r.taken-r.start
	} else {
		id = ln.number(p)
	}
	o := Overrun{
		ID: id, Final: final, Loop: ln.loop.ID(), start: p.since,
		Started: time.Now().Add(-time.Duration(ln.clock() - p.began)),
		Held:    Millis(held), Ran: Millis(age), Released: p.release != nil, Budget: Millis(p.budget), Outside: p.outside,
		Own: Millis(min(p.ev.proven(), age)), Running: Millis(p.ev.running), Starved: Millis(p.ev.starved),
		Paused: Millis(p.ev.paused), Stopped: Millis(p.ev.stopped),
		Samples: p.samples, Discarded: p.discarded, Lateness: Millis(p.lateness), Capture: Millis(p.cost),
		Tree: p.tree.clone().Children, // it grows on while others read the record
	}
	o.describe(p.description)
	o.Verdict = p.verdict()
	switch {
	case p.ev.proven() < p.budget:
		o.Verdict = p.ev.innocent()
	case p.guilty: // it was proven
	case !p.proven(age) && 2*p.ev.proven() < age:
		o.Verdict = p.ev.innocent()
	case !p.proven(age):
		o.Verdict = Unknown
	}
	o.Blamed = o.Verdict.Blames()
	p.locate(&o)
	if o.Blamed && p.task != nil {
		o.Asked = asked(p.task)
	}
	if o.Blamed {
		o.Advice = o.advice()
	}
	if !final {
		o.Victims = ln.countWaiting(p, age)
	}
	return o
}

// locate enters where in the code it was. A stack that was taken while the code did something else than what the verdict says
// names no line: only the calls that lead there are the same.
func (p *pursuit) locate(o *Overrun) {
	if o.Stack = p.lastOf[o.Verdict]; o.Stack == nil {
		o.Stack = p.lastStack
		if o.Blamed {
			o.Stack = outermost(p.lastStack)
		}
	}
	if !o.Blamed {
		return
	}
	o.Culprit = culprit(o.Stack)
	o.Key = stackKey(o.Verdict, o.Stack)
	if len(o.Stack) == 0 {
		o.Key = o.Route + "?" + string(o.Verdict)
	}
}

// asked is TaskView.YieldChecks of a task that may be counting.
//
//go:norace
func asked(t *loop.Task) uint64 { return t.Observe().YieldChecks() }

// number is the id of the overrun of a slice that holds its loop.
func (ln *lane) number(p *pursuit) uint64 {
	since := p.since
	if p.outside {
		since = -since
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	return ln.idFor(since)
}

func (o *Overrun) describe(d loop.Description) {
	o.Task, o.Route, o.Method, o.Path, o.RequestID = d.TaskID, d.Route, d.Method, d.Path, d.RequestID
	o.Traceparent, o.Conn, o.Remote = d.Traceparent, d.ConnID, d.Remote
}
