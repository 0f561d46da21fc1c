// Handoff of tasks that hold their OS thread (runtime.LockOSThread). The loop's goroutine
// cannot resume the coroutine of such a task, so the task does not rejoin its loop. The
// loop blocks in a posted function while the task uses the loop's state. That is short:
// such a task cannot wait inside (Park returns ErrThreadLocked). If the loop has ended,
// orphan and endOrphan unwind the task.
//
// The task moves its word from borrowing to inside (borrow) and back to released (endLoan);
// if the loop has ended, from borrowing to inside (orphan) and to returning (endOrphan).

package loop

import "math"

// loan is a loop that waits for a task.
type loan struct{ begun, ended chan struct{} }

// borrow is Enter for a task whose word is borrowing. It returns when the loop waits; the
// loop waits until endLoan.
func (t *Task) borrow() {
	b := &loan{begun: make(chan struct{}), ended: make(chan struct{})}
	if !t.loop.post(func() { close(b.begun); <-b.ended }, math.MaxInt, true) {
		t.orphan()
	}
	<-b.begun
	t.loan = b
	t.region.word.Store(inside)
}

// endLoan is Leave for a task that has borrowed its loop. The task is released again.
func (t *Task) endLoan() {
	b := t.loan
	t.loan = nil
	t.region.word.Store(released)
	close(b.ended)
}

// orphan unwinds a task whose loop has ended, like Loop.comeBack, but on the task's own
// goroutine.
func (t *Task) orphan() {
	t.loop.released.remove(t)
	t.loop.orphans.Lock()
	t.orphaned, t.stopping = true, true
	t.region.word.Store(inside)
	panic(unwind{})
}

// endOrphan releases Loop.orphans after the unwind; comeBack then sees a returning task.
func (t *Task) endOrphan() {
	if !t.orphaned {
		return
	}
	t.releaseThread()
	t.region.word.Store(returning)
	t.loop.orphans.Unlock()
}
