// Slice: the record by which other threads see which task a loop runs, and since when,
// without stopping it. The loop only stores.

package loop

import "sync/atomic"

// Slice is a loop's record of the slice that it is running. Any goroutine may read it at
// any time. It has cache lines of its own, so that a reader that polls it does not
// disturb the rest of the loop.
type Slice struct {
	_ [64]byte
	// since is the loop clock at the slice's start in ns. No two slices of a loop have the
	// same start, so it identifies the slice. Negative: the loop has been busy outside
	// tasks since then; 0: it waits for events.
	since atomic.Int64
	task  atomic.Pointer[Task]
	_     [48]byte
}

// Load returns the start of the running slice (loop clock, ns) and its task. ok is false
// between slices. The task may end at any time: call Still after reading from it.
func (s *Slice) Load() (since int64, task *Task, ok bool) {
	since = s.since.Load()
	if since <= 0 {
		return 0, nil, false
	}
	task = s.task.Load()
	if task == nil || s.since.Load() != since {
		return 0, nil, false
	}
	return since, task, true
}

// Still reports whether the slice that Load reported is still running. If it is, all that
// the caller has read of its task belongs to this slice. The compare-and-swap orders
// earlier loads before it, which a load does not do on every processor. For BetweenTasks, pass
// since with a minus sign.
func (s *Slice) Still(since int64) bool { return s.since.CompareAndSwap(since, since) }

// BetweenTasks returns the time since which the loop has been busy without running a task:
// in a callback of a connection or a Timer, in a posted function, or while it sends. ok is
// false while it runs a task or waits for events.
func (s *Slice) BetweenTasks() (since int64, ok bool) {
	since = s.since.Load()
	return -since, since < 0
}

func (s *Slice) begin(t *Task, now int64) {
	s.task.Store(t)
	s.since.Store(now)
}

// betweenTasks records that the loop runs no task but is busy.
func (s *Slice) betweenTasks(now int64) { s.since.Store(-now) }

// idle records that the loop waits for events.
func (s *Slice) idle() { s.since.Store(0) }
