// The end of a loop: its tasks are cancelled, then unwound.

package loop

import "slices"

// Shutdown cancels the loop's tasks with ErrShutdown and makes Post refuse functions. Call
// it in a turn. Released tasks end when they come back, in later turns; Close ends the
// loop.
func (c LoopControl) Shutdown() {
	l := c.l
	l.postMu.Lock()
	l.closed = true
	l.postMu.Unlock()
	for _, t := range slices.Clone(l.all) {
		t.Cancel(ErrShutdown)
	}
	l.driver.Flush()
}

// Close ends the loop after Shutdown. It runs the functions that are posted already and
// unwinds the tasks that are left; released tasks are unwound when they ask for the
// loop. Call it in the last turn, not in a posted function. It reports false, like
// EndTurn, when the calling goroutine no longer owns the loop.
func (c LoopControl) Close() bool {
	l := c.l
	for range 16 { // cancelled tasks may end by themselves
		l.runPosted()
		for l.heavies.len() > 0 {
			l.runq.push(l.heavies.pop())
		}
		for range l.runq.len() {
			if !l.runChain(l.runq.pop()) {
				return false
			}
		}
	}
	l.postMu.Lock()
	l.ended = true
	l.postMu.Unlock()
	l.runPosted() // the last functions; a task that comes back by one of them is unwound
	for i := len(l.all) - 1; i >= 0; i = min(i, len(l.all)) - 1 {
		t := l.all[i]
		if t.region.word.Load() != inside {
			continue
		}
		t.stopping, t.ended = true, ErrShutdown
		l.now = l.driver.Now()
		l.begin(t, max(l.now, l.lastStart+1)) // its deferred functions may touch the loop;
		t.since = inside                      // it is not taken from them
		t.unwind()
		l.running = nil
		l.now = l.driver.Now()
		l.slice.betweenTasks(l.now)
		t.broken = false // it has ended: nothing is left to discard
		t.state = taskIdle
		l.finish(t)
	}
	l.runq, l.yielded, l.heavies = ring[*Task]{}, ring[*Task]{}, ring[*Task]{} // entries of unwound tasks
	for _, t := range l.idle {
		t.stop()
	}
	l.idle = nil
	l.driver.Flush()
	return true
}

// unwind runs the deferred functions of a suspended task. A Goexit in one of them also
// ends the goroutine that stops the coroutine, so a new goroutine does that.
func (t *Task) unwind() {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		t.stop()
	}()
	<-stopped
}
