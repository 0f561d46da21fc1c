// The waker: what ended the wait of an overrun for a lock or a channel. While such an overrun lasts, the
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

// Waker is what ended a wait.
type Waker struct {
	Goroutine uint64  `json:"goroutine,omitempty"` // 0: a timer, or the runtime
	At        Frame   `json:"at"`                  // the innermost frame of the program's own code
	Stack     []Frame `json:"stack,omitempty"`     // innermost first
}

// wakerSearch looks for the waker of one overrun.
type wakerSearch struct {
	gid      uint64 // of the goroutine that waits
	ended    chan struct{}
	endOnce  sync.Once
	finished chan struct{} // closed when found is set
	found    *Waker        // nil: not known
}

// findWaker starts a search for the waker of an overrun that was reported now, at most one at a time.
// It runs on the sampler.
func (ln *watchedLoop) findWaker(w *Watchdog, p *probe, o *Overrun) {
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
	s := &wakerSearch{gid: gid, ended: make(chan struct{}), finished: make(chan struct{})}
	p.search = s
	w.background.Go(func() { w.search(s) })
}

// end tells the search that the overrun is over. s may be nil.
func (s *wakerSearch) end() {
	if s != nil {
		s.endOnce.Do(func() { close(s.ended) })
	}
}

// over reports whether the search has ended. s may be nil.
func (s *wakerSearch) over() bool {
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

// result returns the waker, or nil if it is not known or the search is not over. s may be nil.
func (s *wakerSearch) result() *Waker {
	if s == nil || !s.over() {
		return nil
	}
	return s.found
}

// search records until the overrun is over.
func (w *Watchdog) search(s *wakerSearch) {
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
		s.found, err = readWaker(&recorded, s.gid)
	}
	if err != nil {
		w.reporter.log.write(slog.LevelWarn, "cannot read what ended a wait", slog.String("error", err.Error()))
	}
}

// readWaker returns what made a goroutine ready at the end of its last wait in a trace, or nil. Where the
// trace begins in a wait, that is the first one. Switches to a coroutine, such as those to a task, are no
// ends of waits.
func readWaker(recorded io.Reader, gid uint64) (found *Waker, err error) {
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
			if waker := wakerOf(event); waker != nil {
				found = waker
			}
		}
	}
}

// wakerOf returns the waker that an event names, or nil if it is a switch to a coroutine: only these have a
// goroutine and no stack.
func wakerOf(event trace.Event) *Waker {
	waker := &Waker{}
	for f := range event.Stack().Frames() {
		waker.Stack = append(waker.Stack, Frame{Func: f.Func, File: f.File, Line: int(f.Line)})
	}
	if g := event.Goroutine(); g != trace.NoGoroutine {
		waker.Goroutine = uint64(g)
		if len(waker.Stack) == 0 {
			return nil
		}
	}
	waker.Stack = trim(waker.Stack)
	waker.At = culprit(waker.Stack)
	return waker
}

// String returns where the waker was.
func (k *Waker) String() string {
	if k.At.Func == "" {
		return "a timer or the Go runtime"
	}
	return k.At.String()
}
