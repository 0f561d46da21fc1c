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

// recorder keeps the last runs. Very short ones that follow each other on a
// busy loop push out what is older: how long it reaches back depends on the
// load.
//
// The head is stored without a barrier: the loop would wait for it, after each
// slice, until the run before it has reached memory (40 ns). What a reader on
// another CPU may see for that is one run that is half the one before.
type recorder struct {
	runs []Run // power of two
	_    [64]byte
	head uint64 // runs written so far
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

// add is for the loop's goroutine. It does not allocate.
//
//go:norace
func (r *recorder) add(start, end, ready int64, task uint64, route *string) {
	i := r.head
	run := &r.runs[i&uint64(len(r.runs)-1)]
	run.Start, run.End, run.Ready, run.Task, run.Route = start, end, ready, task, route
	r.head = i + 1
	prefetch(unsafe.Pointer(&r.runs[(i+runsAhead)&uint64(len(r.runs)-1)]))
}

// since returns the runs that ended at or after a time, oldest first. What the
// loop overwrote meanwhile is left out.
func (r *recorder) since(from int64) []Run {
	head := r.written()
	size := uint64(len(r.runs))
	first := uint64(0)
	if head > size {
		first = head - size
	}
	runs := r.copyRuns(first, head)
	// An atomic that writes: the copies above are not done later than this.
	var fence atomic.Uint64
	fence.Add(1)
	if overwritten := r.written() + 1; overwritten > size+first {
		runs = runs[min(overwritten-size-first, uint64(len(runs))):]
	}
	for len(runs) > 0 && runs[0].End < from {
		runs = runs[1:]
	}
	return runs
}

// written is how many runs were recorded so far. Any goroutine.
//
//go:norace
func (r *recorder) written() uint64 { return r.head }

//go:norace
func (r *recorder) copyRuns(first, head uint64) []Run {
	runs := make([]Run, 0, head-first)
	for i := first; i < head; i++ {
		run := &r.runs[i&uint64(len(r.runs)-1)]
		runs = append(runs, Run{run.Start, run.End, run.Ready, run.Task, run.Route})
	}
	return runs
}
