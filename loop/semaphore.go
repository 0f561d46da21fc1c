// Semaphore: a bound on concurrent holders, for tasks of all loops and other goroutines.

package loop

import (
	"errors"
	"slices"
	"sync"
)

// ErrQueueFull is returned where the bound on waiters or on queued values is reached.
var ErrQueueFull = errors.New("loop: queue full")

// Semaphore admits a bounded number of holders. A bounded number of further callers
// wait, first come, first served. Any goroutine. The zero Semaphore admits no holder.
type Semaphore struct {
	mu      sync.Mutex
	free    int
	waitMax int
	queue   []*semWaiter
}

type semWaiter struct {
	waiter  Waiter
	granted bool
}

// NewSemaphore returns a Semaphore for the given number of holders and at most waitMax
// waiting callers.
func NewSemaphore(holders, waitMax int) *Semaphore {
	return &Semaphore{free: holders, waitMax: waitMax}
}

// Acquire waits until it holds s. t is the calling task, nil for another goroutine,
// which blocks. The error is ErrQueueFull, the cause of a cancelled task,
// ErrForeignGoroutine or ErrThreadLocked; the caller does not hold s then.
func (s *Semaphore) Acquire(t *Task) error {
	defer t.Leave(t.Enter())
	s.mu.Lock()
	if s.free > 0 && len(s.queue) == 0 {
		s.free--
		s.mu.Unlock()
		return nil
	}
	if len(s.queue) >= s.waitMax {
		s.mu.Unlock()
		return ErrQueueFull
	}
	w := &semWaiter{waiter: WaiterFor(t)}
	s.queue = append(s.queue, w)
	s.mu.Unlock()
	held := false
	defer func() {
		if !held { // cancelled or unwound
			s.abandon(w)
		}
	}()
	err := w.waiter.Wait(nil, 0)
	held = err == nil
	return err
}

// TryAcquire acquires s and returns true if it is free and no caller waits for it.
func (s *Semaphore) TryAcquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == 0 || len(s.queue) > 0 {
		return false
	}
	s.free--
	return true
}

// Release frees s for the caller that has waited the longest.
func (s *Semaphore) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
}

func (s *Semaphore) release() {
	if len(s.queue) == 0 {
		s.free++
		return
	}
	w := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	w.granted = true
	w.waiter.Wake()
}

// abandon removes w from the queue, or releases s if w was granted it meanwhile.
func (s *Semaphore) abandon(w *semWaiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.granted {
		s.release()
		return
	}
	if i := slices.Index(s.queue, w); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
}

// Waiting returns the number of callers that wait in Acquire.
func (s *Semaphore) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}
