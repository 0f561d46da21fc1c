// The reporter decides which overruns are logged. A stack is logged once and then at doubling
// intervals, with a count of the overruns left out. All stacks together are limited to a number of
// records per minute. Overruns that are not blamed on code are logged at debug level, or as
// warnings from 1 s on. All closed overruns are counted, kept for Recent and written to the sink.

package watchdog

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// alwaysAt is the run time from which an overrun is reported regardless of its cause and of how
// often its stack was reported.
const alwaysAt = Millis(time.Second)

// reporter is safe for use by any goroutine.
type reporter struct {
	config         Config
	mu             sync.Mutex
	live           map[uint64]*Overrun
	logged         map[uint64]bool // overruns in live that were logged
	closed         []Overrun       // ring
	at             int
	stacks         map[string]*StackTotals
	counts         map[Verdict]*OverrunTotals
	routes         map[string]*OverrunTotals
	minute         time.Time
	reportsUsed    int // log records in this minute
	reportsDropped int // log records left out in this minute
	// longReportsUsed counts log records in this minute of code that ran beside its loop for
	// alwaysAt or longer.
	longReportsUsed int
	second          time.Time
	sinkUsed        int    // sink lines in this second
	sinkDropped     uint64 // records beyond SinkLinesPerSecondMax
	lossesLogged    uint64 // losses that were logged
	log             logOutbox
	lines           outbox // writes to the sink
	// onNewStack is called with the id of the first overrun of a stack, when it is over.
	onNewStack func(id uint64)
}

func newReporter(c Config) *reporter {
	d := &reporter{config: c, log: logOutbox{logger: c.Log}, live: map[uint64]*Overrun{}, logged: map[uint64]bool{}, stacks: map[string]*StackTotals{}, counts: map[Verdict]*OverrunTotals{}, routes: map[string]*OverrunTotals{}}
	for _, v := range Verdicts {
		d.counts[v] = &OverrunTotals{}
	}
	return d
}

// open handles the first report of an overrun that is not over.
func (d *reporter) open(o Overrun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[o.ID] = &o
	if s := d.admit(&o, time.Now()); s != nil {
		d.logged[o.ID] = true
		d.logOverrun(slog.LevelWarn, o.event("a loop is held", "a task runs beside its loop"), &o)
	}
}

// update handles a later report of the same overrun.
func (d *reporter) update(o Overrun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[o.ID] = &o
	if d.logged[o.ID] || o.Ran >= alwaysAt {
		d.logged[o.ID] = true
		d.logOverrun(slog.LevelWarn, o.event("a loop is still held", "a task still runs beside its loop"), &o)
	}
}

// updateVictims updates the cost of an overrun that is not over.
func (d *reporter) updateVictims(id uint64, tally Tally) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.live[id]; o != nil {
		now := *o
		now.Victims = tally
		d.live[id] = &now
	}
}

// close handles the final record. known means that the overrun was reported while it lasted.
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
		d.logOverrun(slog.LevelWarn, o.event("a loop was held", "a task ran beside its loop"), &o)
	case !o.Blamed:
		d.log.write(slog.LevelDebug, "an overrun was not blamed on code",
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

// admit returns the totals of the overrun's stack if the stack may be logged now, or nil. It moves
// the count of suppressed overruns to o.
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

// extendQuiet doubles the quiet time of a stack, or resets it after a long silence.
func (d *reporter) extendQuiet(s *StackTotals, now time.Time) {
	if s.interval == 0 || now.Sub(s.next) > s.interval {
		s.interval = d.config.QuietMin
	} else {
		s.interval = min(2*s.interval, d.config.QuietMax)
	}
	s.next = now.Add(s.interval)
}

// logOverrun logs an overrun unless the limit per minute is used up. An overrun that held its loop
// for alwaysAt is always logged; its length bounds the number of such records. Long code beside its
// loop has a limit of its own, which short overruns do not use up.
func (d *reporter) logOverrun(level slog.Level, what string, o *Overrun) {
	switch {
	case o.Held >= alwaysAt:
	case o.Ran >= alwaysAt && d.longReportsUsed < d.config.ReportsPerMinuteMax:
		d.longReportsUsed++
	case !d.useReport():
		return
	}
	d.log.write(level, what, o.attrs()...)
}

// useReport reports whether another record may be logged in this minute, and counts it.
func (d *reporter) useReport() bool {
	if d.reportsUsed >= d.config.ReportsPerMinuteMax {
		d.reportsDropped++
		return false
	}
	d.reportsUsed++
	return true
}

// maintain runs once a second. It logs dropped records at the end of each minute, and suppressed
// overruns of stacks whose quiet time is over.
func (d *reporter) maintain(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.minute) >= time.Minute {
		if d.reportsDropped > 0 {
			d.log.write(slog.LevelWarn, "overrun report limit per minute exceeded", slog.Int("reports_dropped", d.reportsDropped))
		}
		if lost := d.log.losses() + d.lines.losses(); lost > d.lossesLogged {
			d.log.write(slog.LevelWarn, "watchdog log or overrun file blocked or failed", slog.Uint64("records_lost", lost))
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

// logSuppressed logs and resets the count of suppressed overruns of a stack.
func (d *reporter) logSuppressed(s *StackTotals) {
	if !d.useReport() {
		return
	}
	d.log.write(slog.LevelWarn, "more overruns with the same stack", slog.Int("count", s.suppressed.Count),
		slog.String("held", s.suppressed.Held.String()), slog.String("ran", s.suppressed.Ran.String()), slog.String("victim_time", s.suppressed.Victims.String()), slog.String("route", s.Route),
		slog.String("verdict", string(s.Verdict)), slog.String("at", s.Culprit.String()), slog.String("stack_key", s.Key))
	s.suppressed = Suppressed{}
}

// flush logs all counts of suppressed overruns.
func (d *reporter) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.stacks {
		if s.suppressed.Count > 0 {
			d.logSuppressed(s)
		}
	}
}

// sink writes an overrun to the sink, at most SinkLinesPerSecondMax in a second.
func (d *reporter) sink(o *Overrun, now time.Time) {
	if d.config.Sink == nil {
		return
	}
	if now.Sub(d.second) >= time.Second {
		d.second, d.sinkUsed = now, 0
	}
	if d.sinkUsed >= d.config.SinkLinesPerSecondMax {
		d.sinkDropped++
		return
	}
	d.sinkUsed++
	d.sinkLine(*o)
}

// sinkLine queues a record for the sink. What the record refers to must not change afterwards.
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

// losses returns the number of records that the log and the sink did not get.
func (d *reporter) losses() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sinkDropped + d.log.losses() + d.lines.losses()
}

// awaitWrites waits until everything is written, at most stopWait.
func (d *reporter) awaitWrites() {
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	d.log.flush(ctx)
	d.lines.flush(ctx)
}

// recent returns current overruns, then closed ones, newest first.
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

// event returns beside if the loop was handed over, held otherwise.
func (o *Overrun) event(held, beside string) string {
	if o.Released {
		return beside
	}
	return held
}

// attrs returns the record as log attributes.
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
	if o.Callback {
		attrs = append(attrs, slog.Bool("callback", true))
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
	if o.EndedBy != nil {
		attrs = append(attrs, slog.String("ended_by", o.EndedBy.String()))
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

// stackLine returns the innermost 16 frames in one line.
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
