package watchdog

// Escalation: what is done about a loop that is held for long, beside reports,
// where it is configured. The process says that it is not ready, and it is ended
// with a dump of all stacks. Both mean a loop that was not handed over; code that
// runs beside its loop holds nobody.

import (
	"runtime"
	"time"
)

// Escalation configures it. The zero value only reports.
type Escalation struct {
	// UnreadyAfter: Ready is false while a loop is held for longer. 0: never.
	UnreadyAfter time.Duration
	// Abort, if not nil, is called once when a loop has been held for AbortAfter by
	// blameable code, with the stacks of all goroutines; it should end the process.
	Abort      func(o Overrun, stacks []byte)
	AbortAfter time.Duration
}

// Ready tells whether no loop is held for longer than Escalation.UnreadyAfter.
// Any goroutine.
func (w *Watchdog) Ready() bool {
	limit := int64(w.config.Escalation.UnreadyAfter)
	if limit <= 0 {
		return true
	}
	for _, ln := range w.lanes() {
		since, _, ok := ln.loop.Observe().Slice().Load()
		if !ok {
			since, ok = ln.loop.Observe().Slice().Outside()
		}
		if ok && ln.loop.Clock()-since > limit {
			return false
		}
	}
	return true
}

// escalate ends the process if a loop is held for too long.
func (w *Watchdog) escalate() {
	e := w.config.Escalation
	if e.Abort == nil || e.AbortAfter <= 0 || w.aborted {
		return
	}
	for _, ln := range w.lanes() {
		p := &ln.hunt
		if p.reported == nil || ln.clock()-p.began < int64(e.AbortAfter) {
			continue
		}
		w.aborted = true
		stacks := make([]byte, 4<<20)
		e.Abort(ln.record(p, ln.clock()-p.began, false), stacks[:runtime.Stack(stacks, true)])
		return
	}
}
