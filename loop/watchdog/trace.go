// The flight recorder as Chrome trace JSON, for ui.perfetto.dev and chrome://tracing. Each loop has
// a track, and more tracks for code that ran beside it. Arrows follow each request across its waits
// and handoffs, and lead from each culprit to its victims.

package watchdog

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

// event is one event in Google's Trace Event Format.
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

// tracer writes one trace.
type tracer struct {
	out   *bufio.Writer
	first bool
	err   error
	flows int
}

// WriteTrace writes the slices of all loops in the last window to out, as far back as the recorder
// reaches. It works while loops are held. Any goroutine may call it.
func (w *Watchdog) WriteTrace(out io.Writer, window time.Duration) error {
	tr := &tracer{out: bufio.NewWriterSize(out, 64<<10), first: true}
	tr.raw(`{"displayTimeUnit":"ns","traceEvents":[`)
	tr.emit(event{Name: "process_name", Phase: "M", PID: 1, Args: map[string]any{"name": "tafe"}})
	overruns := w.Recent()
	for _, ln := range w.watchedLoops() {
		from := ln.loop.Clock() - int64(window)
		tr.loop(ln, from, overruns)
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

func (tr *tracer) loop(ln *watchedLoop, from int64, overruns []Overrun) {
	tid := ln.loop.ID() + 1
	tr.emit(event{Name: "thread_name", Phase: "M", PID: 1, TID: tid, Args: map[string]any{"name": "loop " + strconv.Itoa(ln.loop.ID())}})
	byStart := map[int64]*Overrun{}
	for i := range overruns {
		if o := &overruns[i]; o.Loop == ln.loop.ID() && o.start+int64(o.Held) >= from {
			byStart[o.start] = o
		}
	}
	runs := ln.runs.since(from)
	known := make(map[int64]bool, len(runs)) // starts of runs: arrows end at a slice
	for _, run := range runs {
		known[run.Start] = true
	}
	for _, o := range byStart { // not over, a callback, or no longer in the recorder
		if !known[o.start] {
			runs = append(runs, recordedSlice{Start: o.start, End: o.start + int64(o.Held), Ready: o.start, Task: o.Task})
		}
	}
	slices.SortStableFunc(runs, func(a, b recordedSlice) int { return cmp.Compare(a.Start, b.Start) })
	beside := ln.releasedRuns(from)
	tr.released(ln.loop.ID(), beside, runs, byStart)
	last := map[uint64]recordedSlice{} // last run of each task
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

// releasedRuns returns the runs beside the loop, including current ones.
func (ln *watchedLoop) releasedRuns(from int64) []recordedSlice {
	runs := ln.tracks.since(from)
	now := ln.clock()
	ln.loop.Observe().EachLeft(func(t *loop.Task, left int64) {
		runs = append(runs, recordedSlice{Start: left, End: max(now, left), Ready: left, Task: t.ID(), Route: t.Observe().RoutePattern()})
	})
	ln.mu.Lock()
	defer ln.mu.Unlock()
	for t, r := range ln.beside {
		runs = append(runs, recordedSlice{Start: r.taken, End: max(now, r.taken), Ready: r.taken, Task: t.ID(), Route: t.Observe().RoutePattern()})
	}
	slices.SortFunc(runs, func(a, b recordedSlice) int { return cmp.Compare(a.Start, b.Start) })
	return runs
}

// besideTracks is the first track number for released code. A loop has as many such tracks as it
// had released tasks at once.
const besideTracks = 1 << 20

// released draws code that ran beside a loop. Each run goes to the first free track, with an arrow
// from the slice whose loop was handed over.
func (tr *tracer) released(id int, beside, runs []recordedSlice, byStart map[int64]*Overrun) {
	type moment struct {
		task uint64
		at   int64
	}
	taken := map[moment]recordedSlice{} // slices by task and end
	for _, run := range runs {
		taken[moment{run.Task, run.End}] = run
	}
	var free []int64 // when each track becomes free
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

// lastOf returns the last nanosecond of a run, where its slice ends in the trace. Otherwise slices
// that touch could overlap by rounding in viewers that add a start and a length in floating point,
// and would be nested.
func lastOf(r recordedSlice) int64 { return max(r.End-1, r.Start) }

func (tr *tracer) slice(tid int, run recordedSlice, o *Overrun) {
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

// flow draws an arrow from a time on one track to a time on the same or another track.
func (tr *tracer) flow(name string, tid int, from int64, toTID int, to int64) {
	tr.flows++
	id := strconv.Itoa(tr.flows)
	// An arrow must begin inside a slice, before its end.
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
