package loop

// Regions of a slice. User code (a handler, a middleware) may be slow, so the
// loop can be taken from it; code that touches the loop may not be interrupted.
// One word per task says where its slice is:
//
//	inside    the task runs code that touches the loop, or does not run
//	outside   the slice that began at that clock time runs user code
//	released  the loop was taken from the slice: its code runs beside the loop
//
// Only the task moves between inside and outside. Only the goroutine that takes
// the loop moves from outside to released, by compare-and-swap with the start of
// the slice that it means, so that it cannot meet a later one.

import "sync/atomic"

// region is a word as above: inside, released, or the start of a slice.
type region struct{ word atomic.Int64 }

const (
	inside   = int64(0)
	released = int64(-1)
)

// Crossing is what Enter tells Leave.
type Crossing bool

// Enter begins code that touches the task's loop or what belongs to it. In user
// code it makes the loop the task's own until Leave; if the loop was taken
// meanwhile, it waits until the loop resumes the task. In code that is inside
// already it does nothing. The caller must hold no lock that other tasks of the
// loop take: Enter may wait. For a goroutine that is not the task's, and for a nil
// task, it does nothing.
//
//	defer t.Leave(t.Enter())
func (t *Task) Enter() Crossing {
	if t == nil || t.g != getg() {
		return false
	}
	if t.region.word.CompareAndSwap(t.since, inside) {
		return true
	}
	if t.region.word.Load() == inside {
		return false
	}
	t.rejoin()
	return true
}

// Leave ends what Enter has begun.
func (t *Task) Leave(entered Crossing) {
	if entered {
		t.region.word.Store(t.since)
	}
}

// Outside runs f as user code: the loop may be taken while f runs. It is for a
// Runner that calls code which is not its own. However f ends, the caller is
// inside again. In user code Outside only calls f.
func (t *Task) Outside(f func()) {
	if t.region.word.Load() != inside {
		f()
		return
	}
	t.region.word.Store(t.since)
	defer t.Enter()
	f()
}

// rejoin gives the task's code back to the loop, and waits until the loop runs it.
func (t *Task) rejoin() { t.suspend() }
