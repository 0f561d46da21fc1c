// Life: what a program does when its server starts, drains and stops. run.go and package edge run it.

package app

import (
	"context"
	"slices"
	"sync/atomic"
)

// Life has hooks for the start, the drain and the stop of a server. Hooks are added before Start, by one goroutine.
type Life struct {
	start          []func(context.Context) error
	drain, stop    []func()
	drained, ended atomic.Bool
}

// OnStart adds a hook that runs before requests are served, on a goroutine that may wait. Loops run already, so that reactor.Dialer works. An
// error prevents the start.
func (l *Life) OnStart(f func(context.Context) error) { l.start = append(l.start, f) }

// OnDrain adds a hook that runs when no new requests are accepted: to end responses that would never end by themselves.
func (l *Life) OnDrain(f func()) { l.drain = append(l.drain, f) }

// OnStop adds a hook that runs once after the last request, and also if the server has never started.
func (l *Life) OnStop(f func()) { l.stop = append(l.stop, f) }

// Start runs the hooks of OnStart in the order in which they were added, until one fails.
func (l *Life) Start(ctx context.Context) error {
	for _, f := range l.start {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Drain runs the hooks of OnDrain in the order in which they were added. Later calls, and calls after Stop, do nothing.
func (l *Life) Drain() {
	if l.drained.Swap(true) {
		return
	}
	for _, f := range l.drain {
		f()
	}
}

// Stop runs the hooks of OnStop in reverse order. Later calls do nothing.
func (l *Life) Stop() {
	if l.ended.Swap(true) {
		return
	}
	l.drained.Store(true)
	for _, f := range slices.Backward(l.stop) {
		f()
	}
}
