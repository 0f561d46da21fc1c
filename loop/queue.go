// Queue: a bounded FIFO between tasks and goroutines.

package loop

import "sync"

// Queue is a bounded FIFO at which tasks park and other goroutines block. It passes
// values from a subscription or a worker goroutine to a task, for example. Any
// goroutine.
type Queue[T any] struct {
	mu       sync.Mutex
	lenMax   int
	values   ring[T]
	closed   bool
	notEmpty Cond
	notFull  Cond
}

// NewQueue makes a Queue that holds at most lenMax values, at least 1.
func NewQueue[T any](lenMax int) *Queue[T] { return &Queue[T]{lenMax: max(lenMax, 1)} }

// Offer appends v if there is room. The error is ErrQueueFull or ErrClosed.
func (q *Queue[T]) Offer(v T) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case q.values.len() >= q.lenMax:
		return ErrQueueFull
	}
	q.push(v)
	return nil
}

// Put appends v and waits while the Queue is full. t is the calling task, nil for
// another goroutine. The error is ErrClosed, the cause of a cancelled task,
// ErrForeignGoroutine or ErrThreadLocked.
func (q *Queue[T]) Put(t *Task, v T) error {
	defer t.Leave(t.Enter())
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.values.len() >= q.lenMax && !q.closed {
		if err := q.notFull.Wait(t, nil, &q.mu, 0); err != nil {
			q.notFull.Signal()
			return err
		}
	}
	if q.closed {
		return ErrClosed
	}
	q.push(v)
	return nil
}

func (q *Queue[T]) push(v T) {
	q.values.push(v)
	q.notEmpty.Signal()
}

// Take removes and returns the oldest value and waits while the Queue is empty. t is the
// calling task, nil for another goroutine. The error is the cause of a cancelled task,
// ErrForeignGoroutine, ErrThreadLocked, or ErrClosed once the Queue is closed and empty.
func (q *Queue[T]) Take(t *Task) (v T, err error) {
	defer t.Leave(t.Enter())
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.values.len() == 0 {
		if q.closed {
			return v, ErrClosed
		}
		if err := q.notEmpty.Wait(t, nil, &q.mu, 0); err != nil {
			q.notEmpty.Signal()
			return v, err
		}
	}
	v = q.values.pop()
	q.notFull.Signal()
	return v, nil
}

// Close closes the Queue. The values in it can still be taken. A second call does
// nothing.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.notEmpty.Broadcast()
	q.notFull.Broadcast()
}

// Len returns the number of values in the Queue.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.values.len()
}
