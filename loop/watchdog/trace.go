package watchdog

// The flight recorder's contents as Chrome trace JSON, which ui.perfetto.dev and
// chrome://tracing open: a track for each loop, and others for the code that ran
// beside it; arrows along each request across its waits and handoffs, and from
// each culprit to its victims.

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"time"

	"tafe/loop"
)

// event is one trace event; the format is Google's "Trace Event Format".
type event struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	Cat   string         `json:"cat,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	TS    float64        `json:"ts"` // us
	Dur   *float64       `json:"dur,omitempty"`
	ID    string         `json:"id,omitempty"`
	Bind  string         `json:"bp,omitempty"`
	Color string         `json:"cname,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

type tracer struct {
	out   *bufio.Writer
	first bool
	err   error
	flows int
}

// WriteTrace writes what the loops did in the last window, as far back as the
// recorder reaches. It reads the rings without the loops' help: they may be
// stuck. Any goroutine.
func (w *Watchdog) WriteTrace(out io.Writer, window time.Duration) error {
	tr := &tracer{out: bufio.NewWriterSize(out, 64<<10), first: true}
	tr.raw(`{"displayTimeUnit":"ns","traceEvents":[`)
	tr.emit(event{Name: "process_name", Phase: "M", PID: 1, Args: map[string]any{"name": "tafe"}})
	overruns := w.Recent()
	for _, ln := range w.lanes() {
		from := ln.loop.Clock() - int64(window)
		tr.lane(ln, from, overruns)
	}
	tr.raw("\n]}\n")
	if tr.err != nil {
		return tr.err
	}
	return tr.out.Flush()
}

func (tr *tracer) raw(s string) {
	if tr.err == nil {
		_, tr.err = tr.out.WriteString(s)
	}
}

func (tr *tracer) emit(e event) {
	line, err := json.Marshal(e)
	if err != nil && tr.err == nil {
		tr.err = err
	}
	if !tr.first {
		tr.raw(",")
	}
	tr.first = false
	tr.raw("\n")
	tr.raw(string(line))
}

func (tr *tracer) lane(ln *lane, from int64, overruns []Overrun) {
	tid := ln.loop.ID() + 1
	tr.emit(event{Name: "thread_name", Phase: "M", PID: 1, TID: tid, Args: map[string]any{"name": "loop " + strconv.Itoa(ln.loop.ID())}})
	byStart := map[int64]*Overrun{}
	for i := range overruns {
		if o := &overruns[i]; o.Loop == ln.loop.ID() && o.start+int64(o.Held) >= from {
			byStart[o.start] = o
		}
	}
	runs := ln.runs.since(from)
	known := make(map[int64]bool, len(runs)) // starts: arrows end where a slice is
	for _, run := range runs {
		known[run.Start] = true
	}
	for _, o := range byStart { // still going on, held by no task, or older than the recorder reaches
		if !known[o.start] {
			runs = append(runs, Run{Start: o.start, End: o.start + int64(o.Held), Ready: o.start, Task: o.Task})
		}
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return cmp.Compare(a.Start, b.Start) })
	beside := ln.releasedRuns(from)
	tr.released(ln.loop.ID(), beside, runs, byStart)
	last := map[uint64]Run{} // of each task
	for _, run := range runs {
		o := byStart[run.Start]
		tr.slice(tid, run, o)
		if before, ok := last[run.Task]; ok && run.Task != 0 {
			tr.flow("request", tid, lastOf(before), tid, run.Start)
		}
		last[run.Task] = run
		if o != nil {
			tr.victims(tid, lastOf(run), o, known)
		}
	}
}

// releasedRuns are the runs beside the loop, with those that go on.
func (ln *lane) releasedRuns(from int64) []Run {
	runs := ln.tracks.since(from)
	now := ln.clock()
	ln.loop.Observe().EachLeft(func(t *loop.Task, left int64) {
		runs = append(runs, Run{Start: left, End: max(now, left), Ready: left, Task: t.ID(), Route: t.Observe().RoutePattern()})
	})
	ln.mu.Lock()
	defer ln.mu.Unlock()
	for t, r := range ln.beside {
		runs = append(runs, Run{Start: r.taken, End: max(now, r.taken), Ready: r.taken, Task: t.ID(), Route: t.Observe().RoutePattern()})
	}
	slices.SortFunc(runs, func(a, b Run) int { return cmp.Compare(a.Start, b.Start) })
	return runs
}

// besideTracks is from where the numbers of tracks for released code begin; each
// loop has as many as it had released tasks at once.
const besideTracks = 1 << 20

// released draws code that ran beside a loop, each piece on the first track that
// is free, with an arrow from where the loop was taken from it.
func (tr *tracer) released(id int, beside, runs []Run, byStart map[int64]*Overrun) {
	type moment struct {
		task uint64
		at   int64
	}
	taken := map[moment]Run{} // slices by their ends
	for _, run := range runs {
		taken[moment{run.Task, run.End}] = run
	}
	var free []int64 // when each track is
	for _, run := range beside {
		n := slices.IndexFunc(free, func(at int64) bool { return at <= run.Start })
		if n < 0 {
			n = len(free)
			free = append(free, 0)
			name := "loop " + strconv.Itoa(id) + " released"
			if n > 0 {
				name += " " + strconv.Itoa(n+1)
			}
			tr.emit(event{Name: "thread_name", Phase: "M", PID: 1, TID: besideTrack(id, n), Args: map[string]any{"name": name}})
		}
		free[n] = run.End
		slice, ok := taken[moment{run.Task, run.Start}]
		tr.slice(besideTrack(id, n), run, byStart[slice.Start])
		if ok {
			tr.flow("handoff", id+1, lastOf(slice), besideTrack(id, n), run.Start)
		}
	}
}

func besideTrack(id, n int) int { return besideTracks + id<<10 + n }

// lastOf is the last nanosecond of a run, at which its slice ends in the trace. The next one may begin with the very next; where a
// viewer adds up a start and a length in floating point, slices that touch would overlap, and be nested.
func lastOf(r Run) int64 { return max(r.End-1, r.Start) }

func (tr *tracer) slice(tid int, run Run, o *Overrun) {
	dur := micros(lastOf(run) - run.Start)
	e := event{Name: "task", Phase: "X", Cat: "slice", PID: 1, TID: tid, TS: micros(run.Start), Dur: &dur,
		Args: map[string]any{"task": run.Task, "waited_us": micros(run.Start - run.Ready)}}
	if run.Route != nil {
		e.Name = *run.Route
	}
	if o != nil {
		e.Cat, e.Color = "overrun", "terrible"
		if o.Route != "" {
			e.Name = o.Route
		}
		e.Args["overrun"], e.Args["verdict"], e.Args["request_id"] = o.ID, o.Verdict, o.RequestID
		e.Args["stack"] = Folded(o.Stack)
		e.Args["victim_ms"], e.Args["held_ms"], e.Args["ran_ms"], e.Args["released"] = o.Victims.Total, o.Held, o.Ran, o.Released
	}
	tr.emit(e)
}

// flow draws an arrow from a moment of a track to one of the same or another.
func (tr *tracer) flow(name string, tid int, from int64, toTID int, to int64) {
	tr.flows++
	id := strconv.Itoa(tr.flows)
	// An arrow begins inside a slice, not at its end.
	tr.emit(event{Name: name, Phase: "s", Cat: "flow", PID: 1, TID: tid, TS: micros(from - 1), ID: id})
	tr.emit(event{Name: name, Phase: "f", Cat: "flow", PID: 1, TID: toTID, TS: micros(to), ID: id, Bind: "e"})
}

func (tr *tracer) victims(tid int, end int64, o *Overrun, known map[int64]bool) {
	for _, v := range o.Victims.Worst {
		if v.start >= end && known[v.start] {
			tr.flow("delayed "+v.Delay.String(), tid, end, tid, v.start)
		}
	}
}

func micros(ns int64) float64 { return float64(ns) / 1e3 }
