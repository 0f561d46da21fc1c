package loop

// Semaphore: a bound that tasks of all loops, and other goroutines, wait for.

import (
	"errors"
	"slices"
	"sync"
)

// ErrQueueFull: as many wait already, or as much is queued, as may.
var ErrQueueFull = errors.New("loop: queue full")

// Semaphore lets a number of holders through; the others wait in the order of
// their coming, and their number is bounded too. Any goroutine. The zero
// Semaphore lets nobody through.
type Semaphore struct {
	mu      sync.Mutex
	free    int
	waitMax int
	queue   []*hopeful
}

type hopeful struct {
	waiter  Waiter
	granted bool
}

// NewSemaphore makes one for holders at once, and waitMax who wait.
func NewSemaphore(holders, waitMax int) *Semaphore {
	return &Semaphore{free: holders, waitMax: waitMax}
}

// Acquire waits for its turn to hold s. t is the calling task, nil for another
// goroutine, which blocks. The error is ErrQueueFull, or the cause of a
// cancelled task; s is not held then.
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
	h := &hopeful{waiter: WaiterFor(t)}
	s.queue = append(s.queue, h)
	s.mu.Unlock()
	held := false
	defer func() {
		if !held { // cancelled or unwound
			s.leave(h)
		}
	}()
	err := h.waiter.Wait(nil, 0)
	held = err == nil
	return err
}

// TryAcquire holds s if nobody has to wait for that.
func (s *Semaphore) TryAcquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == 0 || len(s.queue) > 0 {
		return false
	}
	s.free--
	return true
}

// Release lets the next one through.
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
	h := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	h.granted = true
	h.waiter.Wake()
}

// leave takes h out of the queue, or passes on what it was granted.
func (s *Semaphore) leave(h *hopeful) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.granted {
		s.release()
		return
	}
	if i := slices.Index(s.queue, h); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
}

// Waiting is how many wait now.
func (s *Semaphore) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}
