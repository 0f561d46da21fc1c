// The driver's side of a loop: the interfaces that a driver implements and the methods by
// which it runs turns. Also RequestContext, and ForceHandoff and RunReleased, by which tests
// choose where a loop is taken. loop.go has the dispatcher and the posted functions. Handoff
// is in region.go, shutdown in shutdown.go.

package loop

import "context"

// Driver polls for a Loop and runs it: a reactor, or a test in looptest. It calls
// BeginTurn and EndTurn around each of its callbacks. After Wake and WakeAt it calls Turn,
// or RunPosted between BeginTurn and EndTurn; see [Loop.Drive].
//
// A driver may also be a [HandoffDriver] or a [RequestDriver], and may have these methods. Any goroutine
// may call them, except Unflushed, which is for the goroutine that owns or takes the loop:
//
//	RunBeside(f func())  runs f on a goroutine beside the loop; needed for Task.Beside
//	Current() *Task      finds the calling task of any loop; for Loop.Caller
//	Pending() bool       reports whether I/O events are ready
//	Unflushed() bool     reports whether output awaits Flush
//	Waiting() int        counts descriptors with events; for LoopView.Waiting
//
// What Pending and Unflushed report counts as work for which a loop may be taken.
type Driver interface {
	// Now returns the loop clock: monotonic ns, never 0. Any goroutine.
	Now() int64
	// Wake makes the driver run a turn soon, after the I/O that is ready already.
	// Any goroutine.
	Wake()
	// WakeAt makes the driver run a turn once the clock shows at (ns), in place of
	// any earlier WakeAt. Loop goroutine.
	WakeAt(at int64)
	// Flush sends what was written. The loop calls it after each task, or after up to
	// 32 that were each started by the end of the one before, and before it waits. A
	// driver may keep output back for as long as LoopControl.More. Loop goroutine.
	Flush()
}

// HandoffDriver is a Driver whose loop can be taken from a slice. HandOff makes another
// goroutine call LoopControl.Adopt, soon. Any goroutine.
type HandoffDriver interface{ HandOff() }

// RequestDriver is a Driver whose loop lives for one request, on a goroutine of another
// server. State that is kept per loop does not outlive the request there.
type RequestDriver interface {
	Driver
	// Context returns the request's context.
	Context() context.Context
}

// RequestContext returns the context of the request that the loop lives for, or nil for
// a loop that serves many (see [RequestDriver]). Any goroutine.
func (l *Loop) RequestContext() context.Context {
	if d, ok := l.driver.(RequestDriver); ok {
		return d.Context()
	}
	return nil
}

// LoopControl has the methods by which a driver runs its loop. Unless a method says
// otherwise, only the goroutine that owns the loop may call it.
type LoopControl struct{ l *Loop }

// Drive returns the methods for the loop's driver.
func (l *Loop) Drive() LoopControl { return LoopControl{l} }

// Driver returns the loop's driver. Any goroutine.
func (c LoopControl) Driver() Driver { return c.l.driver }

// More reports whether the turn runs another task that is ready, and calls Flush again
// after it. For Flush.
func (c LoopControl) More() bool { return c.l.more }

// SetObserver sets the observer of the loop's slices. Call it before the first turn.
func (c LoopControl) SetObserver(o Observer) {
	c.l.observer = o
	c.l.late, _ = o.(LateObserver)
}

// Turn fires the timers that are due, then runs the posted functions, then the tasks that
// are ready. A driver calls it after Wake and WakeAt, unless another turn comes. The
// result is EndTurn's.
func (c LoopControl) Turn() bool {
	c.BeginTurn()
	c.l.runPosted()
	return c.EndTurn()
}

// BeginTurn begins a callback of the driver: it reads the clock and fires the
// timers that are due. Code between BeginTurn and EndTurn may queue tasks; it runs
// none. Turns do not nest: BeginTurn inside a turn panics.
func (c LoopControl) BeginTurn() {
	l := c.l
	if l.inTurn {
		panic("loop: a turn inside a turn")
	}
	l.inTurn = true
	l.own()
	l.now = l.driver.Now()
	l.slice.betweenTasks(l.now)
	if l.now >= l.armed {
		l.expire()
	}
}

// EventAt sets the time, on the loop clock, since which the event that the driver
// handles in this turn has been ready; estimated marks it as inexact. Tasks that
// the event makes ready are ready since then. EndTurn resets it.
func (c LoopControl) EventAt(at int64, estimated bool) {
	c.l.eventAt, c.l.estimated = at, estimated
}

// RunPosted runs the posted functions inside a turn, and queues the tasks that have
// yielded.
func (c LoopControl) RunPosted() { c.l.runPosted() }

// EndTurn runs the tasks that are ready, flushes what they wrote, and asks for another
// Turn if there is more to run. It runs only the tasks that are queued when it is called,
// and those that start when one of them ends. Tasks that they wake, and tasks that yield,
// run after the next I/O. It reports false when the calling goroutine no longer owns the
// loop; the goroutine must then return without touching the loop.
func (c LoopControl) EndTurn() bool {
	c.l.eventAt, c.l.estimated = 0, false
	return c.l.dispatch()
}

// Owned reports whether the calling goroutine may touch the loop now: it is the
// loop's own, inside a turn, or the task that the loop runs, after Enter. Any
// goroutine.
func (c LoopControl) Owned() bool {
	l := c.l
	if l.isOwner() {
		return l.inTurn
	}
	t := l.Current()
	return t != nil && t.region.word.Load() == inside
}

// IsOwner reports whether the calling goroutine is the loop's own, inside a turn or
// not. Any goroutine.
func (c LoopControl) IsOwner() bool { return c.l.isOwner() }

// TracesArrivals reports whether LoopView.TraceArrivals is on. Any goroutine.
func (c LoopControl) TracesArrivals() bool { return c.l.tracing.Load() }

// ForceHandoff sets a function that is called whenever user code of a task begins, on the
// task's goroutine. Where it returns true, the loop is taken from the task there, as
// a Steward could do at that point. The code runs on beside the loop, or, where the
// driver has no goroutines for that, when RunReleased is called. For tests; call it
// before the first turn.
func (c LoopControl) ForceHandoff(decide func(t *Task) bool) { c.l.force = decide }

// RunReleased runs the code of the task that has been waiting longest since ForceHandoff
// released it, until the task asks for its loop. It reports whether there was one. Call it
// outside turns.
func (c LoopControl) RunReleased() bool {
	l := c.l
	if len(l.forcedOff) == 0 {
		return false
	}
	t := l.forcedOff[0]
	l.forcedOff = l.forcedOff[1:]
	t.next()
	l.comeBack(t)
	return true
}
