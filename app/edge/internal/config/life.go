// The hooks of compiled parts: start, drain, stop.

package config

import "context"

// Life has the hooks that one Make has added. It is used by one goroutine at a time.
type Life struct {
	start          []func(context.Context) error
	drain, stop    []func()
	drained, ended bool
}

// OnStart adds a hook that runs before the server uses what was made. Its error prevents that.
func (l *Life) OnStart(f func(context.Context) error) { l.start = append(l.start, f) }

// OnDrain adds a hook that runs when no new requests will come.
func (l *Life) OnDrain(f func()) { l.drain = append(l.drain, f) }

// OnStop adds a hook that runs once what was made is not used any more, also if it was never started.
func (l *Life) OnStop(f func()) { l.stop = append(l.stop, f) }

// runStart runs the hooks in the order in which they were added, until one fails.
func (l *Life) runStart(ctx context.Context) error {
	for _, f := range l.start {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// runDrain runs the hooks once.
func (l *Life) runDrain() {
	if l.drained {
		return
	}
	l.drained = true
	for _, f := range l.drain {
		f()
	}
}

// runStop runs the hooks once, in reverse order.
func (l *Life) runStop() {
	if l.ended {
		return
	}
	l.ended, l.drained = true, true
	for i := len(l.stop) - 1; i >= 0; i-- {
		l.stop[i]()
	}
}
