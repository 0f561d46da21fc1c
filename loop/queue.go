package loop

// Queue: values on their way between goroutines and tasks: what a channel is
// among goroutines.

import "sync"

// Queue is a bounded FIFO whose users wait as they can: tasks park, other
// goroutines block. It is how what comes by a channel, from a subscription or a
// worker, reaches a task. Any goroutine.
type Queue[T any] struct {
	mu     sync.Mutex
	lenMax int
	values ring[T]
	closed bool
	takers Cond
	givers Cond
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

// Put appends v, waiting for room. t is the calling task, nil for another
// goroutine. The error is ErrClosed or a cancelled task's cause.
func (q *Queue[T]) Put(t *Task, v T) error {
	defer t.Leave(t.Enter())
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.values.len() >= q.lenMax && !q.closed {
		if err := q.givers.Wait(t, nil, &q.mu, 0); err != nil {
			q.givers.Signal()
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
	q.takers.Signal()
}

// Take removes the oldest value, waiting for one. t is the calling task, nil for
// another goroutine. The error is a cancelled task's cause, or ErrClosed once
// the Queue is closed and empty.
func (q *Queue[T]) Take(t *Task) (v T, err error) {
	defer t.Leave(t.Enter())
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.values.len() == 0 {
		if q.closed {
			return v, ErrClosed
		}
		if err := q.takers.Wait(t, nil, &q.mu, 0); err != nil {
			q.takers.Signal()
			return v, err
		}
	}
	v = q.values.pop()
	q.givers.Signal()
	return v, nil
}

// Close ends the Queue: what is in it may still be taken. Closing it again does
// nothing.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.takers.Broadcast()
	q.givers.Broadcast()
}

// Len is how many values are waiting to be taken.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.values.len()
}
