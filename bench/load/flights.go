package load

import (
	"cmp"
	"slices"
)

// flight is one request that was sent, or waits to be, and has no answer yet.
type flight struct {
	due   int64 // loop time, ns: what its latency counts from
	class int32

	// The others are of HTTP/2.
	ended     bool
	trailers  bool   // the answer has trailers
	id        uint32 // of its stream
	status    int
	bodyBytes int64
	fault     string // class of error: the stream was reset
}

// flights are the requests in flight on one connection, oldest first. Those of HTTP/2 may end in any order.
type flights struct {
	all  []flight
	head int // all[head:] have those in flight
	open int // not ended
}

func (q *flights) len() int { return q.open }

func (q *flights) push(f flight) {
	if q.head == len(q.all) || q.head >= flightsKeptMax {
		n := copy(q.all, q.all[q.head:])
		q.all, q.head = q.all[:n], 0
	}
	q.all = append(q.all, f)
	q.open++
}

// flightsKeptMax bounds those that have ended and are kept in front of the oldest.
const flightsKeptMax = 1024

// oldest returns the one that was sent first; there must be one.
func (q *flights) oldest() *flight { return &q.all[q.head] }

// stream returns the one with that id, or nil. Ids ascend.
func (q *flights) stream(id uint32) *flight {
	i, found := slices.BinarySearchFunc(q.all[q.head:], id, func(f flight, id uint32) int { return cmp.Compare(f.id, id) })
	if !found || q.all[q.head+i].ended {
		return nil
	}
	return &q.all[q.head+i]
}

// end removes f, which is one of them.
func (q *flights) end(f *flight) {
	f.ended = true
	q.open--
	for q.head < len(q.all) && q.all[q.head].ended {
		q.head++
	}
}

// each calls do for all in flight.
func (q *flights) each(do func(flight)) {
	for _, f := range q.all[q.head:] {
		if !f.ended {
			do(f)
		}
	}
}

func (q *flights) clear() { q.all, q.head, q.open = q.all[:0], 0, 0 }
