package watchdog

// The desk: what is reported and what is kept quiet. The same stack is logged
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

type desk struct {
	config Config
	mu     sync.Mutex
	live   map[uint64]*Overrun
	loud   map[uint64]bool // reported while live
	closed []Overrun       // ring
	at     int
	stacks map[string]*Stack
	counts map[Verdict]*Count
	routes map[string]*Count
	minute time.Time
	spoken int // records in this minute
	unsaid int // for want of them, in this minute
	// spokenLong counts records in this minute of code that ran for alwaysAt beside its loop.
	spokenLong int
	second     time.Time
	sunk       int    // in this second
	spared     uint64 // records beyond SinkMax
	said       uint64 // losses that were reported
	log        journal
	lines      outbox // of the sink
	// discovered is told of the first overrun of a stack, when it is over.
	discovered func(id uint64)
}

func newDesk(c Config) *desk {
	d := &desk{config: c, log: journal{log: c.Log}, live: map[uint64]*Overrun{}, loud: map[uint64]bool{}, stacks: map[string]*Stack{}, counts: map[Verdict]*Count{}, routes: map[string]*Count{}}
	for _, v := range Verdicts {
		d.counts[v] = &Count{}
	}
	return d
}

// open takes the first report of an overrun that is going on.
func (d *desk) open(o Overrun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[o.ID] = &o
	if s := d.admit(&o, time.Now()); s != nil {
		d.loud[o.ID] = true
		d.say(slog.LevelWarn, o.event("a loop is held", "a task runs on beside its loop"), &o)
	}
}

// update takes later reports of it.
func (d *desk) update(o Overrun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[o.ID] = &o
	if d.loud[o.ID] || o.Ran >= alwaysAt {
		d.loud[o.ID] = true
		d.say(slog.LevelWarn, o.event("a loop is still held", "a task still runs on beside its loop"), &o)
	}
}

// suffer updates what an overrun that is going on costs others.
func (d *desk) suffer(id uint64, toll Toll) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.live[id]; o != nil {
		now := *o
		now.Victims = toll
		d.live[id] = &now
	}
}

// close takes the final record.
func (d *desk) close(o Overrun, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	loud := d.loud[o.ID]
	delete(d.live, o.ID)
	delete(d.loud, o.ID)
	d.count(&o)
	if o.Blamed {
		s := d.stack(&o)
		switch {
		case loud:
		case !known && d.admit(&o, now) != nil:
			loud = true
		default:
			s.hushed.Count++
			s.hushed.Held += o.Held
			s.hushed.Ran += o.Ran
			s.hushed.Victims += o.Victims.Total
		}
		s.Add(&o)
		if s.Overruns == 1 {
			d.discovered(o.ID)
		}
	}
	switch {
	case loud:
		d.say(slog.LevelWarn, o.event("a loop was held", "a task ran on beside its loop"), &o)
	case !o.Blamed:
		d.log.say(slog.LevelDebug, "an overrun that its code is not to blame for",
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
func (d *desk) admit(o *Overrun, now time.Time) *Stack {
	s := d.stack(o)
	if now.Before(s.next) {
		return nil
	}
	d.extend(s, now)
	if s.hushed.Count > 0 {
		hushed := s.hushed
		o.Suppressed = &hushed
		s.hushed = Suppressed{}
	}
	return s
}

// extend doubles a stack's quiet time, or begins anew after a long silence.
func (d *desk) extend(s *Stack, now time.Time) {
	if s.interval == 0 || now.Sub(s.next) > s.interval {
		s.interval = d.config.QuietMin
	} else {
		s.interval = min(2*s.interval, d.config.QuietMax)
	}
	s.next = now.Add(s.interval)
}

// say logs unless the minute's lines are used up. A loop that is held for a second has its line in any case, which no more than
// the length of the holds bounds; long code beside its loop has lines of its own, that a flood of short overruns cannot use up.
func (d *desk) say(level slog.Level, what string, o *Overrun) {
	switch {
	case o.Held >= alwaysAt:
	case o.Ran >= alwaysAt && d.spokenLong < d.config.ReportsMax:
		d.spokenLong++
	case !d.spend():
		return
	}
	d.log.say(level, what, o.attrs()...)
}

func (d *desk) spend() bool {
	if d.spoken >= d.config.ReportsMax {
		d.unsaid++
		return false
	}
	d.spoken++
	return true
}

// chores ends the minute, and tells of stacks whose quiet time is over what was
// suppressed in it.
func (d *desk) chores(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.minute) >= time.Minute {
		if d.unsaid > 0 {
			d.log.say(slog.LevelWarn, "more overruns than may be reported in a minute", slog.Int("reports_dropped", d.unsaid))
		}
		if lost := d.log.losses() + d.lines.losses(); lost > d.said {
			d.log.say(slog.LevelWarn, "the log or the file of the watchdog has blocked or failed", slog.Uint64("records_lost", lost))
			d.said = lost
		}
		d.minute, d.spoken, d.spokenLong, d.unsaid = now, 0, 0, 0
	}
	for _, s := range d.stacks {
		if s.hushed.Count > 0 && !now.Before(s.next) {
			d.tell(s)
			d.extend(s, now)
		}
	}
}

func (d *desk) tell(s *Stack) {
	if !d.spend() {
		return
	}
	d.log.say(slog.LevelWarn, "more overruns of the same place", slog.Int("count", s.hushed.Count),
		slog.String("held", s.hushed.Held.String()), slog.String("ran", s.hushed.Ran.String()), slog.String("victim_time", s.hushed.Victims.String()), slog.String("route", s.Route),
		slog.String("verdict", string(s.Verdict)), slog.String("at", s.Culprit.String()), slog.String("stack_key", s.Key))
	s.hushed = Suppressed{}
}

// flush says everything that is still held back.
func (d *desk) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.stacks {
		if s.hushed.Count > 0 {
			d.tell(s)
		}
	}
}

func (d *desk) sink(o *Overrun, now time.Time) {
	if d.config.Sink == nil {
		return
	}
	if now.Sub(d.second) >= time.Second {
		d.second, d.sunk = now, 0
	}
	if d.sunk >= d.config.SinkMax {
		d.spared++
		return
	}
	d.sunk++
	d.sinkLine(*o)
}

// sinkLine writes a record to the sink. Nobody may change what it points to.
func (d *desk) sinkLine(record any) {
	d.lines.put(func() {
		line, err := json.Marshal(record)
		if err == nil {
			_, err = d.config.Sink.Write(append(line, '\n'))
		}
		if err != nil {
			d.lines.fail()
		}
	})
}

// losses counts what the log and the sink did not get.
func (d *desk) losses() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.spared + d.log.losses() + d.lines.losses()
}

// awaitWrites waits until everything is written, or for stopWait.
func (d *desk) awaitWrites() {
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	d.log.flush(ctx)
	d.lines.flush(ctx)
}

func (d *desk) recent() []Overrun {
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
