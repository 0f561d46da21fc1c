// Flight: one call for all callers that ask for the same key at the same time.

package loop

import "sync"

// Flight runs one call per key at a time and shares its result with the other callers
// of that key, so that a cache miss asks its backend once. Tasks of all loops and
// other goroutines may use it. The zero Flight is ready for use.
type Flight[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*flightCall[V]
}

type flightCall[V any] struct {
	waiting Cond
	ended   bool
	gone    bool // its caller was cancelled or unwound: there is no result
	value   V
	err     error
}

// Do calls f and returns its results. If another caller runs f for this key, Do waits
// for that call and returns its results, with shared true. t is the calling task, nil
// for another goroutine. A wait that fails returns the cause of a cancelled task,
// ErrForeignGoroutine or ErrThreadLocked. Cancelling one caller does not cancel the
// others: when the caller that runs f is cancelled and f fails, the next caller runs its
// own f. A panic in f goes on in the caller that runs it; the others get it as a
// *PanicError.
func (g *Flight[K, V]) Do(t *Task, key K, f func() (V, error)) (value V, shared bool, err error) {
	entered := t.Enter()
	defer t.Leave(entered)
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		c := g.calls[key]
		if c == nil {
			value, err = g.lead(t, entered, key, f)
			return value, false, err
		}
		for !c.ended {
			if err := c.waiting.Wait(t, nil, &g.mu, 0); err != nil {
				return value, true, err
			}
		}
		if !c.gone {
			return c.value, true, c.err
		}
	}
}

// lead calls f without the lock, outside if the caller of Do was outside, and wakes
// the other callers.
func (g *Flight[K, V]) lead(t *Task, entered Crossing, key K, f func() (V, error)) (V, error) {
	c := &flightCall[V]{gone: true}
	if g.calls == nil {
		g.calls = map[K]*flightCall[V]{}
	}
	g.calls[key] = c
	g.mu.Unlock()
	t.Leave(entered)
	defer func() {
		p := recover()
		g.conclude(t, key, c)
		switch p := p.(type) {
		case nil: // or Goexit
		case unwind:
			panic(p)
		default:
			c.gone, c.err = false, panicError(p)
			panic(c.err)
		}
	}()
	c.value, c.err = f()
	c.gone = c.err != nil && t != nil && t.Err() != nil
	return c.value, c.err
}

// conclude ends c and wakes the other callers, also when Enter unwinds the task. It
// returns with the lock held.
func (g *Flight[K, V]) conclude(t *Task, key K, c *flightCall[V]) {
	defer func() {
		g.mu.Lock()
		c.ended = true
		delete(g.calls, key)
		c.waiting.Broadcast()
	}()
	t.Enter()
}
