// Offload: calls that block or compute for long, on a bounded pool of goroutines. guard,
// panicError and rethrow carry a panic from one goroutine to another; flight.go uses
// panicError too.

package loop

import (
	"errors"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
)

// ErrOffloadFull is returned by Offload when all workers of the pool are busy and its
// queue is full.
var ErrOffloadFull = errors.New("loop: offload queue full")

// Pool is a bounded set of goroutines for Offload, for any number of loops. They start
// when they are needed and stay until Close. Any goroutine.
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

// NewPool returns a Pool that runs at most workers calls at once, at least 1, while at
// most queueMax calls wait.
func NewPool(workers, queueMax int) *Pool {
	p := &Pool{workerMax: max(workers, 1), queueMax: max(queueMax, 0)}
	p.ready.L = &p.mu
	return p
}

// Stats returns the gauges.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PoolStats{Workers: p.workers, Idle: p.idle, Queued: p.queue.len()}
}

// Close refuses further calls with ErrClosed and waits until the accepted ones have
// returned. It must not be called on a loop.
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
		job = nil // lets the collector free it while the worker waits
		job = p.next()
	}
}

// next waits for a job; nil means that the pool is closed.
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

// Offload calls f on a goroutine of p while t waits, and returns the results of f. t
// must be the calling task. The error is that of f, ErrOffloadFull, ErrClosed, the cause
// of a cancelled task, ErrForeignGoroutine or ErrThreadLocked. A cancelled task does not
// wait for f; f runs on without it and must not touch what the task owns. f may call t.Err
// and t.Done, and no other method of t. A panic in f goes on in t, with the stack of f;
// after a cancellation it is logged.
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
			log.Error("loop: an abandoned offloaded call panicked", "panic", p.Value, "stack", strings.TrimSuffix(string(p.Stack), "\n"))
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

// guard runs f as the body of a goroutine that works for a task, and calls done with
// the error of f, a *PanicError or ErrGoexit.
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

// panicError returns a recovered panic as an error. A panic that has crossed from
// another goroutine keeps its stack.
func panicError(p any) *PanicError {
	if err, ok := p.(*PanicError); ok {
		return err
	}
	return &PanicError{Value: p, Stack: debug.Stack()}
}

// rethrow panics if err is the panic of another goroutine, and keeps its stack.
func rethrow(err error) {
	if p, ok := err.(*PanicError); ok {
		panic(p)
	}
}
