package watchdog

// The flight recorder: the last slices of one loop, in a ring of fixed size.
// The loop writes, anybody reads at any time, also while the loop is stuck.

import (
	"sync/atomic"
	"unsafe"
)

// Run is one slice as the recorder keeps it. Times are loop clock, ns.
type Run struct {
	Start, End int64
	Ready      int64 // since when the task could have run
	Task       uint64
	Route      *string
}

// recorder keeps the last runs. On a busy loop, runs of very short slices
// replace older ones: how far it reaches back depends on the load.
//
// The loop writes the words of a run plainly and then adds 1 to the head; a
// reader copies runs and then adds 0 to the head, h of what it returns. By the
// Go memory model that makes every run that since returns complete and exact,
// on each architecture:
//   - A run below the head that the reader loaded first was written before that
//     head.
//   - The addition that follows the reader's in the loop observes it, so what
//     the loop writes from run h+1 on is written after the copies. Only run h may
//     have been written meanwhile, and the run that it replaces is left out.
//
// Both have to be read-modify-write operations. With a plain load at its end the
// reader could do the copies later than the load: arm64 does that, amd64 does
// not. For the words that are read and then left out the two functions that
// touch them are not instrumented by the race detector.
type recorder struct {
	runs []Run // power of two
	_    [64]byte
	head atomic.Uint64 // runs written so far
	_    [56]byte
}

func newRecorder(size int) *recorder {
	n := 1024
	for n < size {
		n *= 2
	}
	return &recorder{runs: make([]Run, n)}
}

// runsAhead is how far ahead memory is fetched. The ring is larger than a cache, so
// each new line of it has to come from afar; the loop's next atomic would wait
// for that, longer than for all else that a slice pays (docs/decisions/013).
const runsAhead = 8

// prefetch asks for the cache line at p and goes on. Implemented in assembly.
//
//go:noescape
func prefetch(p unsafe.Pointer)

// add records one run. On the loop's goroutine; it does not allocate.
//
//go:norace
func (r *recorder) add(start, end, ready int64, task uint64, route *string) {
	i := r.head.Load()
	run := &r.runs[i&uint64(len(r.runs)-1)]
	run.Start, run.End, run.Ready, run.Task, run.Route = start, end, ready, task, route
	r.head.Add(1)
	prefetch(unsafe.Pointer(&r.runs[(i+runsAhead)&uint64(len(r.runs)-1)]))
}

// since returns the runs that ended at or after a time, oldest first, without
// those that the loop has replaced meanwhile. Any goroutine.
func (r *recorder) since(from int64) []Run {
	head := r.written()
	size := uint64(len(r.runs))
	first := uint64(0)
	if head > size {
		first = head - size
	}
	runs := r.copyRuns(first, head)
	if replaced := r.head.Add(0) + 1; replaced > size+first {
		runs = runs[min(replaced-size-first, uint64(len(runs))):]
	}
	for len(runs) > 0 && runs[0].End < from {
		runs = runs[1:]
	}
	return runs
}

// written is how many runs were recorded so far. Any goroutine.
func (r *recorder) written() uint64 { return r.head.Load() }

// copyRuns copies runs that the loop may be replacing.
//
//go:norace
func (r *recorder) copyRuns(first, head uint64) []Run {
	runs := make([]Run, 0, head-first)
	for i := first; i < head; i++ {
		run := &r.runs[i&uint64(len(r.runs)-1)]
		runs = append(runs, Run{run.Start, run.End, run.Ready, run.Task, run.Route})
	}
	return runs
}
