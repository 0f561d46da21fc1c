// A probe follows one slice from the first look at it to its final record. It collects evidence,
// takes stacks once the budget is used up, and reports the overrun when the code is proven to be
// its cause. A watched loop has one probe for the slice that its loop runs, and one for
// each task with released code (release.go). Only the sampler uses probes.

package watchdog

import (
	"time"

	"tafe/loop"
)

const (
	samplesMax  = 256
	sampleEvery = int64(time.Second) // longest time between two stacks of an overrun
	captureRest = 50                 // the next stack waits for this many times the stop caused by the last one
	// captureHaste replaces captureRest while the verdict needs another stack. The
	// capturer's credit bounds the cost.
	captureHaste = 4
	lookEvery    = int64(250 * time.Millisecond)
	lookLater    = int64(time.Hour)       // look again at the next tick
	lookIdle     = 2 * lookLater          // nothing runs: look again after the next tick
	firstLook    = 5                      // the first reading of a slice is at this part of its budget, with a recent base
	settleMax    = int64(5 * time.Second) // longest wait for the ledger to settle
	updateFrom   = int64(time.Second)     // age of the first update of a live report; later ones come at doubled ages
)

// probe is the state of one probe, unused while since is 0.
type probe struct {
	since    int64 // start as the loop records it; identifies the slice
	began    int64 // start on the clock of watchedLoop.clock
	task     *loop.Task
	callback bool
	budget   int64
	ev       evidence
	halfway  bool
	release  *release // nil while the slice holds its loop
	due      int64    // released: time of the next look, loop clock
	carrier  int      // released: the last thread that ran it

	description loop.Description
	described   bool
	tree        Tree
	votes       map[string]map[Verdict]int // stacks by goroutine state and verdict
	lastOf      map[Verdict][]Frame        // the last stack of each verdict
	lastStack   []Frame
	samples     int
	refused     bool    // no stack could be captured
	kernel      Verdict // verdict for the last system call
	discarded   int
	cost        int64
	lateness    int64
	nextSample  int64 // age
	nextUpdate  int64 // age
	reported    *Overrun
	provenLive  bool  // blame was proven while the slice lasted
	credit      int64 // of the evidence, when it was
	tally       liveTally
	search      *unblockerSearch // nil: none
}

// visit looks at the loop and its released code. It returns the time to the next visit in ns.
func (ln *watchedLoop) visit(w *Watchdog) int64 {
	ln.takeReleases(w)
	next := ln.visitSlice(w)
	if len(ln.released) > 0 {
		next = min(next, ln.visitReleased(w))
	}
	return next
}

// visitSlice looks at the slice or callback that the loop runs.
func (ln *watchedLoop) visitSlice(w *Watchdog) int64 {
	since, task, inTask := ln.loop.Observe().Slice().Load()
	callback := false
	if !inTask && !ln.passive {
		since, callback = ln.loop.Observe().Slice().BetweenTasks()
	}
	// A slice and a callback may begin in the same nanosecond.
	if ln.current.since != 0 && (ln.current.since != since || ln.current.callback != callback) {
		ln.sliceEnded(w)
	}
	ln.close(w)
	if since == 0 && !ln.passive && ln.base.now != 0 && ln.runs.written() == ln.written {
		// Nothing has run since the last reading, so it is still valid.
		ln.base.now, ln.base.mono = ln.clock(), monotonic()
		return lookIdle
	}
	if inTask && task.Observe().Returning() {
		// The loop was taken, and the code has stopped since. The slice lasts until a goroutine adopts the loop.
		return lookLater
	}
	if rest := ln.skipReading(w, since, task, inTask || callback); rest > 0 {
		return rest
	}
	if since == 0 {
		ln.written = ln.runs.written() // before the reading, so that a slice that runs meanwhile causes another
	}
	r := ln.read(w)
	if !inTask && !callback || !ln.passive && r.now <= since {
		ln.base = r
		return lookLater
	}
	p := &ln.current
	if p.since == 0 {
		*p = probe{since: since, began: since, task: task, callback: callback, budget: int64(ln.budget(task)), kernel: Syscall}
		w.lowerTick(time.Duration(p.budget))
		if ln.passive {
			p.began = r.now // it began since the last look
		}
		p.ev.begin(p.began, ln.base, r, p.budget, &w.late)
	}
	ln.observe(w, p, r)
	ln.base = r
	return ln.examine(w, p, r.now-p.began)
}

// observe adds a reading to the evidence.
func (ln *watchedLoop) observe(w *Watchdog, p *probe, r reading) {
	p.ev.look(r, &w.late)
	if r.goState == loop.StateSyscall && p.halfway {
		if v := judgeDescriptor(r.tid); v != Syscall { // Syscall may mean that the thread is between two calls
			p.kernel = v
		}
	}
	p.lateness = max(p.lateness, w.late.last)
}

// skipReading reports whether this look needs no reading: the slice has only begun, and the last
// reading is recent enough to serve as its base. It returns the time to the next look in ns, or 0
// if a reading is needed. This saves every other reading on a loop with many short slices; a
// reading is most of the cost of a look.
func (ln *watchedLoop) skipReading(w *Watchdog, since int64, task *loop.Task, runs bool) int64 {
	now := ln.clock()
	if ln.passive || ln.current.since != 0 || ln.base.now == 0 || now-ln.base.now > w.tick.Load()/2 {
		return 0
	}
	if !runs {
		return lookLater
	}
	budget := int64(ln.budget(task))
	w.lowerTick(time.Duration(budget))
	if age := now - since; age < budget/firstLook {
		return budget/firstLook - age
	}
	return 0
}

// clock returns the loop's clock, or the steward's if the loop's is not real time.
func (ln *watchedLoop) clock() int64 {
	if ln.passive {
		return monotonic()
	}
	return ln.loop.Clock()
}

// read takes a reading of what the loop runs. A task that resumed a coroutine of its own has no
// thread; the last thread of the loop carries both.
func (ln *watchedLoop) read(w *Watchdog) reading {
	tid, state := ln.loop.Observe().Thread(), ln.loop.Observe().State()
	if tid != 0 {
		ln.carrier = tid
	} else if state == stateCoroutine {
		tid = ln.carrier
	}
	return w.instruments.read(ln.clock(), tid, state)
}

// examine decides what to do about a slice of the given age, and returns the time to the next look
// in ns.
func (ln *watchedLoop) examine(w *Watchdog, p *probe, age int64) int64 {
	p.halfway = p.halfway || age >= p.budget/2
	if age < p.budget { // a change of the thread makes no more than this unclear
		return min(p.budget/firstLook, p.budget-age)
	}
	step := max(p.budget/8, int64(100*time.Microsecond))
	p.provenLive = p.provenLive || p.reported != nil && p.proven(age)
	if p.reported == nil && Millis(age) >= alwaysAt { // whatever the cause
		if p.samples == 0 && !p.refused {
			ln.sampleStack(w, p, age)
		}
		ln.report(w, p, age)
	}
	if p.samples == 0 && !p.refused && p.ev.needsCollectionStack(p.budget) {
		ln.sampleStack(w, p, age)
	}
	if own := p.own() + p.ev.undecided; own < p.budget {
		if age < 8*p.budget { // not later than enough can be proven
			return min(step, max(p.budget-own, p.budget/40))
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
		ln.report(w, p, age)
		return min(step*2, lookEvery)
	}
	switch {
	case age >= p.nextUpdate:
		p.nextUpdate = 2 * age
		w.reporter.update(ln.record(p, age, false))
	case age >= p.tally.next:
		w.reporter.updateVictims(p.reported.ID, ln.countWaiting(p, age))
	}
	return max(min(p.nextSample-age, p.nextUpdate-age, lookEvery), step)
}

// sampleStack takes one stack and settles the undecided evidence by it. A stack that was taken
// after the end of the slice is discarded.
func (ln *watchedLoop) sampleStack(w *Watchdog, p *probe, age int64) {
	tid, state := p.ev.last.tid, p.ev.last.goState
	who := target{gid: ln.loop.Observe().GoroutineID(), loop: ln.loop.ID(), callback: p.callback, state: state}
	if p.task != nil {
		who.gid = p.task.Observe().GoroutineID()
	}
	s, err := w.capturer.capture(who, p.samples == 0, w.instruments.pauses)
	p.cost += s.cost
	// Stacks are taken at doubling ages, sooner if more are needed, later if a capture stopped the process for long.
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
		return
	}
	v := judge(s, tid != 0 || s.inner || !loop.Runtime().Threads(), tid)
	if s.collects {
		p.ev.ownCollection()
	}
	p.ev.settle(v)
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

// still reports whether the slice of the probe still runs.
func (ln *watchedLoop) still(p *probe) bool {
	if p.task != nil && p.task.Observe().Returning() {
		return false
	}
	if r := p.release; r != nil {
		return r.back.Load() == 0 // set before Returning becomes false
	}
	if p.callback {
		return ln.loop.Observe().Slice().Still(-p.since)
	}
	return ln.loop.Observe().Slice().Still(p.since)
}

// verdict returns the cause of most of the slice's own time. Time spent in a goroutine state gets
// its verdict from the stacks taken in that state or, if there are none, from the state itself.
func (p *probe) verdict() Verdict {
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

// meaning returns the verdict for time in a goroutine state.
func (p *probe) meaning(state string) Verdict {
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
	return judge(stackSample{state: state}, true, 0)
}

// own returns the time for which the code is blamed if it reaches the budget.
func (p *probe) own() int64 { return p.ev.proven() + max(p.credit, p.ev.credit(p.budget)) }

// proven reports whether the code itself used up its budget, and there are enough stacks to say so
// or none could be captured.
func (p *probe) proven(age int64) bool {
	return p.own() >= p.budget && (p.samples >= p.ev.stacksNeeded(age) || p.refused)
}

// report makes the first report of an overrun, while it lasts. An overrun without a verdict that
// blames the code is reported only once it is longer than alwaysAt.
func (ln *watchedLoop) report(w *Watchdog, p *probe, age int64) {
	o := ln.record(p, age, false)
	if !o.Blamed && o.Ran < alwaysAt {
		return
	}
	p.nextUpdate = max(updateFrom, 2*age)
	p.reported = &o
	p.provenLive = p.proven(age)
	if p.provenLive {
		p.credit = p.ev.credit(p.budget)
	}
	if p.callback {
		ln.heldByCallback.Store(p.since)
		ln.loop.Observe().TraceArrivals(true)
	}
	w.reporter.open(o)
	ln.findUnblocker(w, p, &o)
}

// record makes a record of a slice whose code has run for age ns.
func (ln *watchedLoop) record(p *probe, age int64, final bool) Overrun {
	id, held := uint64(0), age
	if r := p.release; r != nil {
		id, held = r.id, r.taken-r.start
	} else {
		id = ln.number(p)
	}
	o := Overrun{
		ID: id, Final: final, Loop: ln.loop.ID(), start: p.since,
		Started: time.Now().Add(-time.Duration(ln.clock() - p.began)),
		Held:    Millis(held), Ran: Millis(age), Released: p.release != nil, Budget: Millis(p.budget), Callback: p.callback,
		Own: Millis(min(p.own(), age)), Running: Millis(p.ev.running), Starved: Millis(p.ev.starved),
		Paused: Millis(p.ev.paused), Stopped: Millis(p.ev.stopped),
		Samples: p.samples, Discarded: p.discarded, Lateness: Millis(p.lateness), Capture: Millis(p.cost),
		Tree: p.tree.clone().Children, // a copy: the tree grows while others read the record
	}
	o.describe(p.description)
	o.Verdict = p.verdict()
	switch {
	case p.own() < p.budget:
		o.Verdict = p.ev.externalCause()
	case p.provenLive: // proven earlier
	case !p.proven(age) && 2*p.own() < age:
		o.Verdict = p.ev.externalCause()
	case final && p.samples == 0 && p.ev.plainWait(): // it ended before a stack could be taken
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

// locate sets the stack, the culprit and the key of the record. If no stack was taken while the
// code did what the verdict says, only the outermost call of the program is given, without a line.
func (p *probe) locate(o *Overrun) {
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

// asked returns TaskView.YieldChecks of a task that may be running.
//
//go:norace
func asked(t *loop.Task) uint64 { return t.Observe().YieldChecks() }

// number returns the overrun id of a slice that holds its loop.
func (ln *watchedLoop) number(p *probe) uint64 {
	since := p.since
	if p.callback {
		since = -since
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	return ln.idFor(since)
}
