package loop

// Flight: one call for all who ask for the same at the same time.

import "sync"

// Flight shares the result of a call among those who ask for the same key while
// it runs: a cache miss asks its backend once. Tasks of all loops, and other
// goroutines, may call it. The zero Flight is ready for use.
type Flight[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V]
}

type call[V any] struct {
	line  Cond
	ended bool
	gone  bool // its caller was cancelled or unwound: there is no result
	value V
	err   error
}

// Do returns what f does. If another caller is in f for this key, it waits for
// that result instead, and shared is true. t is the calling task, nil for
// another goroutine. Callers are cancelled each for itself: when the one in f
// fails after its cancellation, the next one calls its f. A panic in f is its
// caller's, the others get it as a *PanicError.
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
			if err := c.line.Wait(t, nil, &g.mu, 0); err != nil {
				return value, true, err
			}
		}
		if !c.gone {
			return c.value, true, c.err
		}
	}
}

// lead calls f without the lock, where the caller of Do was, and tells the others.
func (g *Flight[K, V]) lead(t *Task, entered Crossing, key K, f func() (V, error)) (V, error) {
	c := &call[V]{gone: true}
	if g.calls == nil {
		g.calls = map[K]*call[V]{}
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

// conclude tells the others that c has ended, also when Enter unwinds the task. It
// returns with the lock held.
func (g *Flight[K, V]) conclude(t *Task, key K, c *call[V]) {
	defer func() {
		g.mu.Lock()
		c.ended = true
		delete(g.calls, key)
		c.line.Broadcast()
	}()
	t.Enter()
}
