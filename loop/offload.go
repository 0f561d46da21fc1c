package loop

// Offload: calls that block or compute for long, on goroutines beside the
// loops. It owns the bound on how many; it does not know what they do.

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// ErrOffloadFull: all workers of the pool are busy and its queue is full. Better
// now than after a wait without end.
var ErrOffloadFull = errors.New("loop: offload queue full")

// Pool is a bounded number of goroutines for Offload, for any number of loops.
// They are started as they are needed and kept until Close.
type Pool struct {
	mu         sync.Mutex
	ready      sync.Cond
	queue      ring[func()]
	queueMax   int
	workerMax  int
	workers    int
	idle       int
	closed     bool
	terminated sync.WaitGroup
}

// PoolStats are gauges of a Pool.
type PoolStats struct{ Workers, Idle, Queued int }

// NewPool makes a pool of at most workers calls at once, and queueMax that wait
// for one.
func NewPool(workers, queueMax int) *Pool {
	p := &Pool{workerMax: max(workers, 1), queueMax: max(queueMax, 0)}
	p.ready.L = &p.mu
	return p
}

// Stats returns the gauges as they are now. Any goroutine.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PoolStats{Workers: p.workers, Idle: p.idle, Queued: p.queue.len()}
}

// Close takes no more calls, and waits for those that were taken. Any goroutine
// but a loop's.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.ready.Broadcast()
	p.mu.Unlock()
	p.terminated.Wait()
}

func (p *Pool) submit(job func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case p.queue.len() < p.idle:
		p.queue.push(job)
		p.ready.Signal()
	case p.workers < p.workerMax:
		p.workers++
		p.terminated.Add(1)
		go p.work(job)
	case p.queue.len() < p.idle+p.queueMax:
		p.queue.push(job)
	default:
		return ErrOffloadFull
	}
	return nil
}

func (p *Pool) work(job func()) {
	defer p.terminated.Done()
	for job != nil {
		job()
		job = nil // or what it holds would live on for as long as there is nothing else to do
		job = p.next()
	}
}

// next waits for a job; nil: there will be none.
func (p *Pool) next() func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.queue.len() == 0 {
		if p.closed {
			p.workers--
			return nil
		}
		p.idle++
		p.ready.Wait()
		p.idle--
	}
	return p.queue.pop()
}

// Offload calls f on a goroutine of p while t waits, and returns what f does. t
// must be the calling task. The error is f's, ErrOffloadFull, ErrClosed, or
// t's cause: a cancelled task does not wait for f, which goes on without it and
// may not touch what the task owns, but may still ask t.Err and t.Done. A panic
// in f is t's, with f's stack; of an abandoned f it is logged. f must not use t
// otherwise.
func Offload[T any](t *Task, p *Pool, f func() (T, error)) (T, error) {
	var none T
	if err := t.MayPark(); err != nil {
		return none, err
	}
	if err := t.Err(); err != nil {
		return none, err
	}
	defer t.Leave(t.Enter())
	type outcome struct {
		value     T
		err       error
		abandoned atomic.Bool
	}
	out := &outcome{}
	w := t.Prepare()
	call := func() (err error) {
		out.value, err = f()
		return err
	}
	log := t.loop.log
	done := func(err error) {
		out.err = err
		if p, ok := err.(*PanicError); ok && out.abandoned.Load() {
			log.Error("loop: an abandoned offloaded call panicked", "panic", p.Value, "stack", string(p.Stack))
		}
		w.Post()
	}
	if err := p.submit(func() { guard(call, done) }); err != nil {
		return none, err
	}
	ended := false
	defer func() {
		if !ended {
			out.abandoned.Store(true)
			t.retain()
		}
	}()
	if err := t.Park(); err != nil {
		return none, err
	}
	ended = true
	rethrow(out.err)
	return out.value, out.err
}

// guard runs f as the body of a goroutine that works for a task, and tells
// done how it ended: f's error, a *PanicError or ErrGoexit.
func guard(f func() error, done func(error)) {
	err := ErrGoexit
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
		done(err)
	}()
	err = f()
}

// panicError is the error of a recovered panic, which keeps the stack of one that
// has crossed from another goroutine.
func panicError(p any) *PanicError {
	if err, ok := p.(*PanicError); ok {
		return err
	}
	return &PanicError{Value: p, Stack: debug.Stack()}
}

// rethrow lets a panic of another goroutine go on in this one, with its stack.
func rethrow(err error) {
	if p, ok := err.(*PanicError); ok {
		panic(p)
	}
}
