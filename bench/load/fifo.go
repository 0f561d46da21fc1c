package load

// fifo is a queue in a ring that doubles when it is full and never shrinks.
type fifo[T any] struct {
	ring        []T
	first, size int
}

func (q *fifo[T]) len() int { return q.size }

func (q *fifo[T]) push(v T) {
	if q.size == len(q.ring) {
		grown := make([]T, max(64, 2*len(q.ring)))
		for i := range q.size {
			grown[i] = q.ring[(q.first+i)%len(q.ring)]
		}
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.size)%len(q.ring)] = v
	q.size++
}

// pop takes the oldest; the queue must not be empty.
func (q *fifo[T]) pop() T {
	v := q.ring[q.first]
	q.first = (q.first + 1) % len(q.ring)
	q.size--
	return v
}
