// The flight recorder: the latest slices of one loop in a ring of fixed size. The loop writes; any
// goroutine may read at any time, also while the loop is held.

package watchdog

import (
	"sync/atomic"
	"unsafe"
)

// recordedSlice is one slice in the recorder. Times are on the loop clock, ns.
type recordedSlice struct {
	Start, End int64
	Ready      int64 // when the task became ready
	Task       uint64
	Route      *string
}

// recorder keeps the latest runs. The time it covers depends on the load, as its size is a number of
// runs.
//
// The loop writes the words of a run without synchronization and then adds 1 to head. A reader copies
// runs and then adds 0 to head, which returns h. By the Go memory model every run that since returns
// is complete and exact, on every architecture:
//   - A run below the head that the reader loaded first was written before that head.
//   - The loop's next addition observes the reader's, so the loop writes run h+1 and later ones after
//     the copies. Only run h may have been written meanwhile; the run that it replaces is left out.
//
// Both operations must be read-modify-write. If the reader ended with a plain load, the copies could
// be made after the load: arm64 does that, amd64 does not. The functions that touch words which may
// be read during a write are exempt from the race detector; such words are not returned.
type recorder struct {
	runs []recordedSlice // power of two
	_    [64]byte
	head atomic.Uint64 // runs written so far
	_    [56]byte
}

func newRecorder(size int) *recorder {
	n := 1024
	for n < size {
		n *= 2
	}
	return &recorder{runs: make([]recordedSlice, n)}
}

// runsAhead is the number of runs between the write position and the prefetched memory. The ring is
// larger than the CPU caches. Without the prefetch, the loop's next atomic operation would wait for
// a new cache line, longer than all else that a slice costs (docs/decisions/013).
const runsAhead = 8

// prefetch prefetches the cache line at p. It is implemented in assembly.
//
//go:noescape
func prefetch(p unsafe.Pointer)

// add records one run. It is called on the loop's goroutine and does not allocate.
//
//go:norace
func (r *recorder) add(start, end, ready int64, task uint64, route *string) {
	i := r.head.Load()
	run := &r.runs[i&uint64(len(r.runs)-1)]
	run.Start, run.End, run.Ready, run.Task, run.Route = start, end, ready, task, route
	r.head.Add(1)
	prefetch(unsafe.Pointer(&r.runs[(i+runsAhead)&uint64(len(r.runs)-1)]))
}

// since returns the runs that ended at or after from, oldest first, without those that the loop has
// replaced meanwhile. Any goroutine may call it.
func (r *recorder) since(from int64) []recordedSlice {
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

// written returns the number of runs recorded so far. Any goroutine may call it.
func (r *recorder) written() uint64 { return r.head.Load() }

// copyRuns copies runs, of which the loop may be replacing some.
//
//go:norace
func (r *recorder) copyRuns(first, head uint64) []recordedSlice {
	runs := make([]recordedSlice, 0, head-first)
	for i := first; i < head; i++ {
		run := &r.runs[i&uint64(len(r.runs)-1)]
		runs = append(runs, recordedSlice{run.Start, run.End, run.Ready, run.Task, run.Route})
	}
	return runs
}
