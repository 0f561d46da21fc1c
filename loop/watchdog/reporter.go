package watchdog

// The reporter: what is reported and what is kept quiet. The same stack is logged
// once, then at doubling intervals with what was left out in between; all
// stacks together have a cap a minute; what the code is not to blame for is
// counted only. Every closed overrun is kept for Recent and the sink.

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// alwaysAt is how long the code of an overrun must have run for it to be reported however often
// its stack was.
const alwaysAt = Millis(time.Second)

type reporter struct {
	config         Config
	mu             sync.Mutex
	live           map[uint64]*Overrun
	logged         map[uint64]bool // reported while live
	closed         []Overrun       // ring
	at             int
	stacks         map[string]*StackTotals
	counts         map[Verdict]*OverrunTotals
	routes         map[string]*OverrunTotals
	minute         time.Time
	reportsUsed    int // records in this minute
	reportsDropped int // for want of them, in this minute
	// longReportsUsed counts records in this minute of code that ran for alwaysAt beside its loop.
	longReportsUsed int
	second          time.Time
	sinkUsed        int    // in this second
	sinkDropped     uint64 // records beyond SinkMax
	lossesLogged    uint64 // losses that were reported
	log             logOutbox
	lines           outbox // of the sink
	// onNewStack is told of the first overrun of a stack, when it is over.
	onNewStack func(id uint64)
}

func newReporter(c Config) *reporter {
	d := &reporter{config: c, log: logOutbox{logger: c.Log}, live: map[uint64]*Overrun{}, logged: map[uint64]bool{}, stacks: map[string]*StackTotals{}, counts: map[Verdict]*OverrunTotals{}, routes: map[string]*OverrunTotals{}}
	for _, v := range Verdicts {
		d.counts[v] = &OverrunTotals{}
	}
	return d
}

// open takes the first report of an overrun that is going on.
func (d *reporter) open(o Overrun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[o.ID] = &o
	if s := d.admit(&o, time.Now()); s != nil {
		d.logged[o.ID] = true
		d.logOverrun(slog.LevelWarn, o.event("a loop is held", "a task runs on beside its loop"), &o)
	}
}

// update takes later reports of it.
func (d *reporter) update(o Overrun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[o.ID] = &o
	if d.logged[o.ID] || o.Ran >= alwaysAt {
		d.logged[o.ID] = true
		d.logOverrun(slog.LevelWarn, o.event("a loop is still held", "a task still runs on beside its loop"), &o)
	}
}

// updateVictims updates what an overrun that is going on costs others.
func (d *reporter) updateVictims(id uint64, tally Tally) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.live[id]; o != nil {
		now := *o
		now.Victims = tally
		d.live[id] = &now
	}
}

// close takes the final record.
func (d *reporter) close(o Overrun, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	logged := d.logged[o.ID]
	delete(d.live, o.ID)
	delete(d.logged, o.ID)
	d.count(&o)
	if o.Blamed {
		s := d.stack(&o)
		switch {
		case logged:
		case !known && d.admit(&o, now) != nil:
			logged = true
		default:
			s.suppressed.Count++
			s.suppressed.Held += o.Held
			s.suppressed.Ran += o.Ran
			s.suppressed.Victims += o.Victims.Total
		}
		s.Add(&o)
		if s.Overruns == 1 {
			d.onNewStack(o.ID)
		}
	}
	switch {
	case logged:
		d.logOverrun(slog.LevelWarn, o.event("a loop was held", "a task ran on beside its loop"), &o)
	case !o.Blamed:
		d.log.write(slog.LevelDebug, "an overrun that its code is not to blame for",
			slog.String("verdict", string(o.Verdict)), slog.Int("loop", o.Loop), slog.String("held", o.Held.String()),
			slog.String("ran", o.Ran.String()), slog.Bool("released", o.Released))
	}
	if len(d.closed) < d.config.RecentMax {
		d.closed = append(d.closed, o)
	} else {
		d.closed[d.at] = o
		d.at = (d.at + 1) % len(d.closed)
	}
	d.sink(&o, now)
}

// admit decides whether a stack may be reported now; it then carries what was
// suppressed before.
func (d *reporter) admit(o *Overrun, now time.Time) *StackTotals {
	s := d.stack(o)
	if now.Before(s.next) {
		return nil
	}
	d.extendQuiet(s, now)
	if s.suppressed.Count > 0 {
		suppressed := s.suppressed
		o.Suppressed = &suppressed
		s.suppressed = Suppressed{}
	}
	return s
}

// extend doubles a stack's quiet time, or begins anew after a long silence.
func (d *reporter) extendQuiet(s *StackTotals, now time.Time) {
	if s.interval == 0 || now.Sub(s.next) > s.interval {
		s.interval = d.config.QuietMin
	} else {
		s.interval = min(2*s.interval, d.config.QuietMax)
	}
	s.next = now.Add(s.interval)
}

// say logs unless the minute's lines are used up. A loop that is held for a second has its line in any case, which no more than
// the length of the holds bounds; long code beside its loop has lines of its own, that a flood of short overruns cannot use up.
func (d *reporter) logOverrun(level slog.Level, what string, o *Overrun) {
	switch {
	case o.Held >= alwaysAt:
	case o.Ran >= alwaysAt && d.longReportsUsed < d.config.ReportsMax:
		d.longReportsUsed++
	case !d.useReport():
		return
	}
	d.log.write(level, what, o.attrs()...)
}

func (d *reporter) useReport() bool {
	if d.reportsUsed >= d.config.ReportsMax {
		d.reportsDropped++
		return false
	}
	d.reportsUsed++
	return true
}

// chores ends the minute, and tells of stacks whose quiet time is over what was
// suppressed in it.
func (d *reporter) maintain(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.minute) >= time.Minute {
		if d.reportsDropped > 0 {
			d.log.write(slog.LevelWarn, "more overruns than may be reported in a minute", slog.Int("reports_dropped", d.reportsDropped))
		}
		if lost := d.log.losses() + d.lines.losses(); lost > d.lossesLogged {
			d.log.write(slog.LevelWarn, "the log or the file of the watchdog has blocked or failed", slog.Uint64("records_lost", lost))
			d.lossesLogged = lost
		}
		d.minute, d.reportsUsed, d.longReportsUsed, d.reportsDropped = now, 0, 0, 0
	}
	for _, s := range d.stacks {
		if s.suppressed.Count > 0 && !now.Before(s.next) {
			d.logSuppressed(s)
			d.extendQuiet(s, now)
		}
	}
}

func (d *reporter) logSuppressed(s *StackTotals) {
	if !d.useReport() {
		return
	}
	d.log.write(slog.LevelWarn, "more overruns of the same place", slog.Int("count", s.suppressed.Count),
		slog.String("held", s.suppressed.Held.String()), slog.String("ran", s.suppressed.Ran.String()), slog.String("victim_time", s.suppressed.Victims.String()), slog.String("route", s.Route),
		slog.String("verdict", string(s.Verdict)), slog.String("at", s.Culprit.String()), slog.String("stack_key", s.Key))
	s.suppressed = Suppressed{}
}

// flush says everything that is still held back.
func (d *reporter) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.stacks {
		if s.suppressed.Count > 0 {
			d.logSuppressed(s)
		}
	}
}

func (d *reporter) sink(o *Overrun, now time.Time) {
	if d.config.Sink == nil {
		return
	}
	if now.Sub(d.second) >= time.Second {
		d.second, d.sinkUsed = now, 0
	}
	if d.sinkUsed >= d.config.SinkMax {
		d.sinkDropped++
		return
	}
	d.sinkUsed++
	d.sinkLine(*o)
}

// sinkLine writes a record to the sink. Nobody may change what it points to.
func (d *reporter) sinkLine(record any) {
	d.lines.enqueue(func() {
		line, err := json.Marshal(record)
		if err == nil {
			_, err = d.config.Sink.Write(append(line, '\n'))
		}
		if err != nil {
			d.lines.countFailure()
		}
	})
}

// losses counts what the log and the sink did not get.
func (d *reporter) losses() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sinkDropped + d.log.losses() + d.lines.losses()
}

// awaitWrites waits until everything is written, or for stopWait.
func (d *reporter) awaitWrites() {
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	d.log.flush(ctx)
	d.lines.flush(ctx)
}

func (d *reporter) recent() []Overrun {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Overrun, 0, len(d.closed)+len(d.live))
	for _, o := range d.live {
		now := *o
		now.Ran = max(now.Ran, Millis(time.Since(o.Started)))
		if !now.Released {
			now.Held = now.Ran
		}
		all = append(all, now)
	}
	slices.SortFunc(all, func(a, b Overrun) int { return int(b.ID) - int(a.ID) })
	for i := range d.closed {
		all = append(all, d.closed[(d.at+len(d.closed)-1-i)%len(d.closed)])
	}
	return all
}

// event is what a log says of it: held of one that holds its loop, beside of one
// whose loop was handed over.
func (o *Overrun) event(held, beside string) string {
	if o.Released {
		return beside
	}
	return held
}

// attrs is the record for a log.
func (o *Overrun) attrs() []slog.Attr {
	attrs := []slog.Attr{
		slog.Uint64("overrun", o.ID), slog.Int("loop", o.Loop), slog.String("verdict", string(o.Verdict)),
		slog.String("held", o.Held.String()), slog.String("ran", o.Ran.String()), slog.Bool("released", o.Released),
		slog.String("budget", o.Budget.String()),
	}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("route", o.Route)
	add("method", o.Method)
	add("path", o.Path)
	add("request_id", o.RequestID)
	add("traceparent", o.Traceparent)
	add("remote", o.Remote)
	if o.Outside {
		attrs = append(attrs, slog.Bool("outside_tasks", true))
	} else {
		attrs = append(attrs, slog.Uint64("task", o.Task), slog.Uint64("conn", o.Conn))
	}
	if o.Culprit.Func != "" {
		add("at", o.Culprit.String())
		add("stack", o.stackLine())
	}
	if o.Samples > 1 {
		add("samples", (&Tree{Children: o.Tree}).String())
	}
	add("advice", o.Advice)
	if v := o.Victims; v.Count > 0 {
		attrs = append(attrs, slog.Int("victims", v.Count), slog.String("victim_time", v.Total.String()), slog.Int("victims_estimated", v.Estimated))
		if len(v.Worst) > 0 {
			add("worst", v.Worst[0].String())
		}
	}
	if s := o.Suppressed; s != nil {
		attrs = append(attrs, slog.Int("suppressed", s.Count), slog.String("suppressed_held", s.Held.String()),
			slog.String("suppressed_ran", s.Ran.String()), slog.String("suppressed_victim_time", s.Victims.String()))
	}
	if o.Lateness > Millis(time.Millisecond) {
		add("watchdog_late", o.Lateness.String())
	}
	return attrs
}

// stackLine is the innermost frames in one line.
func (o *Overrun) stackLine() string {
	line := ""
	for i, f := range o.Stack {
		if i == 16 {
			return line + " < ..."
		}
		if i > 0 {
			line += " < "
		}
		line += f.String()
	}
	return line
}

func (v Victim) String() string {
	who := v.Route
	if v.RequestID != "" {
		who += " " + v.RequestID
	}
	return who + " +" + v.Delay.String()
}
