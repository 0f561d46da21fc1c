package loop

// The slice record: what a loop publishes about the task it is running, so
// that another thread can tell, without stopping it, since when and what. The
// loop only stores; whoever watches does the work.

import "sync/atomic"

// Slice is a loop's record of the slice it is running: one uninterrupted run
// of one task. Written by the loop, readable by any goroutine at any time.
// It has its cache lines for itself, so that a reader that polls it costs the
// loop nothing else.
type Slice struct {
	_ [64]byte
	// since is the loop clock at the slice's start in ns. Two slices never start
	// in the same nanosecond, so it also is a sequence. Negative: the loop has
	// been busy outside tasks since then; 0: it waits for events.
	since atomic.Int64
	task  atomic.Pointer[Task]
	_     [48]byte
}

// Load returns the running slice's start (loop clock, ns) and its task. ok is
// false between slices. The task pointer stays valid; whether it still runs the
// same slice must be asked with Still after using it.
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

// Still tells whether the slice that Load has reported goes on. All that was read
// before, also of the task's memory, was read while it did: the compare-and-swap is a
// barrier for earlier loads, which a load is not on every processor. since of Outside
// is passed with a minus sign.
func (s *Slice) Still(since int64) bool { return s.since.CompareAndSwap(since, since) }

// Outside returns since when the loop has been busy outside tasks: in a
// callback of a Handler or a Timer, in a posted function, or sending. ok is
// false while it runs a task or waits for events.
func (s *Slice) Outside() (since int64, ok bool) {
	since = s.since.Load()
	return -since, since < 0
}

func (s *Slice) begin(t *Task, now int64) {
	s.task.Store(t)
	s.since.Store(now)
}

// outside: from now on no task, but still busy.
func (s *Slice) outside(now int64) { s.since.Store(-now) }

func (s *Slice) idle() { s.since.Store(0) }
