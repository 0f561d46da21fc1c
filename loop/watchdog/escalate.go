// Escalation: what happens, beside reports, when a loop is held for long. The server becomes
// unready, and later the process is ended with a dump of all stacks. Both apply only while the loop
// is held, not to code that runs beside its loop after a handoff.

package watchdog

import (
	"runtime"
	"time"
)

// Escalation configures what happens when a loop is held for long. The zero value only reports.
type Escalation struct {
	// UnreadyAfter makes Ready return false while a loop is held for longer. 0 means never.
	UnreadyAfter time.Duration
	// Abort, if not nil, is called once, when an overrun that is blamed on the code has held its loop
	// for AbortAfter. stacks is a dump of all goroutines. Abort should end the process.
	Abort      func(o Overrun, stacks []byte)
	AbortAfter time.Duration
}

// Ready reports whether no loop is held for longer than Escalation.UnreadyAfter. Any goroutine may
// call it.
func (w *Watchdog) Ready() bool {
	limit := int64(w.config.Escalation.UnreadyAfter)
	if limit <= 0 {
		return true
	}
	for _, ln := range w.watchedLoops() {
		since, _, ok := ln.loop.Observe().Slice().Load()
		if !ok {
			since, ok = ln.loop.Observe().Slice().BetweenTasks()
		}
		if ok && ln.loop.Clock()-since > limit {
			return false
		}
	}
	return true
}

// escalate calls Abort if a loop has been held for AbortAfter.
func (w *Watchdog) escalate() {
	e := w.config.Escalation
	if e.Abort == nil || e.AbortAfter <= 0 || w.aborted {
		return
	}
	for _, ln := range w.watchedLoops() {
		p := &ln.current
		if p.reported == nil || ln.clock()-p.began < int64(e.AbortAfter) {
			continue
		}
		o := ln.record(p, ln.clock()-p.began, false)
		if !o.Blamed {
			continue // the process or the machine stood still
		}
		w.aborted = true
		stacks := make([]byte, 4<<20)
		e.Abort(o, stacks[:runtime.Stack(stacks, true)])
		return
	}
}
