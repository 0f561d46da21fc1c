// Introspection of the Go runtime for users of this package: the State constants,
// RuntimeSupport, and the pprof label of a loop's goroutines. The unexported functions at the
// end shorten calls of internal/goruntime, which alone reads the Go runtime's memory.

package loop

import (
	"context"
	"runtime/pprof"
	"strconv"
	"unsafe"

	"tafe/loop/internal/goruntime"
)

// Results of TaskView.State that are not waits. A wait has the name that stack dumps
// give it: "sleep", "chan receive", "sync.Mutex.Lock", "coroutine"…
const (
	StateUnknown  = goruntime.StateUnknown
	StateRunning  = goruntime.StateRunning
	StateRunnable = goruntime.StateRunnable // ready, and no thread runs it
	StateSyscall  = goruntime.StateSyscall
	StateWaiting  = goruntime.StateWaiting // a wait that stack dumps do not name
)

// RuntimeSupport says which parts of the Go runtime's introspection work with this Go
// release. Any goroutine. The first call of a method takes some milliseconds: make it
// before the loops run.
type RuntimeSupport struct{}

// Runtime returns what is known of the Go runtime.
func Runtime() RuntimeSupport { return RuntimeSupport{} }

// Missing returns the parts that do not work, or nil if all do:
//
//   - "thread_lock": a task that calls runtime.LockOSThread and then waits or
//     returns ends the process. With the part the wait returns ErrThreadLocked
//     and the thread is released when the task returns.
//   - "thread": Thread returns 0. The watchdog cannot read the CPU clock of the
//     thread and judges overruns by stacks alone.
//   - "state": State returns StateUnknown. The watchdog judges waits by stacks
//     alone.
func (RuntimeSupport) Missing() []string { return goruntime.Check().Degraded() }

// Parts returns all names that Missing can return, in its order.
func (RuntimeSupport) Parts() []string { return goruntime.Parts() }

// States reports whether TaskView.State works.
func (RuntimeSupport) States() bool { return goruntime.StatesKnown() }

// Threads reports whether TaskView.Thread works.
func (RuntimeSupport) Threads() bool { return goruntime.ThreadsKnown() }

// LoopLabel is the pprof label of the goroutines of a loop and of its tasks. Its value is
// the loop's id. Goroutines that they start inherit it.
const LoopLabel = "tafe.loop"

// labelGoroutine sets LoopLabel for the calling goroutine.
func labelGoroutine(id int) {
	labels := pprof.Labels(LoopLabel, strconv.Itoa(id))
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), labels))
}

func getg() unsafe.Pointer { return goruntime.G() }

func threadLocked() bool { return goruntime.ThreadLocked() }

func goroutineID() uint64 { return goruntime.ID() }
