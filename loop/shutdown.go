package loop

// How a loop ends: its tasks are cancelled, then unwound.

// Shutdown cancels the loop's tasks with ErrShutdown, unwinds those that go on,
// and takes no more posts. Its driver calls it in a turn. Tasks that are released
// at that time end when they come back, in later turns; Close is the end of that.
func (c LoopControl) Shutdown() {
	l := c.l
	l.postMu.Lock()
	l.closed = true
	l.postMu.Unlock()
	for _, t := range append(taskList(nil), l.all...) {
		t.Cancel(ErrShutdown)
	}
	l.driver.Flush()
}

// Close ends the loop, after Shutdown: what is left of its tasks is unwound, but
// for those that are released, which are unwound when they ask for the loop.
// Functions that were posted before still run. Its driver calls it in the last
// turn, not in a posted function. It reports false, like EndTurn, when the calling
// goroutine does not own the loop any more.
func (c LoopControl) Close() bool {
	l := c.l
	for range 16 { // cancelled tasks get a chance to end by themselves
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
	l.runPosted() // the last ones; a task that has come back by one of them is unwound
	for i := len(l.all) - 1; i >= 0; i = min(i, len(l.all)) - 1 {
		t := l.all[i]
		if t.region.word.Load() != inside {
			continue
		}
		t.stopping, t.ended = true, ErrShutdown
		l.now = l.driver.Now()
		l.begin(t, max(l.now, l.lastStart+1)) // its deferred functions may touch the loop,
		t.since = inside                      // which is not to be taken from them
		t.unwind()
		l.running = nil
		l.now = l.driver.Now()
		l.slice.outside(l.now)
		t.broken = false // it has ended: nothing left to discard
		t.state = taskIdle
		l.finish(t)
	}
	l.runq, l.yielded, l.heavies = ring[*Task]{}, ring[*Task]{}, ring[*Task]{} // of those that were unwound
	for _, t := range l.idle {
		t.stop()
	}
	l.idle = nil
	l.driver.Flush()
	return true
}

// unwind runs the deferred functions of a suspended task. A Goexit in one of
// them passes on to the goroutine that stops the coroutine, so that is one of
// its own.
func (t *Task) unwind() {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		t.stop()
	}()
	<-stopped
}
