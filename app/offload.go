// Offload: blocking calls on the App's worker pool.

package app

import "tafe/loop"

// Offload calls f on a worker goroutine while the handler of c waits, and returns the results of f. It is for calls that block or compute
// for long. Options.OffloadWorkers and OffloadQueue bound the calls; beyond, Offload returns loop.ErrOffloadFull, which answers 503. A panic
// in f becomes a panic of the handler.
//
// If the request is cancelled, Offload returns the error of Err at once, and f continues. So f may use c only as a context.Context, and must
// not use views of the request, such as its body.
func Offload[T any](c *Context, f func() (T, error)) (T, error) {
	returned := false
	defer func() {
		if !returned { // f may continue to use c
			c.retained.Store(true)
		}
	}()
	v, err := loop.Offload(c.task, c.offloadPool(), f)
	returned = c.task.Err() == nil
	return v, err
}

// offloadPool returns the pool of the App that is served now. After a Swap, requests of the previous App use it too, so that the previous
// App can be closed while they run.
func (c *Context) offloadPool() *loop.Pool {
	if c.task.MayPark() != nil {
		return c.app.offload // loop.Offload returns the error
	}
	defer c.task.Leave(c.task.Enter())
	return c.state.app.offload
}

// OffloadStats returns the gauges of the worker pool. Any goroutine.
func (a *App) OffloadStats() loop.PoolStats { return a.offload.Stats() }
