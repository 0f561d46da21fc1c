// The unblocker: what ended the wait of an overrun for a lock or a channel. While such an overrun lasts, the
// flight recorder of the Go runtime runs. Its trace has each time that a goroutine was made ready, with
// the goroutine that did it and its stack. Running all the time it would cost 5% of a short request; see
// docs/decisions/021.

package watchdog

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	runtimetrace "runtime/trace"
	"sync"
	"time"

	"golang.org/x/exp/trace"
)

const (
	searchMax      = 5 * time.Second         // longest time that the recorder runs for an overrun
	searchRest     = int64(10 * time.Second) // from the start of one search to that of the next, ns
	searchBytesMax = 4 << 20                 // of the trace, about: the latest ones
)

// Unblocker is what ended a wait.
type Unblocker struct {
	Goroutine uint64  `json:"goroutine,omitempty"` // 0: a timer, or the runtime
	At        Frame   `json:"at"`                  // the innermost frame of the program's own code
	Stack     []Frame `json:"stack,omitempty"`     // innermost first
}

// unblockerSearch looks for the unblocker of one overrun.
type unblockerSearch struct {
	gid      uint64 // of the goroutine that waits
	ended    chan struct{}
	endOnce  sync.Once
	finished chan struct{} // closed when found is set
	found    *Unblocker    // nil: not known
}

// findUnblocker starts a search for the unblocker of an overrun that was reported now, at most one at a time.
// It runs on the sampler.
func (ln *watchedLoop) findUnblocker(w *Watchdog, p *probe, o *Overrun) {
	now := monotonic()
	if !w.config.Wakers || ln.passive || p.task == nil || o.Verdict != Lock && o.Verdict != Channel ||
		w.searchAt != 0 && now-w.searchAt < searchRest {
		return
	}
	gid := p.task.Observe().GoroutineID()
	if !ln.still(p) {
		return
	}
	w.searchAt = now
	s := &unblockerSearch{gid: gid, ended: make(chan struct{}), finished: make(chan struct{})}
	p.search = s
	w.background.Go(func() { w.search(s) })
}

// end tells the search that the overrun is over. s may be nil.
func (s *unblockerSearch) end() {
	if s != nil {
		s.endOnce.Do(func() { close(s.ended) })
	}
}

// over reports whether the search has ended. s may be nil.
func (s *unblockerSearch) over() bool {
	if s == nil {
		return true
	}
	select {
	case <-s.finished:
		return true
	default:
		return false
	}
}

// result returns the unblocker, or nil if it is not known or the search is not over. s may be nil.
func (s *unblockerSearch) result() *Unblocker {
	if s == nil || !s.over() {
		return nil
	}
	return s.found
}

// search records until the overrun is over.
func (w *Watchdog) search(s *unblockerSearch) {
	defer close(s.finished)
	recorder := runtimetrace.NewFlightRecorder(runtimetrace.FlightRecorderConfig{MaxBytes: searchBytesMax})
	if err := recorder.Start(); err != nil { // another one runs
		w.reporter.log.write(slog.LevelWarn, "cannot record what ends a wait", slog.String("error", err.Error()))
		return
	}
	late := time.NewTimer(searchMax)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
	case <-w.stopped:
	}
	var recorded bytes.Buffer
	_, err := recorder.WriteTo(&recorded)
	recorder.Stop()
	if err == nil {
		s.found, err = readUnblocker(&recorded, s.gid)
	}
	if err != nil {
		w.reporter.log.write(slog.LevelWarn, "cannot read what ended a wait", slog.String("error", err.Error()))
	}
}

// readUnblocker returns what made a goroutine ready at the end of its last wait in a trace, or nil. Where the
// trace begins in a wait, that is the first one. Switches to a coroutine, such as those to a task, are no
// ends of waits.
func readUnblocker(recorded io.Reader, gid uint64) (found *Unblocker, err error) {
	reader, err := trace.NewReader(recorded)
	if err != nil {
		return nil, err
	}
	waits := true
	for {
		event, err := reader.ReadEvent()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		if event.Kind() != trace.EventStateTransition {
			continue
		}
		change := event.StateTransition()
		if change.Resource.Kind != trace.ResourceGoroutine || uint64(change.Resource.Goroutine()) != gid {
			continue
		}
		from, to := change.Goroutine()
		switch {
		case to == trace.GoWaiting && from == trace.GoRunning:
			waits = change.Reason != ""
		case from == trace.GoWaiting && to == trace.GoRunnable && waits:
			if unblocker := unblockerOf(event); unblocker != nil {
				found = unblocker
			}
		}
	}
}

// unblockerOf returns the unblocker that an event names, or nil if it is a switch to a coroutine: only these have a
// goroutine and no stack.
func unblockerOf(event trace.Event) *Unblocker {
	unblocker := &Unblocker{}
	for f := range event.Stack().Frames() {
		unblocker.Stack = append(unblocker.Stack, Frame{Func: f.Func, File: f.File, Line: int(f.Line)})
	}
	if g := event.Goroutine(); g != trace.NoGoroutine {
		unblocker.Goroutine = uint64(g)
		if len(unblocker.Stack) == 0 {
			return nil
		}
	}
	unblocker.Stack = trim(unblocker.Stack)
	unblocker.At = culprit(unblocker.Stack)
	return unblocker
}

// String returns where the unblocker was.
func (u *Unblocker) String() string {
	if u.At.Func == "" {
		return "a timer or the Go runtime"
	}
	return u.At.String()
}
