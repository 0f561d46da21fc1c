package loop

// Released tasks that hold their OS thread (runtime.LockOSThread): their coroutine
// cannot be resumed by the goroutine of the loop, so they do not come back to it.
// What they do inside is short and never waits (Park returns ErrThreadLocked), so
// the loop stands still meanwhile: it lends itself to the task's goroutine.

import "math"

// loan is a loop that stands still for a task.
type loan struct{ begun, ended chan struct{} }

// borrow is Enter for a task whose word is borrowing. It returns when the loop
// stands still, until endLoan.
func (t *Task) borrow() {
	b := &loan{begun: make(chan struct{}), ended: make(chan struct{})}
	if !t.loop.post(func() { close(b.begun); <-b.ended }, math.MaxInt, true) {
		t.orphan()
	}
	<-b.begun
	t.loan = b
	t.region.word.Store(inside)
}

// endLoan is Leave for a task that has borrowed its loop: it is released again.
func (t *Task) endLoan() {
	b := t.loan
	t.loan = nil
	t.region.word.Store(released)
	close(b.ended)
}

// orphan unwinds a task whose loop has ended, like Loop.comeBack, but on the
// goroutine that the task holds.
func (t *Task) orphan() {
	t.loop.besides.remove(t)
	t.loop.orphans.Lock()
	t.orphaned, t.stopping = true, true
	t.region.word.Store(inside)
	panic(unwind{})
}

// endOrphan ends what orphan has begun: comeBack follows.
func (t *Task) endOrphan() {
	if !t.orphaned {
		return
	}
	t.releaseThread()
	t.region.word.Store(returning)
	t.loop.orphans.Unlock()
}
