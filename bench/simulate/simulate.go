// Package simulate computes the latencies that queueing alone causes: those of a server on one core that has no costs of its own. A tail below
// these is not possible, whatever the server. It is simulated and not solved, because requests wait for backends between their slices.
package simulate

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Order is the order in which ready slices run. None is interrupted.
type Order int

// The orders: as they became ready, and those that are short before those that are long.
const (
	FIFO Order = iota
	LightFirst
)

// The request of the seed experiment: before each of three backend calls and after the last one the server computes.
const (
	calls      = 3
	callTime   = 5 * time.Millisecond
	lightSlice = 50 * time.Microsecond         // handles one request, or one response of the backend
	heavySlice = time.Millisecond + lightSlice // the last one
	workTime   = calls*lightSlice + heavySlice // of the core, for each request
	floor      = workTime + calls*callTime     // without any queue
	requests   = 100_000                       // of a simulation
	warm       = requests / 10                 // that are not counted
	seed       = 2011
)

// server is one simulation.
type server struct {
	order        Order
	random       *rand.Rand
	gap          time.Duration // mean time between arrivals; 0 is a closed loop
	now          time.Duration // the core is busy until then
	light, heavy queue         // ready; with FIFO all are in light
	calling      queue         // each waits as long: those that began first end first
	due          queue         // arrived, without a connection
	free         int           // connections
	nextArrival  time.Duration
	latencies    []time.Duration
	ended        int
	started      time.Duration // of the counted part
}

// job is one request: when it was due, how many slices it has run, and when it becomes ready.
type job struct {
	due   time.Duration
	slice int
	at    time.Duration
}

// queue is a FIFO that drops its front from time to time.
type queue struct {
	jobs []job
	head int
}

func (q *queue) len() int { return len(q.jobs) - q.head }

func (q *queue) push(j job) { q.jobs = append(q.jobs, j) }

func (q *queue) pop() job {
	j := q.jobs[q.head]
	q.head++
	if q.head > 4096 && 2*q.head > len(q.jobs) {
		q.jobs = append(q.jobs[:0], q.jobs[q.head:]...)
		q.head = 0
	}
	return j
}

// Seed returns the latencies of the seed experiment, sorted: so many connections, and independent arrivals at a share of the rate that the simulated server
// answers in a closed loop. Equal arguments give equal results.
func Seed(order Order, concurrent int, share float64) []time.Duration {
	capacity := newServer(order, concurrent, 0).run()
	s := newServer(order, concurrent, time.Duration(float64(time.Second)/(share*capacity)))
	s.run()
	slices.Sort(s.latencies)
	return s.latencies
}

func newServer(order Order, concurrent int, gap time.Duration) *server {
	return &server{order: order, random: rand.New(rand.NewPCG(seed, uint64(concurrent))), gap: gap, free: concurrent}
}

// run simulates all requests and returns the rate of answers per second.
func (s *server) run() float64 {
	if s.gap == 0 {
		for ; s.free > 0; s.free-- {
			s.ready(job{})
		}
	}
	for s.ended < requests {
		s.arrive()
		j, ok := s.next()
		if !ok {
			s.now = s.nextEvent()
			continue
		}
		s.resume(j)
	}
	return float64(requests-warm) / (s.now - s.started).Seconds()
}

// nextEvent is when something becomes ready next.
func (s *server) nextEvent() time.Duration {
	switch {
	case s.calling.len() == 0:
		return s.nextArrival
	case s.gap == 0:
		return s.calling.jobs[s.calling.head].at
	}
	return min(s.nextArrival, s.calling.jobs[s.calling.head].at)
}

// arrive takes all requests and responses that have come until now, in their order.
func (s *server) arrive() {
	for {
		called := s.calling.len() > 0 && s.calling.jobs[s.calling.head].at <= s.now
		arrived := s.gap > 0 && s.nextArrival <= s.now
		switch {
		case called && (!arrived || s.calling.jobs[s.calling.head].at <= s.nextArrival):
			s.ready(s.calling.pop())
		case arrived:
			j := job{due: s.nextArrival}
			s.nextArrival += time.Duration(s.random.ExpFloat64() * float64(s.gap))
			if s.free == 0 {
				s.due.push(j)
				continue
			}
			s.free--
			s.ready(j)
		default:
			return
		}
	}
}

func (s *server) ready(j job) {
	if s.order == LightFirst && j.slice == calls {
		s.heavy.push(j)
		return
	}
	s.light.push(j)
}

func (s *server) next() (job, bool) {
	switch {
	case s.light.len() > 0:
		return s.light.pop(), true
	case s.heavy.len() > 0:
		return s.heavy.pop(), true
	}
	return job{}, false
}

// resume runs the next slice of a request.
func (s *server) resume(j job) {
	if j.slice < calls {
		s.now += lightSlice
		j.slice++
		j.at = s.now + callTime
		s.calling.push(j)
		return
	}
	s.now += heavySlice
	s.ended++
	if s.ended == warm {
		s.started = s.now
	}
	if s.ended > warm {
		s.latencies = append(s.latencies, s.now-j.due)
	}
	switch {
	case s.gap == 0:
		s.ready(job{due: s.now})
	case s.due.len() > 0:
		s.ready(s.due.pop())
	default:
		s.free++
	}
}
