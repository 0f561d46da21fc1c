// This file owns calls that block: where they run, and what becomes of the request meanwhile. What they do is the handler's.

package app

import (
	"runtime"

	"tafe/loop"
)

// Offload calls f beside the loops while c's handler waits, and returns what f does: for what blocks or computes for long.
// Options bounds how many run at once and wait; beyond, the error is loop.ErrOffloadFull, which answers 503. A cancelled
// request does not wait for f: the error is that of Err, and f goes on. So f may use c as a context.Context and otherwise
// only what is its own: clone what it needs of the request. A panic in f is the handler's.
func Offload[T any](c *Context, f func() (T, error)) (T, error) {
	returned := false
	defer func() {
		if !returned { // f may go on, with c
			c.retained.Store(true)
		}
	}()
	v, err := loop.Offload(c.task, c.app.offload, f)
	returned = c.task.Err() == nil
	return v, err
}

// OffloadStats are gauges of the calls of Offload. Any goroutine.
func (a *App) OffloadStats() loop.PoolStats { return a.offload.Stats() }

// newOffload makes the App's pool. Its goroutines end with the App: it may be swapped for another at any time.
func newOffload(a *App) *loop.Pool {
	p := loop.NewPool(a.options.OffloadWorkers, a.options.OffloadQueue)
	runtime.AddCleanup(a, func(p *loop.Pool) { go p.Close() }, p)
	return p
}
