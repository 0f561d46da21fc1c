package loop

// Loops and tasks tell the watchdog which goroutine and OS thread they run on, and
// what that goroutine waits for. Only internal/goruntime reads the Go runtime.

import (
	"context"
	"runtime/pprof"
	"strconv"
	"unsafe"

	"tafe/loop/internal/goruntime"
)

// The states of Task.State that are not waits. A wait has the name that stack
// dumps give it: "sleep", "chan receive", "sync.Mutex.Lock", "coroutine"…
const (
	StateUnknown  = goruntime.StateUnknown
	StateRunning  = goruntime.StateRunning
	StateRunnable = goruntime.StateRunnable // ready, and no thread runs it
	StateSyscall  = goruntime.StateSyscall
	StateWaiting  = goruntime.StateWaiting // for something that has no name here
)

// RuntimeReport returns the parts of the Go runtime's introspection that do not
// work with this Go release, nil if all do. Any goroutine; the first call takes
// some milliseconds. The parts and what follows without them:
//
//   - "thread_lock": a task that calls runtime.LockOSThread and then waits or
//     returns ends the process. With the part the wait returns ErrThreadLocked
//     and the thread is released when the task returns.
//   - "thread": Thread returns 0. The watchdog cannot read the CPU clock of the
//     thread and judges overruns by stacks alone.
//   - "state": State returns StateUnknown. The watchdog judges waits by stacks
//     alone.
func RuntimeReport() []string { return goruntime.Check().Degraded() }

// RuntimeParts returns all names that RuntimeReport can return, in its order.
func RuntimeParts() []string { return goruntime.Parts() }

// StatesKnown reports whether State works with this Go release. The first call
// takes some milliseconds: make it before the loops run.
func StatesKnown() bool { return goruntime.StatesKnown() }

// ThreadsKnown reports whether Thread works with this Go release.
func ThreadsKnown() bool { return goruntime.ThreadsKnown() }

// State returns what the task's goroutine does at this moment, or StateUnknown.
// Any goroutine, while the task runs its slice; a few ns.
func (t *Task) State() string {
	if t.gid.Load() == 0 {
		return StateUnknown
	}
	return goruntime.StateOf(t.g)
}

// State returns Task.State of the task that the loop runs, or else of the
// loop's own goroutine. Any goroutine.
func (l *Loop) State() string {
	if l.gid.Load() == 0 {
		return StateUnknown
	}
	if since, t, ok := l.slice.Load(); ok {
		if state := t.State(); l.slice.Still(since) {
			return state
		}
		return StateUnknown // of which slice, nobody knows
	}
	return goruntime.StateOf(unsafe.Pointer(l.owner.Load()))
}

// Thread returns the id of the OS thread that runs the task's goroutine at this
// moment, 0 while none does. It is always 0 if ThreadsKnown is false. A task
// that the loop runs and that has no thread waits inside the Go runtime, or was
// preempted. Any goroutine, while the task runs its slice.
func (t *Task) Thread() int {
	if t.gid.Load() == 0 {
		return 0
	}
	return goruntime.ThreadOf(t.g)
}

// Thread returns the id of the OS thread that the loop, or the task that it
// runs, is on at this moment, or 0; see Task.Thread. Any goroutine.
func (l *Loop) Thread() int {
	if l.gid.Load() == 0 {
		return 0
	}
	if _, t, ok := l.slice.Load(); ok {
		return t.Thread()
	}
	return goruntime.ThreadOf(unsafe.Pointer(l.owner.Load()))
}

// GoroutineID returns the number of the task's goroutine in stack dumps; a later
// task may have the same. Any goroutine, while the task runs its slice.
func (t *Task) GoroutineID() uint64 { return t.gid.Load() }

// GoroutineID returns the number of the loop's own goroutine in stack dumps, 0
// before its first turn. Any goroutine.
func (l *Loop) GoroutineID() uint64 { return l.gid.Load() }

// LoopLabel is the pprof label whose value is the loop's id: the goroutines of
// a loop and of its tasks have it, and goroutines that they start inherit it.
const LoopLabel = "tafe.loop"

// labelGoroutine sets LoopLabel for the calling goroutine.
func labelGoroutine(id int) {
	labels := pprof.Labels(LoopLabel, strconv.Itoa(id))
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), labels))
}

func getg() unsafe.Pointer { return goruntime.G() }

func threadLocked() bool { return goruntime.ThreadLocked() }

func goroutineID() uint64 { return goruntime.ID() }
